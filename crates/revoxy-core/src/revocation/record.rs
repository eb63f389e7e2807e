//! What is stored about one token, so that it can be shown to its owner: identifiers and times, but no other
//! claims.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::jwt::{TokenType, VerifiedClaims};

use super::key::{KeyKind, RevocationKey, WHOLE_ISSUER};
use super::statement::Cutoff;

/// A token that was registered at issue, or seen in a check.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token's own key: the issuer, and `jti` or digest.
    pub token: RevocationKey,
    /// `sub`. A token without `sub` is in no subject's list.
    pub subject: Option<String>,
    /// `sid`.
    pub session: Option<String>,
    /// `azp`, else `client_id`.
    pub client: Option<String>,
    /// `kid`.
    pub kid: Option<String>,
    /// The type: access, refresh or other.
    pub token_type: TokenType,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// When the token is no longer accepted: `exp` plus the issuer's leeway. The record is deleted then.
    pub expires_at: Timestamp,
    /// Whether the token was registered, and not only seen. Set by the store when the record is read.
    pub registered: bool,
    /// When it was first registered or seen.
    pub noted_at: Timestamp,
}

impl fmt::Debug for TokenRecord {
    /// Omits what identifies a token or a person.
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
    /// Makes the record of a verified token.
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

    /// Returns every key under which the token may be revoked, its own first: the same keys as
    /// [`super::TokenKeys`] makes from its claims, except for the thumbprint of the signing key, which
    /// records do not contain.
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

    /// Returns whether one of these revocations applies to the token.
    pub fn is_revoked_by(&self, cutoffs: impl IntoIterator<Item = Cutoff>) -> bool {
        let mut cutoffs = cutoffs.into_iter();
        cutoffs.any(|cutoff| cutoff.matches(self.issued_at))
    }

    /// Returns whether the token may still be accepted at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Merges this record with a newer one of the same token: the later expiry, the earlier `noted_at`, and
    /// for every other field the newer value if there is one. A registered token stays registered.
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

    /// Returns the id of the token in lists, in every store: 124 bits of the SHA-256 of its key.
    pub fn id(&self) -> u128 {
        self.token.hash().to_u128()
    }

    /// Returns the position of the record in its subject's list.
    pub fn place(&self) -> Place {
        Place {
            expires_at: self.expires_at,
            id: self.id(),
        }
    }
}

/// A position in a subject's list, which is sorted by expiry. As text, it is `<ms since the epoch>.<32
/// hexadecimal digits>`, which identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The hash of the token's key.
    pub id: u128,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:032x}", self.expires_at.millis(), self.id)
    }
}

/// Error: the text is not a position in a list.
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
        // Each position has exactly one spelling.
        (place.to_string() == text)
            .then_some(place)
            .ok_or(NotAPlace)
    }
}

/// One page of a subject's list.
#[derive(Clone, Debug, Default)]
pub struct TokenPage {
    /// The records, sorted by expiry.
    pub records: Vec<TokenRecord>,
    /// The position after which the next page starts; `None` on the last page.
    pub next: Option<Place>,
}

impl TokenPage {
    /// Makes a page of the first `limit` records. The caller has queried one more, to find out whether there
    /// are more.
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
