//! A YAML document that records the source of each of its values: a line of the file or an environment
//! variable.

use std::collections::HashMap;

use saphyr::{LoadableYamlNode as _, MarkedYamlOwned, ScalarOwned, YamlDataOwned};
use serde_json::{Map, Value};

use super::messages::plain;
use super::problem::{Problem, Problems};
use super::raw::RawConfig;
use super::variables::ENV_PREFIX;
use super::{messages, variables};

/// A tree of values and their sources.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    root: Value,
    /// The source of each value by its path: `issuers.0.name`.
    places: HashMap<String, String>,
    /// Warnings about environment variables that look as if they override a value, but do not.
    stray: Vec<Problem>,
}

impl Document {
    /// Parses `text`, and applies the overrides in the environment.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let mut document = Self {
            name: name.to_owned(),
            root: Value::Object(Map::new()),
            places: HashMap::new(),
            stray: Vec::new(),
        };
        let mut problems = Problems::default();
        match MarkedYamlOwned::load_from_str(text) {
            Ok(documents) if documents.len() > 1 => {
                problems.push(document.problem("", "more than one YAML document in the file"));
            }
            Ok(documents) => {
                if let Some(root) = documents.first() {
                    document.root = document.convert(root, "", &mut problems);
                }
            }
            Err(error) => problems.push(Problem {
                place: format!("{name}:{}", error.marker().line()),
                path: String::new(),
                message: format!("not YAML: {}", error.info()),
            }),
        }
        if document.root.is_null() {
            document.root = Value::Object(Map::new());
        }
        if problems.is_empty() && !document.root.is_object() {
            problems.push(document.problem("", "not a mapping of sections (server, issuers, …)"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (mut overriding, others): (Vec<_>, Vec<_>) = environment
            .into_iter()
            .partition(|(variable, _)| variable.starts_with(ENV_PREFIX));
        document.stray = variables::warnings(others.iter().map(|(variable, _)| variable.as_str()));
        overriding.sort();
        for (variable, text) in overriding {
            document.overlay(&variable, &text, &mut problems);
        }
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(problems.with_warnings(&document.stray))
        }
    }

    /// Returns warnings about environment variables that look as if they override a value, but do not.
    pub(super) fn stray_variables(&self) -> &[Problem] {
        &self.stray
    }

    /// Makes a problem with the value at `path`, or with its nearest existing ancestor.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let mut at = path;
        let place = loop {
            if let Some(place) = self.places.get(at) {
                break place.clone();
            }
            match at.rsplit_once('.') {
                Some((parent, _)) => at = parent,
                None => break self.name.clone(),
            }
        };
        Problem {
            place,
            path: path.to_owned(),
            message: message.into(),
        }
    }

    /// Turns the tree into plain data. Unknown keys and values of a wrong type are reported, each with its
    /// place, and left out. Also returns the paths of the wrong values: further problems with these are
    /// consequences.
    pub(super) fn decode(&self, problems: &mut Problems) -> (RawConfig, Vec<String>) {
        let (mut root, mut spoiled) = (self.root.clone(), Vec::new());
        loop {
            let (mut unknown, mut track) = (Vec::new(), serde_path_to_error::Track::new());
            let tracked = serde_path_to_error::Deserializer::new(root.clone(), &mut track);
            let decoded =
                serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
            let error: serde_json::Error = match decoded {
                Ok(raw) => {
                    for path in unknown {
                        problems.push(self.unknown_key(&plain(&path)));
                    }
                    return (raw, spoiled);
                }
                Err(error) => error,
            };
            let path = plain(&track.path().to_string());
            // A problem with a value that is only wrong because a part of it was removed has been reported
            // already.
            let follows = |part: &String| {
                part.strip_prefix(&path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if !spoiled.iter().any(follows) {
                let value = root.pointer(&format!("/{}", path.replace('.', "/")));
                let message = messages::wrong_value(&error.to_string(), value);
                problems.push(self.problem(&path, message));
            }
            // Without the offending value, the rest can be examined, too.
            let removed = remove(&mut root, &path);
            spoiled.push(path);
            if !removed {
                return (RawConfig::default(), vec![String::new()]);
            }
        }
    }

    fn unknown_key(&self, path: &str) -> Problem {
        let problem = self.problem(path, messages::unknown_key(path));
        match variables::meant_by(&problem.place) {
            Some(name) => Problem {
                message: format!("unknown key; did you mean {name}?"),
                ..problem
            },
            None => problem,
        }
    }

    fn convert(&mut self, node: &MarkedYamlOwned, path: &str, problems: &mut Problems) -> Value {
        if !path.is_empty() {
            let place = format!("{}:{}", self.name, node.span.start.line());
            self.places.insert(path.to_owned(), place);
        }
        match &node.data {
            YamlDataOwned::Value(scalar) => convert_scalar(scalar),
            YamlDataOwned::Sequence(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(i, item)| self.convert(item, &join(path, &i.to_string()), problems))
                    .collect()
            }
            YamlDataOwned::Mapping(members) => {
                let mut map = Map::new();
                for (key, value) in members {
                    let key = match &key.data {
                        YamlDataOwned::Value(ScalarOwned::String(key)) => key.clone(),
                        YamlDataOwned::Value(other) => scalar_text(other),
                        _ => {
                            problems.push(self.problem(path, "a key is not plain text"));
                            continue;
                        }
                    };
                    let value = self.convert(value, &join(path, &key), problems);
                    map.insert(key, value);
                }
                Value::Object(map)
            }
            _ => {
                problems.push(self.problem(path, "aliases and tags are not supported here"));
                Value::Null
            }
        }
    }

    /// Sets the value that `variable` names: `REVOXY__ISSUERS__0__ISSUER` is `issuers.0.issuer`.
    fn overlay(&mut self, variable: &str, text: &str, problems: &mut Problems) {
        let path = variable[ENV_PREFIX.len()..]
            .to_ascii_lowercase()
            .replace("__", ".");
        // Parsed as YAML, so that numbers, lists and null can be given. Text that is not YAML is taken
        // literally.
        let parsed = MarkedYamlOwned::load_from_str(text).ok();
        let value = match parsed.as_deref() {
            Some([node]) => Self::convert(&mut self.clone(), node, "", &mut Problems::default()),
            _ => Value::String(text.to_owned()),
        };
        let (mut at, mut made) = (&mut self.root, String::new());
        for step in path.split('.') {
            made = join(&made, step);
            // Parents that did not exist come from this variable.
            let place = self.places.entry(made.clone());
            place.or_insert_with(|| variable.to_owned());
            let next = match at {
                Value::Array(items) => step.parse().ok().and_then(|i: usize| items.get_mut(i)),
                Value::Object(map) => Some(map.entry(step).or_insert(Value::Null)),
                Value::Null => {
                    *at = Value::Object(Map::new());
                    at.as_object_mut()
                        .map(|map| map.entry(step).or_insert(Value::Null))
                }
                _ => None,
            };
            let Some(next) = next else {
                problems.push(Problem {
                    place: variable.to_owned(),
                    path: path.clone(),
                    message: format!("there is nothing at `{step}` that could be set"),
                });
                return;
            };
            at = next;
        }
        *at = value;
        let below = format!("{path}.");
        self.places.retain(|place, _| !place.starts_with(&below));
        self.places.insert(path, variable.to_owned());
    }
}

