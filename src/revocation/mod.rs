//! Revocation: what is revoked, where that is kept, and how a check asks.
//!
//! [`RevocationStore`] is the one trait that a store implements; [`Checker`] is all that the path of a check sees of
//! this room. The checker takes [`TokenKeys`], which only [`VerifiedClaims`](crate::jwt::VerifiedClaims) can be turned
//! into, so that a lookup for claims that nobody verified does not compile.
//!
//! To add a store: implement the trait in a file of its own here, add it to the configuration
//! (`config/revocation.rs`), open it in `app/store.rs`, and let the contract suite run over it (`tests/it/stores`).
//! A user of the library implements it anywhere and passes it to [`crate::app::serve_with`], or to a [`Checker`]:
//! `examples/custom_store.rs` does so.

mod breaker;
mod checker;
mod clock_offset;
mod diagnosis;
mod durability;
mod feed_state;
mod foreign;
mod key;
mod lookups;
mod memory;
mod migrations;
mod noter;
mod postgres;
mod record;
mod redis;
mod registry;
mod sqlite;
mod state;
mod statement;
mod token_keys;
mod version;
mod view;

use async_trait::async_trait;

use crate::clock::Timestamp;

pub use breaker::Breaker;
pub use checker::{CheckedTypes, Checker, CheckerSettings, Lookup};
pub use diagnosis::Diagnosis;
pub use durability::Durability;
pub use foreign::ForeignKey;
pub use key::{KeyKind, PREFIX as OWN_PREFIX, RevocationKey};
pub use lookups::{
    KeyEncoding, KeyRule, Lookups, Match, Prefix, Preset, Template, TimeUnit, WithoutClaim,
};
pub use memory::MemoryStore;
pub use noter::{Noter, NoterTask};
pub use postgres::{PostgresOptions, PostgresStore};
pub use record::{NotAPlace, Place, TokenPage, TokenRecord};
#[cfg(feature = "simulation")]
pub use redis::script_text;
pub use redis::{
    Credentials, Deletions, Endpoint, FeedSettings, OptionsError, RedisClusterStore, RedisOptions,
    RedisStore, SentinelOptions,
};
pub use registry::{RegistrationKey, TokenRegistry};
pub use sqlite::SqliteStore;
pub use statement::{Cutoff, Revocation};
pub use token_keys::{RevokedBy, TokenKeys};
pub use view::View;

