//! Routes: which policy applies if the proxy cannot name one (Istio's CUSTOM provider cannot).

use std::borrow::Cow;

/// A rule that selects a policy. Rules are tried in order; the first match wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host, without port and trailing dot, in lower case; `None` matches any host.
    pub host: Option<String>,
    /// The methods; empty matches any method.
    pub methods: Vec<String>,
    /// The path; `None` matches any path.
    pub path: Option<PathMatch>,
    /// The index of the policy.
    pub policy: usize,
}

/// How a path is compared. No variant looks at the query, or at a slash at the end: most applications answer
/// `/admin/` as they do `/admin`, so it must not evade a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path itself or anything below it: `/health` matches `/health` and `/health/live`, not `/healthy`.
    Prefix(String),
    /// The whole path; `{name}` matches any segment: `/orders/{id}` matches `/orders/7`, not `/orders` and not
    /// `/orders/7/items`.
    Template(String),
}

impl Route {
    /// Returns whether the request matches. `host` is a [name](name_of), and `path` is in normal form.
    pub(super) fn matches(&self, method: &str, host: &str, path: &str) -> bool {
        let host_matches = |h: &String| h.eq_ignore_ascii_case(host);
        self.host.as_ref().is_none_or(host_matches)
            && (self.methods.is_empty() || self.methods.iter().any(|m| m == method))
            && self.path.as_ref().is_none_or(|p| p.matches(path))
    }

    /// Returns whether some request that matches this route would match `strict` if paths were compared
    /// without case.
    pub(super) fn overlaps_but_for_case(&self, strict: &Self) -> bool {
        let path = match (&self.path, &strict.path) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(here), Some(there)) => here.lower().matches(there.lower().text()),
        };
        let hosts = (&self.host, &strict.host);
        let host = !matches!(hosts, (Some(here), Some(there)) if here != there);
        let any = self.methods.is_empty() || strict.methods.is_empty();
        path && host && (any || self.methods.iter().any(|m| strict.methods.contains(m)))
    }

    /// Returns whether this route matches every request that the other matches, as far as is easily told.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let host = self.host.is_none() || self.host == other.host;
        let has = |method| self.methods.contains(method);
        let all = !other.methods.is_empty() && other.methods.iter().all(has);
        let path = match (&self.path, &other.path) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(path), Some(other)) => path.covers(other),
        };
        host && (self.methods.is_empty() || all) && path
    }

    /// Returns whether its path could be spelled in another case.
    pub(super) fn has_letters_in_path(&self) -> bool {
        let path = self.path.as_ref().map(PathMatch::text);
        path.is_some_and(|path| path.bytes().any(|b| b.is_ascii_alphabetic()))
    }
}

impl PathMatch {
    fn text(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) | Self::Template(path) => path,
        }
    }

    fn lower(&self) -> Self {
        match self {
            Self::Exact(path) => Self::Exact(path.to_ascii_lowercase()),
            Self::Prefix(path) => Self::Prefix(path.to_ascii_lowercase()),
            Self::Template(path) => Self::Template(path.to_ascii_lowercase()),
        }
    }

    fn matches(&self, path: &str) -> bool {
        let (path, wanted) = (without_slash(path), without_slash(self.text()));
        match self {
            Self::Exact(_) => path == wanted,
            Self::Prefix(_) => path
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Template(_) => {
                let (mut segments, mut wanted) = (path.split('/'), wanted.split('/'));
                loop {
                    match (segments.next(), wanted.next()) {
                        (None, None) => return true,
                        (Some(segment), Some(wanted)) if is_variable(wanted) => {
                            if segment.is_empty() {
                                return false;
                            }
                        }
                        (segment, wanted) if segment == wanted => {}
                        _ => return false,
                    }
                }
            }
        }
    }

    /// Returns whether this matches every path that the other matches, as far as is easily told.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_) | Self::Template(_), Self::Prefix(_)) => false,
            // In a template, a variable matches a variable; a path and a prefix have none.
            _ => self.matches(other.text()),
        }
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

fn is_variable(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

/// Removes the port, and the dot that a fully qualified name may end with (RFC 1034 §3.1): `shop.example.` is
/// the same host as `shop.example`, to applications too.
pub(super) fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Returns the path without its query in one spelling, or `None` if it is spelled such that a proxy, we and the
/// application could each see a different path: `//admin` or `/%61dmin` must not evade a rule for `/admin`.
///
/// An escape sequence of a character that may also stand for itself (RFC 3986 §3.3), which clients write in both ways, is
/// replaced by the character: `/orders%3Acancel` is `/orders:cancel`. The digits of the others become capitals, and what
/// is not ASCII becomes escape sequences (§6.2.2.1).
///
/// Envoy normalizes paths if `normalize_path`, `merge_slashes` and `path_with_escaped_slashes_action` are
/// set; a path that is not in normal form has passed a proxy that does not.
pub fn normal_path(path_and_query: &str) -> Option<Cow<'_, str>> {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let rooted = path.starts_with('/') || path == "*";
    let strange = |b: u8| matches!(b, b'\\' | b'#' | b';') || b <= b' ' || b == 0x7f;
    let dotted = path
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    if !rooted || dotted || path.contains("//") || path.bytes().any(strange) {
        return None;
    }
    let escapes = path.bytes().enumerate().filter(|(_, b)| *b == b'%');
    for (at, _) in escapes {
        let digits = path.get(at + 1..at + 3)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        // An escape sequence for a character that needs no escaping, for a separator or for a control
        // character has another spelling with the same meaning.
        let twin = byte.is_ascii_alphanumeric()
            || b"-._~/\\;%".contains(&byte)
            || byte < b' '
            || byte == 0x7f;
        if twin {
            return None;
        }
    }
    Some(match path.bytes().any(|b| b == b'%' || b >= 0x80) {
        false => Cow::Borrowed(path),
        true => Cow::Owned(in_one_spelling(path)),
    })
}

