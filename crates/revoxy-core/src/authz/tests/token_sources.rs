//! Tests of where tokens are found, and of what is ambiguous.

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
        (vec!["Bearer\u{a0}a.b.c".as_bytes()], MALFORMED),
        (vec!["Bearer\u{85}a.b.c".as_bytes()], MALFORMED),
        (vec!["Bearer\u{2003}a.b.c".as_bytes()], MALFORMED),
        (vec!["\u{a0}Bearer a.b.c".as_bytes()], MALFORMED),
        (vec!["\u{feff}bearer a.b.c".as_bytes()], MALFORMED),
        (vec!["Bearer \u{a0}a.b.c".as_bytes()], Ok(Some("\u{a0}a.b.c"))),
        (vec![b"Bearer\x0ba.b.c"], MALFORMED),
        (vec![b"Bearer:a.b.c"], MALFORMED),
        (vec![b"BearerToken a.b.c"], Ok(None)),
        (vec!["Digest username=\"\u{e9}\"".as_bytes()], Ok(None)),
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

/// Names that a framework may read as `access_token`.
const OTHER_NAMES: &[&str] = &[
    // PHP.
    "access.token",
    "access%2Etoken",
    "access+token",
    "access%20token",
    "access[token",
    "access%5Btoken",
    "+access_token",
    "%20access_token",
    "access_token%00",
    "access_token%00x",
    "access_token[]",
    "access_token[x]",
    "access.token[x]",
    "+access.token%00x",
    // Rack and qs.
    "[access_token]",
    "%5Baccess_token%5D",
    "access_token]",
    "[[access_token]x]",
    // ASP.NET and nginx.
    "Access_Token",
    "ACCESS_TOKEN",
    "%41ccess_token",
    "%u0061ccess_token",
    "acce%C5%BF%C5%BF_token",
    // Other frameworks.
    "access%5Ftoken",
    "%61ccess_token",
    "access_token+",
    "access_token%20",
    "%09access_token",
    "access_token%0A",
    "access_token%C2%A0",
    "%A0access_token",
    "access_token%FF",
];

const STRANGERS: &[&str] = &[
    "x",
    "",
    "token",
    "_access_token",
    "access_token_",
    "access-token",
    "accesstoken",
    "xaccess_token",
    "access_token2",
    "x[access_token]",
    "x.access_token",
    "access_token.x",
    "access%5F%5Ftoken",
    "%zz",
    "%",
    "%u00",
    "%2",
    "access%255Ftoken",
];

#[test]
fn a_parameter_that_a_framework_takes_for_the_token_makes_the_request_ambiguous() {
    let found = |query: String| {
        let path = format!("/a?{query}");
        let headers = Headers(vec![]);
        extract(&everywhere(), &request(&path, &headers)).map(|t| t.map(str::to_owned))
    };
    for name in OTHER_NAMES {
        for query in [
            format!("access_token=t&{name}=u"),
            format!("{name}=u&access_token=t"),
            format!("x=1;{name}=u&access_token=t"),
            format!("{name}=u"),
            (*name).to_owned(),
        ] {
            assert_eq!(
                found(query.clone()),
                Err(DenyReason::AmbiguousToken),
                "{query}"
            );
        }
    }
    for name in STRANGERS {
        let query = format!("access_token=t&{name}=u");
        assert_eq!(found(query.clone()), Ok(Some("t".to_owned())), "{query}");
    }
    // For some readers, the value ends at the semicolon; for others, it continues.
    assert_eq!(
        found("access_token=t;x=1".to_owned()),
        Err(DenyReason::AmbiguousToken)
    );
}

#[test]
fn a_cookie_that_a_framework_takes_for_the_token_makes_the_request_ambiguous() {
    let find = |line: &[u8]| {
        let line: &'static [u8] = line.to_owned().leak();
        let headers = Headers(vec![("cookie", line)]);
        let source = source(TokenPlace::Cookie("access_token".to_owned()));
        extract(&[source], &request("/", &headers)).map(|t| t.map(str::to_owned))
    };
    // `+` and `%` are literal here, but older PHP and ASP.NET Core decoded them.
    let other_names = OTHER_NAMES
        .iter()
        .map(|name| format!("{name}=u").into_bytes());
    let in_one_cookie: [&[u8]; 14] = [
        // Python.
        b"x=1 access_token=u",
        b"x=1 access_token = u",
        b"x=1\taccess_token=u",
        b"x=\"1\" access_token=u",
        b"x=1, access_token=u",
        b"access_token=t access_token=u",
        b"access_token=t Access_Token=u",
        // nginx, RFC 2965.
        b"x=1,access_token=u",
        // Readers that trim or drop characters that are not ASCII.
        b"\xa0access_token=u",
        b"access_token\xc2\xa0=u",
        b"x=1\xc2\x85access_token=u",
        b"access token=u",
        b"\"access_token\"=u",
        b"x=\"\"access_token=u",
    ];
    for cookie in other_names.chain(in_one_cookie.map(<[u8]>::to_owned)) {
        for line in [
            [b"access_token=t; ", &cookie[..]].concat(),
            [&cookie[..], b"; access_token=t"].concat(),
            cookie.clone(),
        ] {
            let text = String::from_utf8_lossy(&line);
            assert_eq!(find(&line), Err(DenyReason::AmbiguousToken), "{text}");
        }
    }
    for other in [
        "x=\"a b, c\"",
        "access_token_=u",
        "x=access_token=u",
        "x=1 2 token=u",
        "x={\"access_token\":\"u\"}",
        "x=1 access_token",
        "x=a==",
        "x= = =",
    ] {
        let line = format!("{other}; access_token=t; {other}");
        assert_eq!(find(line.as_bytes()), Ok(Some("t".to_owned())), "{line}");
    }
}

#[test]
fn names_that_a_framework_takes_for_the_token_s_are_stripped_too() {
    let headers = Headers(vec![("cookie", b"a=1; AT=t; x=1 at=t; b=2")]);
    let stripped = Stripped::from(
        &everywhere(),
        &request("/?access.token=t&x=1&access_token=t", &headers),
    );
    assert_eq!(stripped.query, ["access_token", "access.token"]);
    assert_eq!(stripped.cookie.as_deref(), Some("a=1; b=2"));
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