/// Where revocations are kept.
///
/// # What a store has to keep
///
/// - **Keys** are opaque: store [`RevocationKey::rendered`], read it back with [`RevocationKey::parse`]. Values come from
///   tokens and may be any Unicode text: empty, long, with line ends, NUL, colons, braces, wildcards. Two keys are the
///   same if their bytes are; neither case nor form is folded.
/// - **Times** are wall-clock milliseconds since 1970, UTC. A revocation stands while `now < expires_at`; from then on
///   every call acts as if it had never been there, whether it was swept or not. [`Timestamp::NEVER`] never comes.
///   `revoked_at` is the caller's word and is only kept.
/// - **Never "not revoked" without knowing.** What could not be read, or not understood, is a [`StoreError`], never
///   `None`: a check refuses with 503 then. Whatever is too strong errs on the safe side, whatever is too weak does not.
/// - **Atomic** are [`revoke`](Self::revoke), which reads what stands, strengthens it and writes it as one step, and
///   [`unrevoke`](Self::unrevoke): of two at once on one key, one comes after the other.
/// - **Errors** say only that nobody knows. A `revoke` that failed may have taken effect all the same, then or later; who
///   wants to be sure repeats it. [`StoreError::Unavailable`] is for a connection that broke or could not be made: a
///   check then tries once more within its deadline. An error names no key, value or credential.
/// - **Deadlines and cancellation.** A call may take as long as it likes: callers set the deadline, and drop the future
///   when it is over, at whichever `.await`. A change that has begun must still come to its end then, or leave nothing
///   behind: where store and view are two things, run it in a task of its own.
/// - Calls come from many threads at once and must not block them: what waits for a disk belongs on another one.
///
/// # The view
///
/// A store that can keep a [`View`] should: checks then cost no call. It promises that the view is no younger than it says, and
/// everything that Revoxy promises rests on that.
///
/// - With this process as the only writer the view is exact at every moment ([`View::always_fresh`]): a change is in it before
///   the call that made it returns, and changes come into it in the order in which the store has them.
/// - Where others write too, it follows a feed, which brings every change in the store's order, and says as of when that is all:
///   [`View::set_fresh_as_of`] shows how. Nobody but the feed [records](View::record) or [forgets](View::forget);
///   what was revoked here can be refused here at once, by [`View::record_at_least`].
///
/// A view that grows too old does no harm: checks call `lookup` then, and refuse if that fails. Without a view, every
/// check calls `lookup`.
#[async_trait]
pub trait RevocationStore: Send + Sync + 'static {
    /// The exact copy in this process' memory, where the store keeps one: checks then ask it and not the store.
    fn view(&self) -> Option<&View> {
        None
    }

    /// For each key, in order: the cutoff of the live revocation under it, if there is one. As many answers as keys, from
    /// where writes are acknowledged, not from a copy that may lag behind.
    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError>;

    /// For each key that an application writes, in order: what stands under it. [`Cutoff::NoToken`] means that there is
    /// something, and that it refuses nobody. A store that cannot do this says so also when it is asked about no key.
    async fn lookup_foreign(
        &self,
        _keys: &[ForeignKey],
    ) -> Result<Vec<Option<Cutoff>>, StoreError> {
        Err(StoreError::Failed(
            "this store holds no keys of applications".to_owned(),
        ))
    }

    /// The tokens that are known by themselves, where the store keeps them.
    fn registry(&self) -> Option<&dyn TokenRegistry> {
        None
    }

    /// Records a revocation. What is already recorded under the key is only ever strengthened: see
    /// [`Revocation::strengthened_by`]. When this returns, the revocation is durable as far as the store can make
    /// it, and a `lookup` that starts now finds it. One that has expired already, or [means no
    /// token](Revocation::means_nothing), is no error and changes nothing that stands. Neither does one that [adds
    /// nothing](Revocation::adds_to) to what stands: it need not be written, as long as that is as durable. A store that was told to wait for more than its
    /// own word tells what was reached, and fails where that is less.
    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError>;

    /// Takes a revocation back. Tells whether there was a live one. When this returns, that is as durable as `revoke` is,
    /// and a `lookup` that starts now does not find it.
    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError>;

    /// Reads one live revocation whole.
    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError>;

    /// Lists live revocations, about `limit` at a time; `after` is the `next` of the page before, and means something to
    /// the store only.
    ///
    /// What is there during the whole listing is listed, what comes or goes meanwhile may be. A page may be empty and
    /// have a `next`.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Removes what has expired, records of tokens among it, where the store does not do so by itself. Tells how many.
    /// Called once a minute, and given half of one.
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

/// Why a store gave no answer. Never carries a key, a value or a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or the connection broke.
    #[error("the revocation store is unavailable: {0}")]
    Unavailable(String),
    /// It did not answer within the deadline.
    #[error("the revocation store did not answer in time")]
    Timeout,
    /// It answered something that we cannot use: a missing permission, a full disk.
    #[error("the revocation store refused or answered wrongly: {0}")]
    Failed(String),
    /// It answered that what stands under a key cannot be read: it is of another type, or may not be looked at. That says
    /// nothing of other keys, so a check does not count it as a failure of the store.
    #[error("the revocation store cannot read what stands under a key: {0}")]
    Unreadable(String),
    /// It failed repeatedly and is not asked again for a moment.
    #[error("the revocation store has failed repeatedly and is left alone for a moment")]
    BreakerOpen,
}

impl StoreError {
    /// Every label value, for metrics that are made at start.
    pub const LABELS: [&'static str; 5] = [
        "unavailable",
        "timeout",
        "failed",
        "unreadable",
        "breaker_open",
    ];

    /// The metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => Self::LABELS[0],
            Self::Timeout => Self::LABELS[1],
            Self::Failed(_) => Self::LABELS[2],
            Self::Unreadable(_) => Self::LABELS[3],
            Self::BreakerOpen => Self::LABELS[4],
        }
    }

    /// Whether the store itself failed, and not only the answer about one key.
    pub const fn is_of_store(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::Failed(_) | Self::BreakerOpen => true,
            Self::Unreadable(_) => false,
        }
    }
}
