//! Everything that a store contains about one token, for display. A check queries only the keys that it needs
//! (`checker.rs`).

use super::checker;
use super::effect::Effect;
use super::key::RevocationKey;
use super::lookups::ForeignKey;
use super::statement::{Cutoff, Revocation};
use super::token_keys::{RevokedBy, TokenKeys};
use super::{RevocationStore, StoreError};

/// What is stored under a native key.
#[derive(Clone, Debug)]
pub enum Found {
    /// No live revocation.
    Nothing,
    /// A live revocation.
    Revocation(Revocation),
    /// A value that cannot be read, and why. A view treats it as a revocation of every token under the key.
    Unreadable(String),
}

impl Found {
    fn cutoff(&self) -> Option<Cutoff> {
        match self {
            Self::Nothing => None,
            Self::Revocation(revocation) => Some(revocation.cutoff),
            Self::Unreadable(_) => Some(Cutoff::All),
        }
    }
}

/// What is stored under each key that can revoke a token.
#[derive(Clone, Debug)]
pub struct Findings<'k> {
    /// The result for each native key.
    pub own: Vec<(&'k RevocationKey, Found)>,
    /// For each application key, what the key means for its tokens.
    pub foreign: Vec<(&'k ForeignKey, Option<Effect>)>,
    /// Whether the token is on the allow-list; `None` if it need not be.
    pub registered: Option<bool>,
    /// What revokes the token, if anything does.
    pub revoked_by: Option<RevokedBy>,
}

impl<'k> Findings<'k> {
    /// Queries `store` for every key. The caller sets the deadline.
    pub async fn of(store: &dyn RevocationStore, keys: &'k TokenKeys) -> Result<Self, StoreError> {
        let mut own = Vec::with_capacity(keys.keys().len());
        for key in keys.keys() {
            let found = match store.get(key).await {
                Ok(Some(revocation)) => Found::Revocation(revocation),
                Ok(None) => Found::Nothing,
                Err(StoreError::Unreadable(why)) => Found::Unreadable(why),
                Err(error) => return Err(error),
            };
            own.push((key, found));
        }
        let foreign = checker::foreign(store, keys).await?;
        let registered = checker::registered(store, keys).await?;
        let cutoffs: Vec<_> = own.iter().map(|(_, found)| found.cutoff()).collect();
        let revoked_by = keys.in_store(&cutoffs, &foreign, registered.unwrap_or(true));
        Ok(Self {
            own,
            foreign: keys.foreign().iter().zip(foreign).collect(),
            registered,
            revoked_by,
        })
    }
}
