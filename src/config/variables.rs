//! Finds environment variables that look as if they override a value, but do not: `REVOXY_SERVER_CHECK`
//! instead of `REVOXY__SERVER__CHECK`.
//!
//! For every Service whose name begins with `revoxy`, Kubernetes sets variables that begin in the same way.
//! Those are not mistakes.

use serde_json::{Map, Value};

use super::messages::plain;
use super::problem::Problem;
use super::raw::RawConfig;

/// The prefix of environment variables that override values. The double underscore distinguishes them from
/// those that Kubernetes sets for a Service called `revoxy` (`REVOXY_SERVICE_HOST`, `REVOXY_PORT`).
pub const ENV_PREFIX: &str = "REVOXY__";

/// The common prefix of both kinds.
const PREFIX: &str = "REVOXY_";
/// The maximum number of words in a variable that is searched for a key; no key has more. It bounds the
/// search.
const MOST_WORDS: usize = 20;
/// A name that is not a key.
const NONSENSE: &str = "no-key";

/// Warns about the variables with one underscore where two are needed.
pub(super) fn warnings<'v>(names: impl IntoIterator<Item = &'v str>) -> Vec<Problem> {
    let warning = |name: &str| {
        let rest = name.strip_prefix(PREFIX)?;
        if name.starts_with(ENV_PREFIX) || is_of_kubernetes(rest) {
            return None;
        }
        let path = key_in(rest)?;
        let message = format!(
            "this variable changes nothing: write two underscores before each part of the key, {}",
            variable(&path)
        );
        Some(Problem {
            place: name.to_owned(),
            path: path.join("."),
            message,
        })
    };
    let mut warnings: Vec<_> = names.into_iter().filter_map(warning).collect();
    warnings.sort_by(|a, b| a.place.cmp(&b.place));
    warnings
}

/// Returns the variable that was meant by one that begins with [`ENV_PREFIX`] and names no key.
pub(super) fn meant_by(name: &str) -> Option<String> {
    let path = key_in(name.strip_prefix(ENV_PREFIX)?)?;
    Some(variable(&path))
}

fn variable(path: &[String]) -> String {
    format!("{ENV_PREFIX}{}", path.join("__").to_ascii_uppercase())
}

/// Returns whether Kubernetes sets such a variable for a Service: `{SVC}_SERVICE_HOST`, `{SVC}_SERVICE_PORT`,
/// `{SVC}_SERVICE_PORT_{NAME}`, `{SVC}_PORT`, `{SVC}_PORT_{NUMBER}_{PROTOCOL}`, and the last with `_PROTO`,
/// `_PORT` and `_ADDR`. `rest` is the name without our prefix.
fn is_of_kubernetes(rest: &str) -> bool {
    let words: Vec<_> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    (0..words.len()).any(|at| match &words[at..] {
        ["SERVICE", "HOST" | "PORT"] | ["SERVICE", "PORT", ..] | ["PORT"] => true,
        ["PORT", number, "TCP" | "UDP" | "SCTP"]
        | [
            "PORT",
            number,
            "TCP" | "UDP" | "SCTP",
            "PROTO" | "PORT" | "ADDR",
        ] => is_number(number),
        _ => false,
    })
}

/// Returns the path of the key that a name means if any of its underscores may separate parts.
fn key_in(name: &str) -> Option<Vec<String>> {
    let name = name.to_ascii_lowercase();
    let words: Vec<_> = name.split('_').filter(|word| !word.is_empty()).collect();
    let is_plain = |word: &&str| word.bytes().all(|b| b.is_ascii_alphanumeric());
    if words.len() > MOST_WORDS || !words.iter().all(is_plain) {
        return None;
    }
    let mut path = Vec::new();
    search(&mut path, &words).then_some(path)
}

/// Extends `path` by the steps that `words` consist of, as many as possible. Returns whether that leads to a
/// key.
fn search(path: &mut Vec<String>, words: &[&str]) -> bool {
    for taken in 1..=words.len() {
        path.push(words[..taken].join("_"));
        let rest = &words[taken..];
        if is_known(path) && (rest.is_empty() && !is_free(path) || search(path, rest)) {
            return true;
        }
        path.pop();
    }
    false
}

/// Returns whether the last step is a name that the user may choose, such as that of a policy.
fn is_free(path: &[String]) -> bool {
    let mut other = path.to_vec();
    if let Some(last) = other.last_mut() {
        NONSENSE.clone_into(last);
    }
    is_known(&other)
}

/// Returns whether a configuration may have a value at this path: nothing is left over when a configuration
/// is read that has only this value. The path without its last step must be known.
fn is_known(path: &[String]) -> bool {
    let Some((last, parent)) = path.split_last() else {
        return true;
    };
    // Sections can also be read from lists, but are not written as lists in practice.
    if is_index(last) && read(parent, Value::Object(Map::new())).is_ok() {
        return false;
    }
    match read(path, Value::Null) {
        Ok(is_left_over) => !is_left_over,
        // A mistake at this very path means that the key was recognized: only its value, null, is wrong.
        Err((at, said)) => {
            let step = |step: &String| if is_index(step) { "0" } else { step }.to_owned();
            let path: Vec<_> = path.iter().map(step).collect();
            at == path.join(".") && !said.starts_with("unknown variant")
        }
    }
}