fn convert_scalar(scalar: &ScalarOwned) -> Value {
    match scalar {
        ScalarOwned::Null => Value::Null,
        ScalarOwned::Boolean(b) => Value::Bool(*b),
        ScalarOwned::Integer(i) => Value::from(*i),
        ScalarOwned::FloatingPoint(f) => Value::from(f.into_inner()),
        ScalarOwned::String(s) => Value::String(s.clone()),
    }
}

fn scalar_text(scalar: &ScalarOwned) -> String {
    match convert_scalar(scalar) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() {
        step.to_owned()
    } else {
        format!("{path}.{step}")
    }
}

/// Removes the value at `path`. In a list, it leaves a gap, so that the indices of later items remain valid.
/// If the list cannot have gaps, this is called for the same path again, and then the whole list is removed.
fn remove(root: &mut Value, path: &str) -> bool {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer = match parent {
        "" => String::new(),
        parent => format!("/{}", parent.replace('.', "/")),
    };
    match root.pointer_mut(&pointer) {
        Some(Value::Object(map)) => map.remove(last).is_some(),
        Some(Value::Array(items)) => {
            match last.parse().ok().and_then(|i: usize| items.get_mut(i)) {
                Some(Value::Null) => remove(root, parent),
                Some(item) => {
                    *item = Value::Null;
                    true
                }
                None => false,
            }
        }
        _ => false,
    }
}
