//! Which token is found where, and what is ambiguous.

use crate::authz::decision::DenyReason;
use crate::authz::request::{AuthzRequest, RequestHeaders};
use crate::authz::token::{Stripped, TokenPlace, TokenSource, extract};
use crate::jwt::Rejection;

struct Headers(Vec<(&'static str, &'static [u8])>);

impl RequestHeaders for Headers {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        let named = self.0.iter().filter(|(n, _)| *n == name);
        named.for_each(|(_, v)| visit(v));
    }
}

fn source(place: TokenPlace) -> TokenSource {
    TokenSource { place, strip: true }
}

fn header(name: &str, scheme: Option<&str>) -> TokenSource {
    source(TokenPlace::Header {
        name: name.to_owned(),
        scheme: scheme.map(str::to_owned),
    })
}

fn everywhere() -> Vec<TokenSource> {
    vec![
        header("authorization", Some("Bearer")),
        header("x-token", None),
        source(TokenPlace::Cookie("at".to_owned())),
        source(TokenPlace::Query("access_token".to_owned())),
    ]
}

fn request<'r>(path: &'r str, headers: &'r Headers) -> AuthzRequest<'r> {
    AuthzRequest {
        policy: None,
        method: "GET",
        host: "shop.example",
        path,
        headers,
        proxy: None,
    }
}

type Found = Result<Option<&'static str>, DenyReason>;
const MALFORMED: Found = Err(DenyReason::Rejected(Rejection::Malformed));
const AMBIGUOUS: Found = Err(DenyReason::AmbiguousToken);

#[test]
#[rustfmt::skip]
fn one_bearer_token_is_found_and_anything_ambiguous_is_refused() {
    let cases: Vec<(Vec<&'static [u8]>, Found)> = vec![
        (vec![], Ok(None)),
        (vec![b""], Ok(None)),
        (vec![b"Bearer a.b.c"], Ok(Some("a.b.c"))),
        (vec![b"bearer a.b.c"], Ok(Some("a.b.c"))),
        (vec![b"BEARER \t a.b.c "], Ok(Some("a.b.c"))),
        (vec![b"Basic dTpw"], Ok(None)),
        (vec![b"a.b.c"], Ok(None)),
        (vec![b"Bearer"], MALFORMED),
        (vec![b"Bearer a b"], MALFORMED),
        (vec![b"Bearer \xff"], MALFORMED),
        (vec![b"Bearer a,Bearer b"], AMBIGUOUS),
        (vec![b"Bearer a", b"Bearer a"], AMBIGUOUS),
        (vec![b"Basic a", b"Bearer b"], AMBIGUOUS),
    ];
    for (values, expected) in cases {
        let headers = Headers(values.iter().map(|v| ("authorization", *v)).collect());
        let found = extract(&[TokenSource::bearer()], &request("/", &headers));
        assert_eq!(found, expected, "{values:?}");
    }
}

#[test]
#[rustfmt::skip]
fn every_configured_place_is_looked_at_and_two_tokens_are_too_many() {
    type Case = (&'static str, Vec<(&'static str, &'static [u8])>, &'static str, Found);
    let cases: Vec<Case> = vec![
        ("none", vec![], "/", Ok(None)),
        ("a header", vec![("x-token", b"t")], "/", Ok(Some("t"))),
        ("an empty header", vec![("x-token", b" ")], "/", Ok(None)),
        ("a header with a scheme too many", vec![("x-token", b"Bearer t")], "/", MALFORMED),
        ("a cookie", vec![("cookie", b"a=1; at=t; b=2")], "/", Ok(Some("t"))),
        ("a quoted cookie", vec![("cookie", b"at=\"t\"")], "/", Ok(Some("t"))),
        ("an empty cookie", vec![("cookie", b"at=; b=1")], "/", Ok(None)),
        ("a cookie without a value", vec![("cookie", b"at")], "/", Ok(None)),
        ("a cookie of another case", vec![("cookie", b"AT=t")], "/", Ok(None)),
        ("a cookie that ends like it", vec![("cookie", b"xat=t")], "/", Ok(None)),
        ("a cookie in the second header", vec![("cookie", b"a=1"), ("cookie", b"at=t")], "/", Ok(Some("t"))),
        ("a cookie twice, the same", vec![("cookie", b"at=t; at=t")], "/", Ok(Some("t"))),
        ("a cookie twice", vec![("cookie", b"at=t; at=u")], "/", AMBIGUOUS),
        ("a cookie that is not text", vec![("cookie", b"at=\xff")], "/", MALFORMED),
        ("a parameter", vec![], "/a?x=1&access_token=t", Ok(Some("t"))),
        ("a parameter before a fragment", vec![], "/a?access_token=t#x", Ok(Some("t"))),
        ("a parameter in a fragment", vec![], "/a#?access_token=t", Ok(None)),
        ("an empty parameter", vec![], "/?access_token=", Ok(None)),
        ("a parameter twice", vec![], "/?access_token=t&access_token=u", AMBIGUOUS),
        ("a parameter after a semicolon", vec![], "/?a=1;access_token=t", Ok(Some("t"))),
        ("a parameter whose name is escaped", vec![], "/?access%5Ftoken=t", AMBIGUOUS),
        ("a parameter whose name begins escaped", vec![], "/?%61ccess_token=t", AMBIGUOUS),
        ("a parameter whose value is escaped", vec![], "/?access_token=%74", MALFORMED),
        ("an escape that is none", vec![], "/?%zz=%&%", Ok(None)),
        ("a name in the path", vec![], "/access_token=t", Ok(None)),
        ("header and cookie, the same", vec![("x-token", b"t"), ("cookie", b"at=t")], "/", Ok(Some("t"))),
        ("header and cookie", vec![("x-token", b"t"), ("cookie", b"at=u")], "/", AMBIGUOUS),
        ("header and parameter", vec![("authorization", b"Bearer t")], "/?access_token=u", AMBIGUOUS),
        ("another scheme and a cookie", vec![("authorization", b"Basic x"), ("cookie", b"at=t")], "/", Ok(Some("t"))),
    ];
    for (name, headers, path, expected) in cases {
        let headers = Headers(headers);
        assert_eq!(extract(&everywhere(), &request(path, &headers)), expected, "{name}");
    }
}

#[test]
fn what_is_not_configured_is_not_looked_at() {
    let headers = Headers(vec![("cookie", b"at=t"), ("x-token", b"t")]);
    let request = request("/?access_token=t", &headers);
    assert_eq!(extract(&[TokenSource::bearer()], &request), Ok(None));
}

#[test]
fn every_copy_of_the_token_is_stripped_and_nothing_else() {
    let headers = Headers(vec![
        ("authorization", b"Bearer t"),
        ("x-token", b"t"),
        ("cookie", b"a=1; at=t; b=\"2\"; at=t"),
    ]);
    let stripped = Stripped::from(&everywhere(), &request("/", &headers));
    assert_eq!(stripped.headers, ["authorization", "x-token"]);
    assert_eq!(stripped.query, ["access_token"]);
    assert_eq!(stripped.cookie.as_deref(), Some("a=1; b=\"2\""));
    let headers = Headers(vec![("authorization", b"Basic x"), ("cookie", b"a=1")]);
    let stripped = Stripped::from(&everywhere(), &request("/", &headers));
    assert_eq!((stripped.headers.len(), stripped.cookie), (0, None));
    let headers = Headers(vec![("cookie", b"at=t")]);
    let stripped = Stripped::from(&everywhere(), &request("/", &headers));
    assert_eq!(stripped.cookie.as_deref(), Some(""));
}
