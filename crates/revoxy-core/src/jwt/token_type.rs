//! The type of a token, and the claims and header members that name it.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::rejection::Rejection;

/// The type of a token (flask-jwt-extended's `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// For requests to the application; also a token that does not name its type.
    Access,
    /// For obtaining a new access token.
    Refresh,
    /// Anything else that the issuer signs with its keys.
    Other,
}

impl TokenType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::Access, Self::Refresh, Self::Other];

    /// Returns the name in stores and answers, whatever the issuer calls the type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
            Self::Other => "other",
        }
    }

    /// Returns the type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }
}

/// Where the tokens of an issuer name their type. The header's `typ` is always considered as well.
#[derive(Clone, Debug, Default)]
pub enum TokenTypeRule {
    /// In any of the usual claims, with the usual names: see `docs/verification.md`. An unknown name does not
    /// mean an access token.
    #[default]
    Usual,
    /// In one claim, with names that the issuer defines.
    Named(TokenTypeNames),
}

/// How an issuer names token types.
#[derive(Clone, Debug)]
pub struct TokenTypeNames {
    /// The claim. A token without it is an access token.
    pub claim: String,
    /// Values that mean an access token.
    pub access: Vec<String>,
    /// Values that mean a refresh token.
    pub refresh: Vec<String>,
}

impl Default for TokenTypeNames {
    fn default() -> Self {
        Self {
            claim: "type".to_owned(),
            access: vec!["access".to_owned()],
            refresh: vec!["refresh".to_owned()],
        }
    }
}

/// The claims in which libraries and identity providers name the type.
const USUAL_CLAIMS: [&str; 5] = ["type", "typ", "token_type", "token_use", "tokenType"];

impl TokenTypeRule {
    /// Returns the type of a token with these claims and this header `typ` (as in
    /// [`Header`](super::header::Header)).
    ///
    /// The token is an access token only if neither its claims nor its header name another type. `by_key` is
    /// the type of the tokens that its key signs, if types have keys of their own: a token whose claims name
    /// a different type is [`TokenType::Other`].
    pub(super) fn of(
        &self,
        claims: &Map<String, Value>,
        typ: Option<&str>,
        by_key: Option<TokenType>,
    ) -> Result<TokenType, Refusal> {
        let by_claims = match self {
            Self::Usual => usual(claims)?,
            Self::Named(names) => names.of(claims)?,
        };
        Ok(match (narrower(by_claims, typ.and_then(named)), by_key) {
            (said, None) => said.unwrap_or(TokenType::Access),
            (None, Some(by_key)) => by_key,
            (Some(said), Some(by_key)) if said == by_key => said,
            (Some(_), Some(_)) => TokenType::Other,
        })
    }
}

impl TokenTypeNames {
    fn of(&self, claims: &Map<String, Value>) -> Result<Option<TokenType>, Refusal> {
        let is = |values: &[String], said: &str| values.iter().any(|value| value == said);
        Ok(match claims.get(&self.claim) {
            None => None,
            Some(Value::String(said)) if is(&self.access, said) => Some(TokenType::Access),
            Some(Value::String(said)) if is(&self.refresh, said) => Some(TokenType::Refresh),
            Some(Value::String(_)) => Some(TokenType::Other),
            Some(_) => return Err(Rejection::InvalidClaim.because_of(self.claim.clone())),
        })
    }
}

fn usual(claims: &Map<String, Value>) -> Result<Option<TokenType>, Refusal> {
    let mut found = is_security_event(claims).then_some(TokenType::Other);
    for claim in USUAL_CLAIMS {
        found = match claims.get(claim) {
            None | Some(Value::Null) => found,
            Some(Value::String(said)) => narrower(found, named(&said.to_ascii_lowercase())),
            Some(_) => return Err(Rejection::InvalidClaim.because_of(claim)),
        };
    }
    Ok(found)
}

/// Combines the types that two places name: the type that is further from an access token wins.
fn narrower(one: Option<TokenType>, other: Option<TokenType>) -> Option<TokenType> {
    let rank = |said: &Option<TokenType>| match said {
        None => 0,
        Some(TokenType::Access) => 1,
        Some(TokenType::Refresh) => 2,
        Some(TokenType::Other) => 3,
    };
    [one, other].into_iter().max_by_key(rank).flatten()
}

/// Returns the type that a usual name, in lower case, means; `None` if the name does not determine a type.
fn named(word: &str) -> Option<TokenType> {
    match word {
        // RFC 7519 §5.1: means only that the token is a JWT.
        "jwt" => None,
        // flask-jwt-extended, Cognito; RFC 6750 and Keycloak; RFC 9068; djangorestframework-simplejwt; RFC 8693 §3.
        "access"
        | "access_token"
        | "access-token"
        | "accesstoken"
        | "bearer"
        | "at+jwt"
        | "sliding"
        | "urn:ietf:params:oauth:token-type:access_token" => Some(TokenType::Access),
        // Keycloak uses `Offline` for refresh tokens that outlive the session.
        "refresh"
        | "refresh_token"
        | "refresh-token"
        | "refreshtoken"
        | "refresh+jwt"
        | "rt+jwt"
        | "offline"
        | "urn:ietf:params:oauth:token-type:refresh_token" => Some(TokenType::Refresh),
        // ID tokens (`id`, `id_token`), logout tokens, one-time codes and so on. Also `DPoP`: such a token
        // needs a proof (RFC 9449 §7.1), which is not verified here.
        _ => Some(TokenType::Other),
    }
}

/// Returns whether the token is a security event or a logout token, whatever type its other claims name: such
/// tokens have `events`, named by URIs (RFC 8417 §2.2, OpenID Connect Back-Channel Logout 1.0 §2.4).
fn is_security_event(claims: &Map<String, Value>) -> bool {
    let events = claims.get("events").and_then(Value::as_object);
    events.is_some_and(|events| events.keys().any(|name| name.contains(':')))
}
