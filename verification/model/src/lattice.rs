//! What is known of one key: the latest un-revocation and the latest revocations, each with its version.
//!
//! Two states are merged by taking the maximum of every component, so the merge is commutative, associative and idempotent:
//! the order in which replicas hear of statements does not matter.

/// Orders all statements about a key. 0 stands for "none", 1 for "by hand, without a version".
pub type Version = u8;

/// How much is refused: nothing, tokens issued up to a cutoff, or every token.
pub type Level = u8;

pub const NOTHING: Level = 0;
/// Tokens issued up to the earlier of two cutoffs.
pub const EARLY: Level = 1;
/// Tokens issued up to the later of two cutoffs.
pub const LATE: Level = 2;
/// Every token.
pub const ALL: Level = 3;

/// The version of a revocation written by hand after nothing.
pub const OLDEST: Version = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    /// The latest un-revocation.
    pub unrevoked: Version,
    /// The latest revocation of every token.
    pub all: Version,
    /// The latest revocation with a cutoff, and the latest cutoff. Each has a maximum of its own.
    pub up_to: (Version, Level),
    /// When it ends. The world leaves it at 0: see `lib.rs`.
    pub expires_at: u8,
}

impl State {
    pub const NONE: Self = Self {
        unrevoked: 0,
        all: 0,
        up_to: (0, NOTHING),
        expires_at: 0,
    };

    pub fn revocation(version: Version, level: Level) -> Self {
        let mut state = Self::NONE;
        if level == ALL {
            state.all = version;
        } else {
            state.up_to = (version, level);
        }
        state
    }

    pub fn unrevocation(version: Version) -> Self {
        Self {
            unrevoked: version,
            ..Self::NONE
        }
    }

    /// Merges what two have heard.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            unrevoked: self.unrevoked.max(other.unrevoked),
            all: self.all.max(other.all),
            up_to: (
                self.up_to.0.max(other.up_to.0),
                self.up_to.1.max(other.up_to.1),
            ),
            expires_at: self.expires_at.max(other.expires_at),
        }
    }

    /// What is refused. A tie un-revokes.
    pub fn level(self) -> Level {
        if self.all > self.unrevoked {
            ALL
        } else if self.up_to.0 > self.unrevoked {
            self.up_to.1
        } else {
            NOTHING
        }
    }

    /// The latest version of all.
    pub fn highest(self) -> Version {
        self.unrevoked.max(self.all).max(self.up_to.0)
    }

    /// Whether it says at least what `other` says, in every component.
    pub fn covers(self, other: Self) -> bool {
        self.join(other) == self
    }

    /// What a view or a value in Redis can hold of it: one cutoff and one version, and the un-revocation.
    ///
    /// A later revocation with a cutoff lends its version to one of every token. That errs towards refusing.
    #[must_use]
    pub fn project(self) -> Self {
        let mut held = Self {
            all: 0,
            up_to: (0, NOTHING),
            ..self
        };
        match self.level() {
            NOTHING => {}
            ALL => held.all = self.all.max(self.up_to.0),
            _ => held.up_to = self.up_to,
        }
        held
    }

    /// What is held of it: all, or what has room in one version.
    #[must_use]
    pub fn held(self, two_versions: bool) -> Self {
        if two_versions { self } else { self.project() }
    }

    /// The same without the un-revocation.
    #[must_use]
    pub fn without_unrevocation(self) -> Self {
        Self {
            unrevoked: 0,
            ..self
        }
    }
}
