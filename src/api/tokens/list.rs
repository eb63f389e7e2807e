//! `GET /v1/tokens?issuer=&sub=`: the live tokens of a subject.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::revocation::Place;

use super::super::Api;
use super::super::answer::Failure;
use super::named::required;
use super::{in_time, shown};

const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: usize = 500;

#[derive(Default)]
struct Query {
    issuer: Option<String>,
    subject: Option<String>,
    after: Option<Place>,
    limit: usize,
    active: bool,
}

pub(in super::super) async fn handle(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Response {
    match api.list(&query.unwrap_or_default()).await {
        Ok(page) => Json(page).into_response(),
        Err(failure) => failure.into_response(),
    }
}

impl Api {
    async fn list(&self, query: &str) -> Result<Value, Failure> {
        let registry = self.registry()?;
        let query = Query::parse(query)?;
        let issuer = required(query.issuer, "`issuer`")?;
        self.leeway_of(&issuer)?;
        let subject = required(query.subject, "`sub`")?;
        let page = registry.of_subject(&issuer, &subject, query.after, query.limit);
        let page = in_time(page).await?;
        let revoked = self.are_revoked(&page.records).await?;
        let tokens: Vec<Value> = page
            .records
            .iter()
            .zip(revoked)
            .filter(|(_, revoked)| !(query.active && *revoked))
            .map(|(record, revoked)| shown::with_status(record, revoked))
            .collect();
        let next = page.next.map(|place| place.to_string());
        Ok(json!({ "tokens": tokens, "next": next }))
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut query = Self {
            limit: DEFAULT_LIMIT,
            ..Self::default()
        };
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let wrong = |why: &str| Failure::bad_request(format!("`{name}`: {why}"));
            if seen.contains(&name) {
                return Err(wrong("occurs more than once"));
            }
            match &*name {
                "issuer" => query.issuer = Some(value.into_owned()),
                "sub" => query.subject = Some(value.into_owned()),
                "after" => {
                    let place = value.parse();
                    query.after = Some(place.map_err(|_| wrong("not the `next` of a page"))?);
                }
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                    query.limit = limit.ok_or_else(|| wrong("not a number from 1 to 500"))?;
                }
                "active" => {
                    let active = value.parse().map_err(|_| wrong("not `true` or `false`"));
                    query.active = active?;
                }
                _ => return Err(wrong("unknown parameter")),
            }
            seen.push(name);
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_nothing_else_is() {
        let query = Query::parse("issuer=shop&sub=a%20b%26&limit=7&active=true").ok();
        let query = query.unwrap();
        assert_eq!(query.subject.as_deref(), Some("a b&"));
        assert_eq!((query.limit, query.active), (7, true));
        for text in [
            "sub=a&sub=a",
            "subject=a",
            "limit=0",
            "limit=501",
            "limit=x",
            "after=x",
            "active=yes",
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