/// The characters that may stand for themselves in a segment, beside those that every reader decodes.
const OPTIONAL_ESCAPES: &[u8] = b"!$&'()*+,=:@";

/// Spells each character of a path with valid escape sequences in the same way wherever it comes from.
fn in_one_spelling(path: &str) -> String {
    let mut spelled = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                let escaped = u8::from_str_radix(&digits, 16).unwrap_or(byte);
                if !OPTIONAL_ESCAPES.contains(&escaped) {
                    spelled.push('%');
                    spelled.push_str(&digits.to_ascii_uppercase());
                    continue;
                }
                escaped
            }
            other => other,
        };
        match byte.is_ascii() {
            true => spelled.push(char::from(byte)),
            false => spelled.push_str(&format!("%{byte:02X}")),
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_normal_form_lose_only_their_query() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b?x=//..", "/a/b"),
            ("/caf%C3%A9", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/orders%3Acancel", "/orders:cancel"),
            ("/%40admin%2C%2a", "/@admin,*"),
            ("/orders:cancel", "/orders:cancel"),
            ("/a%20b", "/a%20b"),
            ("*", "*"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn every_other_spelling_of_a_path_is_refused() {
        for path in [
            "",
            "admin",
            "//admin",
            "/public//admin",
            "/public/../admin",
            "/./admin",
            "/admin/..",
            "/%61dmin",
            "/public/%2e%2e/admin",
            "/public%2Fadmin",
            "/public%5cadmin",
            "/a\\b",
            "/a;x/b",
            "/a#b",
            "/a b",
            "/%",
            "/%4",
            "/%zz",
            "/%00",
            "/%253B",
            "http://x/admin",
        ] {
            assert_eq!(normal_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let prefix = PathMatch::Prefix("/health".to_owned());
        assert!(prefix.matches("/health") && prefix.matches("/health/live"));
        assert!(!prefix.matches("/healthy"));
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for wanted in ["/admin", "/admin/"] {
            for path in ["/admin", "/admin/"] {
                let wanted = wanted.to_owned();
                for matching in [
                    PathMatch::Exact(wanted.clone()),
                    PathMatch::Prefix(wanted.clone()),
                    PathMatch::Template(wanted),
                ] {
                    assert!(matching.matches(path), "{matching:?} {path}");
                }
            }
        }
        let everything = PathMatch::Prefix("/".to_owned());
        assert!(everything.matches("/") && everything.matches("/a/b"));
        assert!(!everything.matches("*"));
    }

    #[test]
    fn a_template_matches_as_many_segments_as_it_has() {
        let template = PathMatch::Template("/orders/{id}/items".to_owned());
        for path in ["/orders/7/items", "/orders/caf%C3%A9/items/"] {
            assert!(template.matches(path), "{path}");
        }
        for path in [
            "/orders/items",
            "/orders/7",
            "/orders/7/items/8",
            "/orders/7/item",
        ] {
            assert!(!template.matches(path), "{path}");
        }
        assert!(!PathMatch::Template("/{any}".to_owned()).matches("/"));
    }

    #[test]
    fn a_route_covers_what_it_leaves_nothing_of() {
        let route = |host: Option<&str>, methods: &[&str], path| Route {
            host: host.map(str::to_owned),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            path,
            policy: 0,
        };
        let exact = |path: &str| Some(PathMatch::Exact(path.to_owned()));
        let prefix = |path: &str| Some(PathMatch::Prefix(path.to_owned()));
        let template = |path: &str| Some(PathMatch::Template(path.to_owned()));
        let any = route(None, &[], None);
        let orders = route(None, &[], prefix("/orders"));
        for covered in [
            route(None, &[], exact("/orders/7")),
            route(Some("shop.example"), &["GET"], template("/orders/{id}")),
            route(None, &[], prefix("/orders/7")),
        ] {
            assert!(
                any.covers(&covered) && orders.covers(&covered),
                "{covered:?}"
            );
            assert!(!covered.covers(&orders), "{covered:?}");
        }
        let get = route(None, &["GET", "HEAD"], exact("/orders"));
        assert!(get.covers(&route(None, &["GET"], exact("/orders/"))));
        assert!(!get.covers(&route(None, &[], exact("/orders"))));
        let by_id = route(None, &[], template("/orders/{id}"));
        assert!(by_id.covers(&route(None, &[], template("/orders/{number}"))));
        assert!(by_id.covers(&route(None, &[], exact("/orders/7"))));
        assert!(!by_id.covers(&route(None, &[], prefix("/orders/7"))));
    }

    #[test]
    fn host_and_method_narrow_a_route() {
        let route = Route {
            host: Some("shop.example".to_owned()),
            methods: vec!["GET".to_owned()],
            path: None,
            policy: 0,
        };
        for host in [
            "shop.example",
            "Shop.Example:8443",
            "shop.example.",
            "shop.example.:80",
        ] {
            assert!(route.matches("GET", name_of(host), "/"), "{host}");
        }
        assert!(!route.matches("POST", "shop.example", "/"));
        assert!(!route.matches("GET", "other.example", "/"));
    }
}
