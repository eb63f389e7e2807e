//! The tokens of a run: those revoked by direct writes, those revoked and un-revoked through the API, and the
//! sessions of subjects.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::history::History;
use super::judging::Token as Name;
use crate::support::tokens::now;
use crate::support::{SigningKey, Token};

/// How many are revoked by direct writes, one after the other.
pub const BY_HAND: usize = 2000;
/// How many of these are never revoked, to verify that everything works again.
const SPARED: usize = 50;
/// How many are used with the API, again and again.
const BY_API: usize = 60;
pub const SUBJECTS: usize = 12;
/// Longer than any run.
pub const LIFE: Duration = Duration::from_secs(4 * 3600);

pub struct Cast {
    key: SigningKey,
    devices: Vec<String>,
    /// Tokens of sessions: signed once, because each is checked many times.
    signed: Mutex<HashMap<Name, String>>,
    /// When all tokens expire, in seconds since 1970.
    until: i64,
    /// The next token to be revoked by a direct write.
    next: AtomicUsize,
    /// For each subject, the seconds of the run at which its last session but one and its last session began.
    sessions: Vec<Mutex<(u64, u64)>>,
}

/// Tokens that are revoked by direct writes have names of their own, by which a fault finds them.
pub fn jti(name: Name) -> String {
    match name {
        Name::Device(n) if n < BY_HAND => format!("safety-{n}"),
        Name::Device(n) => format!("device-{n}"),
        Name::Session { subject, issued } => format!("session-{subject}-{issued}"),
    }
}

pub fn subject(subject: usize) -> String {
    format!("user-{subject}")
}

impl Cast {
    pub fn signed_by(key: SigningKey) -> Self {
        let until = now() + i64::try_from(LIFE.as_secs()).unwrap();
        // Nobody ever registers the last of them.
        let device = |n| Token::access(&jti(Name::Device(n))).with("exp", until);
        let devices = (0..=BY_HAND + BY_API).map(|n| device(n).sign(&key));
        Self {
            devices: devices.collect(),
            signed: Mutex::default(),
            until,
            key,
            next: AtomicUsize::new(SPARED),
            sessions: (0..SUBJECTS).map(|_| Mutex::default()).collect(),
        }
    }

    /// A token that nobody has registered, which matters if only registered ones are accepted.
    pub fn stranger(&self) -> Name {
        Name::Device(BY_HAND + BY_API)
    }

    /// The tokens that are registered at the beginning.
    pub fn registered(&self) -> Vec<Name> {
        let devices = (0..BY_HAND + BY_API).map(Name::Device);
        devices.chain(self.last_sessions()).collect()
    }

    /// All tokens whose state matters in the end.
    pub fn all(&self) -> Vec<Name> {
        let by_hand = (0..self.newest()).map(Name::Device);
        let by_api = (BY_HAND..BY_HAND + BY_API).map(Name::Device);
        by_hand.chain(by_api).chain(self.last_sessions()).collect()
    }

    fn last_sessions(&self) -> Vec<Name> {
        let sessions = |subject| {
            let (last_but_one, last) = self.sessions_of(subject);
            [last_but_one, last].map(|issued| Name::Session { subject, issued })
        };
        let mut all: Vec<_> = (0..SUBJECTS).flat_map(sessions).collect();
        all.dedup();
        all
    }

    fn sessions_of(&self, subject: usize) -> (u64, u64) {
        *self.sessions[subject].lock().unwrap()
    }

    /// Records that a session of this subject has begun at this second of the run.
    pub fn session_began(&self, subject: usize, second: u64) {
        let mut sessions = self.sessions[subject].lock().unwrap();
        if second > sessions.1 {
            *sessions = (sessions.1, second);
        }
    }

    /// The next token to be revoked by a direct write, if there is another.
    pub fn next_by_hand(&self) -> Option<Name> {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        (next < BY_HAND).then_some(Name::Device(next))
    }

    fn newest(&self) -> usize {
        self.next.load(Ordering::SeqCst).min(BY_HAND - 1)
    }

    /// A token to be used with the API.
    pub fn by_api(&self, draw: usize) -> Name {
        Name::Device(BY_HAND + draw % BY_API)
    }

    /// A token to be checked, mostly one about which something was stated recently.
    pub fn to_be_checked(&self, draw: usize) -> Name {
        let (newest, rest) = (self.newest(), draw / 8);
        match draw % 8 {
            0 => Name::Device(rest % (newest + 1)),
            // Not revoked yet: that such tokens are allowed proves that some are.
            1 | 2 => Name::Device((newest + rest % 40).min(BY_HAND - 1)),
            3 | 4 => Name::Device(newest - (rest % 60).min(newest)),
            5 | 6 => self.by_api(rest),
            _ => {
                let subject = rest % SUBJECTS;
                let (last_but_one, last) = self.sessions_of(subject);
                let issued = if (rest / SUBJECTS).is_multiple_of(3) {
                    last_but_one
                } else {
                    last
                };
                Name::Session { subject, issued }
            }
        }
    }

    /// The signed token.
    pub fn token(&self, name: Name, history: &History) -> String {
        match name {
            Name::Device(n) => self.devices[n].clone(),
            Name::Session {
                subject: of,
                issued,
            } => {
                let mut signed = self.signed.lock().unwrap();
                let sign = || {
                    let token = Token::access(&jti(name)).with("sub", subject(of));
                    let token = token.with("iat", history.since_1970(issued));
                    token.with("exp", self.until).sign(&self.key)
                };
                signed.entry(name).or_insert_with(sign).clone()
            }
        }
    }
}
