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
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl Problem {
    /// Makes a mistake of the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            place: file.display().to_string(),
            path: String::new(),
            message: message.into(),
        }
    }

    /// Formats the problem as a warning: not a mistake, but should be changed.
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

/// All mistakes, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    mistakes: Vec<Problem>,
    /// Warnings: not mistakes, but possibly the cause of one.
    warnings: Vec<Problem>,
}

impl Problems {
    /// Makes a list of a single mistake.
    pub fn one(problem: Problem) -> Self {
        Self {
            mistakes: vec![problem],
            warnings: Vec::new(),
        }
    }

    /// Adds a mistake.
    pub fn push(&mut self, problem: Problem) {
        self.mistakes.push(problem);
    }

    /// Adds warnings, which are shown after the mistakes: they may be the cause of one.
    #[must_use]
    pub(super) fn with_warnings(self, warnings: &[Problem]) -> Self {
        Self {
            warnings: warnings.to_vec(),
            ..self
        }
    }

    /// Returns whether there are no mistakes.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Returns the number of mistakes.
    pub fn len(&self) -> usize {
        self.mistakes.len()
    }

    /// Drops the mistakes after the first `found` that are about values already reported as wrong, and
    /// therefore left out: a list with an invalid item need not also be reported as empty.
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
        self.mistakes.retain(|problem| {
            index += 1;
            index <= found || !consequence(&problem.path)
        });
    }

    /// Returns all mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.mistakes.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mistakes = self.mistakes.iter().map(ToString::to_string);
        let warnings = self.warnings.iter().map(Problem::as_warning);
        let lines: Vec<_> = mistakes.chain(warnings).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}
