//! A mistake in the configuration: where it is, and what to do about it.

use std::fmt;
use std::path::Path;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `revoxy.yaml:12`, or the name of an environment variable.
    pub place: String,
    /// `issuers.0.keys.pem_file`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A mistake of the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            place: file.display().to_string(),
            path: String::new(),
            message: message.into(),
        }
    }

    /// The text, of what is no mistake and yet should be changed.
    pub fn as_warning(&self) -> String {
        format!("{}: warning: {}: {}", self.place, self.path, self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.path, self.message)
        }
    }
}

/// Every mistake found, in the order of finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Just this one.
    pub fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops those after the first `found` that are about values already found wrong, and so left out: of a list with a
    /// wrong item nobody needs to be told that it is empty.
    pub(super) fn forget_consequences(&mut self, found: usize, spoiled: &[String]) {
        let below = |path: &str, above: &str| {
            let rest = path.strip_prefix(above);
            above.is_empty() || rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
        };
        let item_of = |item: &str, list: &str| match item.rsplit_once('.') {
            Some((parent, index)) => parent == list && index.parse::<usize>().is_ok(),
            None => false,
        };
        let consequence = |path: &str| {
            let mut spoiled = spoiled.iter();
            spoiled.any(|s| below(path, s) || item_of(s, path))
        };
        let mut index = 0;
        self.0.retain(|problem| {
            index += 1;
            index <= found || !consequence(&problem.path)
        });
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