fn is_index(step: &str) -> bool {
    step.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a configuration that has only this value at this path. Returns whether a part was left over; if the
/// configuration is invalid, returns the place and the error.
fn read(path: &[String], value: Value) -> Result<bool, (String, String)> {
    let within = |value, step: &String| match is_index(step) {
        true => Value::Array(vec![value]),
        false => Value::Object(Map::from_iter([(step.clone(), value)])),
    };
    let root = path.iter().rev().fold(value, within);
    let (mut is_left_over, mut track) = (false, serde_path_to_error::Track::new());
    let tracked = serde_path_to_error::Deserializer::new(root, &mut track);
    let decoded: Result<RawConfig, serde_json::Error> =
        serde_ignored::deserialize(tracked, |_| is_left_over = true);
    match decoded {
        Ok(_) => Ok(is_left_over),
        Err(error) => Err((plain(&track.path().to_string()), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_key_that_its_words_make_up() {
        for (name, expected) in [
            ("SERVER_CHECK", Some("server.check")),
            ("SERVER__CHECK", Some("server.check")),
            ("SERVER_MAX_CONNECTIONS", Some("server.max_connections")),
            (
                "REVOCATION_STORE_REDIS_URL",
                Some("revocation.store.redis.url"),
            ),
            (
                "REVOCATION_STORE_REDIS_SENTINEL_TLS_CA_FILE",
                Some("revocation.store.redis.sentinel.tls.ca_file"),
            ),
            ("REVOCATION_STORE_MEMORY", Some("revocation.store.memory")),
            (
                "REVOCATION_ON_UNAVAILABLE",
                Some("revocation.on_unavailable"),
            ),
            (
                "REVOCATION_ON_UNAVAILABLE_SERVE_STALE",
                Some("revocation.on_unavailable.serve_stale"),
            ),
            ("ISSUERS_0_NAME", Some("issuers.0.name")),
            (
                "ISSUERS_12_TOKEN_TYPE_CLAIM",
                Some("issuers.12.token_type.claim"),
            ),
            (
                "ISSUERS_0_REQUIRED_CLAIMS",
                Some("issuers.0.required_claims"),
            ),
            (
                "POLICIES_DEFAULT_TOKEN_TYPE",
                Some("policies.default.token_type"),
            ),
            ("POLICIES_READ_ONLY_TOKEN", Some("policies.read_only.token")),
            ("API_ADMIN_KEY_FILE", Some("api.admin_key_file")),
            ("ROUTES", Some("routes")),
            ("CONFIG", None),
            ("VERSION", None),
            ("SERVER", Some("server")),
            (
                "ISSUERS_0_KEYS_REDIRECT_HOSTS_0",
                Some("issuers.0.keys.redirect_hosts.0"),
            ),
            ("SERVER_HOST", None),
            ("SERVER_0", None),
            ("SERVER_CHECK_PORT", None),
            ("POLICIES_DIR", None),
            ("REVOCATION_ON_UNAVAILABLE_HOPE", None),
            ("ISSUERS_NAME", None),
            ("", None),
            ("_", None),
            ("A.B", None),
            ("1", None),
        ] {
            let found = key_in(name).map(|path| path.join("."));
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        let long = vec!["POLICIES"; 10_000].join("_");
        assert_eq!(key_in(&long), None);
        let deep = vec!["policies"; MOST_WORDS].join("_");
        assert_eq!(key_in(&deep), None);
    }

    #[test]
    fn what_kubernetes_makes_for_services_is_nobodys_mistake() {
        for rest in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "SERVICE_PORT_GRPC_CHECK",
            "API_SERVICE_HOST",
            "API_SERVICE_PORT_HTTP",
            "PORT",
            "POLICIES_PORT",
            "PORT_9001_TCP",
            "PORT_9001_TCP_PROTO",
            "PORT_9001_TCP_PORT",
            "PORT_9001_TCP_ADDR",
            "SERVER_PORT_53_UDP_ADDR",
        ] {
            assert!(is_of_kubernetes(rest), "{rest}");
        }
        for rest in [
            "",
            "SERVER_CHECK",
            "PORT_X_TCP",
            "SERVICE",
            "ROUTES_0_HOST",
            "REPORT",
        ] {
            assert!(!is_of_kubernetes(rest), "{rest}");
        }
    }

    #[test]
    fn a_warning_names_the_variable_and_the_right_one() {
        let names = [
            "REVOXY_SERVER_API",
            "REVOXY_CONFIG",
            "REVOXY_PORT",
            "PATH",
            "REVOXY__SERVER__API",
        ];
        let [warning] = &warnings(names)[..] else {
            unreachable!("{:?}", warnings(names));
        };
        assert_eq!(
            warning.as_warning(),
            "REVOXY_SERVER_API: warning: server.api: this variable changes nothing: write two underscores before each part of the \
             key, REVOXY__SERVER__API"
        );
        let meant = meant_by("REVOXY__SERVER_API");
        assert_eq!(meant.as_deref(), Some("REVOXY__SERVER__API"));
    }
}
