//! What a history of statements and checks must look like. Pure: it is told what happened when, and does nothing itself.
//!
//! Times are those of one observer's clock, from the beginning of the run. A statement takes effect at some moment between its
//! beginning and its acknowledgement; one whose outcome nobody knows takes effect at some moment up to [`LATEST_EFFECT`] after
//! its beginning, or never. A check is judged wrong only where it is wrong whichever moments these were.

mod healing;
mod judge;
mod statement;
mod tests;

use std::time::Duration;

pub use healing::{Healed, Healing};
pub use judge::{Breach, Judge, Rules};
pub use statement::{Origin, Says, StatementId};

/// A moment: how long after the beginning of the run.
pub type At = Duration;

/// Until how long after its beginning a statement may take effect whose outcome is unknown: no request, and nothing that is
/// paused with requests in its queue, lasts longer.
pub const LATEST_EFFECT: Duration = Duration::from_secs(20);

/// A token that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// One of which is said by itself whether it is revoked.
    Device(usize),
    /// One that a subject's cutoff may mean, issued at this second of the run.
    Session { subject: usize, issued: u64 },
}

/// What statements are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Device(usize),
    Subject(usize),
    /// On the list of those that are let through at all.
    Registration(Token),
}

impl Token {
    /// What may revoke it.
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
