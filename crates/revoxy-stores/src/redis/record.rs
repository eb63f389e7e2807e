//! A token's record as it is stored in Redis: a JSON object of strings. Numbers are strings too, because the Lua
//! scripts in Redis would round them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::jwt::TokenType;

use super::super::StoreError;
use super::super::key::{KeyKind, RevocationKey};
use super::super::record::TokenRecord;

#[derive(Serialize, Deserialize)]
struct Value {
    /// `jti` or `digest`.
    kind: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    r#type: String,
    /// Milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<String>,
    noted_at: String,
}

/// Encodes the value to write, without the expiry, which is stored beside it.
pub(super) fn encode(token: &TokenRecord) -> String {
    let value = Value {
        kind: token.token.kind().as_str().to_owned(),
        id: token.token.value().to_owned(),
        sub: token.subject.clone(),
        sid: token.session.clone(),
        client: token.client.clone(),
        kid: token.kid.clone(),
        r#type: token.token_type.as_str().to_owned(),
        iat: token.issued_at.map(|at| at.millis().to_string()),
        noted_at: token.noted_at.millis().to_string(),
    };
    serde_json::to_string(&value).unwrap_or_else(|_| "{}".to_owned())
}

/// Decodes the record in a value. The subject in whose list the record was found takes precedence over the
/// subject that the record names.
pub(super) fn decode(
    issuer: &str,
    subject: Option<&str>,
    value: &[u8],
    expires_at: Timestamp,
) -> Result<TokenRecord, StoreError> {
    let wrong = || StoreError::Failed("a token's record is none of ours".to_owned());
    let value: Value = serde_json::from_slice(value).map_err(|_| wrong())?;
    let kind = KeyKind::of_token(&value.kind).ok_or_else(wrong)?;
    let millis = |text: &str| text.parse().map(Timestamp::from_millis);
    let issued_at = value.iat.as_deref().map(millis).transpose();
    Ok(TokenRecord {
        token: RevocationKey::new(kind, issuer, &value.id),
        subject: subject.map(str::to_owned).or(value.sub),
        session: value.sid,
        client: value.client,
        kid: value.kid,
        token_type: TokenType::from_name(&value.r#type).ok_or_else(wrong)?,
        issued_at: issued_at.map_err(|_| wrong())?,
        expires_at,
        registered: false,
        noted_at: millis(&value.noted_at).map_err(|_| wrong())?,
    })
}

/// Returns the record of a token that was registered by hand, without a value.
pub(super) fn bare(token: RevocationKey, expires_at: Timestamp) -> TokenRecord {
    TokenRecord {
        token,
        subject: None,
        session: None,
        client: None,
        kid: None,
        token_type: TokenType::Access,
        issued_at: None,
        expires_at,
        registered: true,
        noted_at: Timestamp::from_millis(0),
    }
}
