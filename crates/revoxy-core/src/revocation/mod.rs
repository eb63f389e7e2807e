//! Revocation: what is revoked, where revocations are stored, and how a check looks them up.
//!
//! [`RevocationStore`] is the trait that every store implements; [`Checker`] is the only part of this module
//! that the path of a check uses. The checker takes [`TokenKeys`], which can only be made from
//! [`VerifiedClaims`](crate::jwt::VerifiedClaims), so a lookup for unverified claims does not compile.
//!
//! To add a store: implement the trait in a file of its own in `revoxy-stores`, add it to the configuration
//! (`src/config/revocation.rs`), open it in `src/engine/store/`, and run the contract tests over it
//! (`tests/it/stores`). A user of the library can implement the trait anywhere and pass the store to
//! `revoxy::app::serve_with`, or to a [`Checker`]: see `examples/custom_store.rs`.

mod breaker;
mod checker;
pub mod diagnosis;
pub mod durability;
pub mod effect;
pub mod findings;
pub mod hash;
pub mod key;
mod key_rules;
pub mod lookups;
pub mod metrics;
pub mod record;
pub mod registry;
#[cfg(any(test, feature = "testing"))]
pub mod scripted_store;
pub mod state;
pub mod statement;
pub mod token_keys;
pub mod version;
pub mod view;

use async_trait::async_trait;

use crate::clock::Timestamp;

pub use breaker::Breaker;
pub use checker::{CheckedTypes, Checker, CheckerSettings, Lookup};
pub use diagnosis::Diagnosis;
pub use durability::Durability;
pub use effect::Effect;
pub use findings::{Findings, Found};
pub use key::{KeyKind, PREFIX as OWN_PREFIX, RevocationKey};
pub use key_rules::KeyRules;
pub use lookups::{
    ForeignKey, KeyEncoding, KeyRule, Lookups, Match, Prefix, Preset, Template, TimeUnit,
    WithoutClaim,
};
pub use metrics::{FeedMetrics, SUSPECT_LABELS, StoreMetrics};
pub use record::{NotAPlace, Place, TokenPage, TokenRecord};
pub use registry::{RegistrationKey, TokenRegistry};
pub use statement::{Cutoff, Revocation};
pub use token_keys::{CLOCK_MARGIN, RevokedBy, TokenKeys};
pub use view::View;

