//! The rules for a history of statements and checks. Pure: it receives what happened when, and does nothing
//! by itself.
//!
//! Times are those of one observer's clock, from the beginning of the run. A statement takes effect at some
//! moment between its beginning and its acknowledgement. A statement with an unknown outcome takes effect at
//! some moment up to [`LATEST_EFFECT`] after its beginning, or never. A check is only judged wrong if it is
//! wrong whichever moments these were.

mod healing;
mod judge;
mod statement;
mod tests;

use std::time::Duration;

pub use healing::{Healed, Healing};
pub use judge::{Breach, Judge, Rules};
pub use statement::{Origin, Says, StatementId};

/// A moment: the time since the beginning of the run.
pub type At = Duration;

/// How long after its beginning a statement with an unknown outcome may still take effect: neither a request
/// nor a pause with requests in a queue lasts longer.
pub const LATEST_EFFECT: Duration = Duration::from_secs(20);

/// A token that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// A token that is revoked individually.
    Device(usize),
    /// A token that a subject's cutoff may apply to, issued at this second of the run.
    Session { subject: usize, issued: u64 },
}

/// What statements are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Device(usize),
    Subject(usize),
    /// The registration of a token on the allow-list.
    Registration(Token),
}

impl Token {
    /// The key under which the token may be revoked.
    fn key(self) -> Key {
        match self {
            Self::Device(device) => Key::Device(device),
            Self::Session { subject, .. } => Key::Subject(subject),
        }
    }
}

/// How a check was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Revoked,
    /// Refused for another reason, or not answered.
    Unsure,
}

/// A check of a token on one replica.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub token: Token,
    pub replica: usize,
    pub started: At,
    pub ended: At,
    pub verdict: Verdict,
}
