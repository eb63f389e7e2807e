//! What is kept about one token, so that it can be shown to whoever it was given to: identifiers and times, no claims.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::jwt::{TokenType, VerifiedClaims};

use super::key::{KeyKind, RevocationKey, WHOLE_ISSUER};
use super::statement::Cutoff;

/// A token that was registered at issue, or seen in a check.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token's own key: issuer, and `jti` or digest.
    pub token: RevocationKey,
    /// `sub`. Without it the token is in nobody's list.
    pub subject: Option<String>,
    /// `sid`.
    pub session: Option<String>,
    /// `azp`, else `client_id`.
    pub client: Option<String>,
    /// `kid`.
    pub kid: Option<String>,
    /// Access, refresh or something else.
    pub token_type: TokenType,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// When the token is not accepted any more: `exp` and the issuer's leeway. The record goes then.
    pub expires_at: Timestamp,
    /// Whether it was registered, and not only seen. Told by the store when it is read.
    pub registered: bool,
    /// When it was first registered or seen.
    pub noted_at: Timestamp,
}

impl fmt::Debug for TokenRecord {
    /// Without what identifies a token or a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("token", &self.token)
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .field("registered", &self.registered)
            .finish_non_exhaustive()
    }
}

impl TokenRecord {
    /// What is to be kept of a verified token.
    pub fn of(claims: &VerifiedClaims, now: Timestamp) -> Self {
        Self {
            token: RevocationKey::of_token(claims),
            subject: claims.subject().map(str::to_owned),
            session: claims.session().map(str::to_owned),
            client: claims.client().map(str::to_owned),
            kid: claims.kid().map(str::to_owned),
            token_type: claims.token_type(),
            issued_at: claims.issued_at(),
            expires_at: claims.dies_at(),
            registered: false,
            noted_at: now,
        }
    }

    /// Every key under which the token may be revoked, its own first: those that [`super::TokenKeys`] has for its claims, but
    /// for the thumbprint of the signing key, which no record has.
    pub fn keys(&self) -> Vec<RevocationKey> {
        let issuer = self.token.issuer();
        let named = [
            (KeyKind::Subject, self.subject.as_deref()),
            (KeyKind::Session, self.session.as_deref()),
            (KeyKind::Client, self.client.as_deref()),
            (KeyKind::SigningKey, self.kid.as_deref()),
            (KeyKind::Issuer, Some(WHOLE_ISSUER)),
        ];
        let mut keys = vec![self.token.clone()];
        keys.extend(
            named
                .into_iter()
                .filter_map(|(kind, value)| Some(RevocationKey::new(kind, issuer, value?))),
        );
        keys
    }

    /// Whether one of these revocations means the token.
    pub fn is_revoked_by(&self, cutoffs: impl IntoIterator<Item = Cutoff>) -> bool {
        let mut cutoffs = cutoffs.into_iter();
        cutoffs.any(|cutoff| cutoff.matches(self.issued_at))
    }

    /// Whether the token may still be accepted at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// What stands when `newer` is said of the same token: the later expiry, the earlier note, and of everything else what
    /// the newer says, where it says something. A registered token stays so.
    #[must_use]
    pub fn merged_with(&self, newer: &Self) -> Self {
        let either = |newer: &Option<String>, older: &Option<String>| {
            newer.as_ref().or(older.as_ref()).cloned()
        };
        Self {
            token: newer.token.clone(),
            subject: either(&newer.subject, &self.subject),
            session: either(&newer.session, &self.session),
            client: either(&newer.client, &self.client),
            kid: either(&newer.kid, &self.kid),
            token_type: newer.token_type,
            issued_at: newer.issued_at.or(self.issued_at),
            expires_at: self.expires_at.max(newer.expires_at),
            registered: self.registered || newer.registered,
            noted_at: self.noted_at.min(newer.noted_at),
        }
    }

    /// What stands for the token in lists, in every store: 124 bits of the SHA-256 of its key.
    pub(super) fn id(&self) -> u128 {
        self.token.hash().to_u128()
    }

    /// Where the record stands in its subject's list.
    pub fn place(&self) -> Place {
        Place {
            expires_at: self.expires_at,
            id: self.id(),
        }
    }
}

/// A place in a subject's list, which is sorted by expiry. As text, `<ms since the epoch>.<32 hexadecimal digits>`, it
/// identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) expires_at: Timestamp,
    pub(super) id: u128,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:032x}", self.expires_at.millis(), self.id)
    }
}

/// A text that is no place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the `next` of a page")]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (millis, id) = text.split_once('.').ok_or(NotAPlace)?;
        let place = Self {
            expires_at: Timestamp::from_millis(millis.parse().map_err(|_| NotAPlace)?),
            id: u128::from_str_radix(id, 16).map_err(|_| NotAPlace)?,
        };
        // One spelling for each.
        (place.to_string() == text)
            .then_some(place)
            .ok_or(NotAPlace)
    }
}

/// One page of a subject's list.
#[derive(Clone, Debug, Default)]
pub struct TokenPage {
    /// The records, by expiry.
    pub records: Vec<TokenRecord>,
    /// After what the next page starts; `None` at the end.
    pub next: Option<Place>,
}

impl TokenPage {
    /// The first `limit` of these, of which one more was asked for to know whether there are more.
    pub fn of(mut records: Vec<TokenRecord>, limit: usize) -> Self {
        let more = records.len() > limit;
        records.truncate(limit);
        let last = records.last().map(TokenRecord::place);
        Self {
            next: last.filter(|_| more),
            records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1000);

    fn record(noted_at: Timestamp) -> TokenRecord {
        TokenRecord {
            token: RevocationKey::new(KeyKind::TokenId, "shop", "1"),
            subject: Some("alice".to_owned()),
            session: None,
            client: None,
            kid: None,
            token_type: TokenType::Access,
            issued_at: None,
            expires_at: AT,
            registered: false,
            noted_at,
        }
    }

    #[test]
    fn what_is_known_is_kept_and_what_is_said_anew_counts() {
        let registered = TokenRecord {
            registered: true,
            expires_at: Timestamp::from_secs(3000),
            session: Some("s".to_owned()),
            ..record(AT)
        };
        let seen = TokenRecord {
            subject: None,
            session: Some("t".to_owned()),
            issued_at: Some(AT),
            ..record(Timestamp::from_secs(2000))
        };
        let expected = TokenRecord {
            session: Some("t".to_owned()),
            issued_at: Some(AT),
            ..registered.clone()
        };
        assert_eq!(registered.merged_with(&seen), expected);
    }

    #[test]
    fn a_place_reads_back_and_nothing_else_does() {
        let place = record(AT).place();
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "1.1",
            "x.00000000000000000000000000000001",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NotAPlace), "{text}");
        }
    }

    #[test]
    fn debug_output_identifies_nobody() {
        let text = format!("{:?}", record(AT));
        assert!(
            !text.contains("alice") && !text.contains("shop:1"),
            "{text}"
        );
    }
}