/// A store of revocations.
///
/// # Requirements for implementations
///
/// - **Keys** are opaque: store [`RevocationKey::rendered`], and read it back with [`RevocationKey::parse`].
///   Values come from tokens and may be any Unicode text: empty, long, with line breaks, NUL, colons, braces
///   or wildcards. Two keys are equal if their bytes are: neither case nor Unicode normalization is folded.
/// - **Times** are wall-clock milliseconds since 1970, UTC. A revocation is live while `now < expires_at`;
///   from then on, every call acts as if it had never existed, whether it has been pruned or not.
///   [`Timestamp::NEVER`] never comes. `revoked_at` is set by the caller and only stored.
/// - **Never report "not revoked" without knowing.** What could not be read or understood is a
///   [`StoreError`], never `None`; the policy's `on_unavailable` then decides. When in doubt, an answer must be too strong
///   rather than too weak.
/// - **Atomicity.** [`revoke`](Self::revoke) reads the current revocation, strengthens it and writes it as
///   one atomic step. [`unrevoke`](Self::unrevoke) is atomic, too: concurrent calls on one key are
///   serialized.
/// - **Errors** mean only that the outcome is unknown. A `revoke` that failed may have taken effect
///   nevertheless, or may still do so; a caller that must be certain repeats the call.
///   [`StoreError::Unavailable`] is for a connection that broke or could not be established: a check then
///   retries once within its deadline. An error contains no key, value or credential.
/// - **Deadlines and cancellation.** A call may take any amount of time: callers set the deadline, and drop
///   the future when the deadline has passed, at any `.await`. A change that has begun must then still
///   complete, or leave nothing behind: if the store and the view are updated separately, run the change in a
///   task of its own.
/// - **Threads.** Calls come from many threads concurrently and must not block them: run anything that waits
///   for a disk on another thread.
///
/// # The view
///
/// A store that can keep a [`View`] should: checks then cost no call. The view guarantees that it is no older
/// than the age that it reports, and every guarantee of Revoxy depends on that.
///
/// - If this process is the only writer, the view is exact at every moment ([`View::always_fresh`]): a change
///   is in the view before the call that made it returns, and changes reach the view in the order in which
///   the store has them.
/// - If other processes write as well, the view follows a feed, which delivers every change in the store's
///   order and declares the moment as of which the view is complete: [`View::set_fresh_as_of`] shows how.
///   Only the feed may [record](View::record) or [forget](View::forget) entries; a revocation that this
///   process made can take effect in this process at once, with [`View::record_at_least`].
///
/// A view that is too old is safe: checks then call `lookup`, and refuse if that fails. Without a view, every
/// check calls `lookup`.
#[async_trait]
pub trait RevocationStore: Send + Sync + 'static {
    /// Returns the copy in this process' memory, which knows its age, if the store keeps one. Checks then read the
    /// copy, not the store.
    fn view(&self) -> Option<&View> {
        None
    }

    /// Returns, for each key in order, the cutoff of the live revocation under it, if there is one. There are
    /// as many answers as keys. They must come from the server that acknowledges writes, not from a replica
    /// that may lag behind.
    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError>;

    /// Returns, for each application key in order, the effect of what is stored under it. A store that does not
    /// support this returns an error even if `keys` is empty.
    async fn lookup_foreign(
        &self,
        _keys: &[ForeignKey],
    ) -> Result<Vec<Option<Effect>>, StoreError> {
        Err(StoreError::Failed(
            "this store holds no keys of applications".to_owned(),
        ))
    }

    /// Returns the registry of individual tokens, if the store has one.
    fn registry(&self) -> Option<&dyn TokenRegistry> {
        None
    }

    /// Records a revocation. This can only strengthen what is already recorded under the key: see
    /// [`Revocation::strengthened_by`]. When the call returns, the revocation is as durable as the store is
    /// configured to make it, and a `lookup` that starts now finds it. A revocation that has already expired is
    /// not an error and changes nothing. A revocation that [adds nothing](Revocation::adds_to) to the current
    /// one changes nothing either: it need not be written, as long as the current one is as durable. A store
    /// that is configured to wait for more than its own acknowledgement returns what was reached, and fails if
    /// that is less than configured.
    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError>;

    /// Takes a revocation back. Returns whether there was a live one. When the call returns, the
    /// un-revocation is as durable as `revoke` makes a revocation, and a `lookup` that starts now does not
    /// find the revocation.
    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError>;

    /// Reads one live revocation with all its fields.
    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError>;

    /// Lists live revocations, about `limit` at a time. `after` is the `next` of the previous page; its
    /// format is private to the store.
    ///
    /// A revocation that is present during the whole listing is listed. One that is added or removed
    /// meanwhile may or may not be. A page may be empty and still have a `next`.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Deletes whatever has expired, token records included, if the store does not do so by itself. Returns
    /// how many rows or entries were deleted. Called once a minute, with a timeout of half a minute.
    async fn prune(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The revocations.
    pub revocations: Vec<Revocation>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<String>,
}

/// Why a store gave no answer. Never contains a key, a value or a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, or the connection broke.
    #[error("the revocation store is unavailable: {0}")]
    Unavailable(String),
    /// The store did not answer within the deadline.
    #[error("the revocation store did not answer in time")]
    Timeout,
    /// The store answered with an error: a missing permission, a full disk.
    #[error("the revocation store refused or answered wrongly: {0}")]
    Failed(String),
    /// The value under a key cannot be read: it has another type, or access to it is denied. That says
    /// nothing about other keys, so a check does not count it as a failure of the store.
    #[error("the revocation store cannot read what stands under a key: {0}")]
    Unreadable(String),
    /// The store failed repeatedly and is not queried for a short time.
    #[error("the revocation store has failed repeatedly and is left alone for a moment")]
    BreakerOpen,
}

impl StoreError {
    /// All label values, for metrics that are created at start.
    pub const LABELS: [&'static str; 5] = [
        "unavailable",
        "timeout",
        "failed",
        "unreadable",
        "breaker_open",
    ];

    /// Returns the metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => Self::LABELS[0],
            Self::Timeout => Self::LABELS[1],
            Self::Failed(_) => Self::LABELS[2],
            Self::Unreadable(_) => Self::LABELS[3],
            Self::BreakerOpen => Self::LABELS[4],
        }
    }

    /// Returns whether the store itself failed, rather than the answer about a single key.
    pub const fn is_of_store(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::Failed(_) | Self::BreakerOpen => true,
            Self::Unreadable(_) => false,
        }
    }
}
