//! Where the token stands in a request.
//!
//! Anything that two readers could understand differently is refused, never resolved by a rule of ours: what we
//! checked must be what the application will read.

use super::decision::DenyReason;
use super::request::RequestHeaders;

/// The bearer token of the `Authorization` header (RFC 6750 §2.1), if there is one.
///
/// The scheme is compared without case (RFC 9110 §11.1). Another scheme is no token of ours. Envoy joins repeated
/// `Authorization` headers with a comma, and no token contains one (RFC 7515 §7.1).
pub(super) fn extract(headers: &dyn RequestHeaders) -> Result<Option<&str>, DenyReason> {
    let (mut value, mut count) = (None, 0);
    headers.visit("authorization", &mut |v| {
        count += 1;
        value = Some(v);
    });
    let Some(value) = value else { return Ok(None) };
    if count > 1 || value.contains(&b',') {
        return Err(DenyReason::AmbiguousToken);
    }
    // What is not ASCII is neither a scheme nor a token; `from_utf8` suffices because a token is read strictly later.
    let value = str::from_utf8(value).map_err(|_| malformed())?;
    let mut words = value.split([' ', '\t']).filter(|w| !w.is_empty());
    match (words.next(), words.next(), words.next()) {
        (Some(scheme), _, _) if !scheme.eq_ignore_ascii_case("bearer") => Ok(None),
        (Some(_), Some(token), None) => Ok(Some(token)),
        (None, ..) => Ok(None),
        (Some(_), ..) => Err(malformed()),
    }
}

fn malformed() -> DenyReason {
    DenyReason::Rejected(crate::jwt::Rejection::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::Rejection;

    struct Values(Vec<&'static [u8]>);

    impl RequestHeaders for Values {
        fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
            assert_eq!(name, "authorization");
            self.0.iter().for_each(|v| visit(v));
        }
    }

    #[test]
    fn one_bearer_token_is_found_and_anything_ambiguous_is_refused() {
        let malformed = Err(DenyReason::Rejected(Rejection::Malformed));
        let ambiguous = Err(DenyReason::AmbiguousToken);
        type Case = (Vec<&'static [u8]>, Result<Option<&'static str>, DenyReason>);
        let cases: Vec<Case> = vec![
            (vec![], Ok(None)),
            (vec![b""], Ok(None)),
            (vec![b"Bearer a.b.c"], Ok(Some("a.b.c"))),
            (vec![b"bearer a.b.c"], Ok(Some("a.b.c"))),
            (vec![b"BEARER \t a.b.c "], Ok(Some("a.b.c"))),
            (vec![b"Basic dTpw"], Ok(None)),
            (vec![b"a.b.c"], Ok(None)),
            (vec![b"Bearer"], malformed),
            (vec![b"Bearer a b"], malformed),
            (vec![b"Bearer \xff"], malformed),
            (vec![b"Bearer a,Bearer b"], ambiguous),
            (vec![b"Bearer a", b"Bearer a"], ambiguous),
            (vec![b"Basic a", b"Bearer b"], ambiguous),
        ];
        for (values, expected) in cases {
            assert_eq!(extract(&Values(values.clone())), expected, "{values:?}");
        }
    }
}
