//! What was stated about which key, and when that was acknowledged: all that the judge knows.

use tokio::time::Instant;

/// An instant of the schedule. Of two in one millisecond, the one that was recorded first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Milliseconds since the beginning.
    pub millis: u64,
    /// The number of the record.
    pub number: u64,
}

/// What a statement says of tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// They are revoked.
    Revoked {
        /// Those issued up to then (in milliseconds since 1970); `None`: all.
        cutoff: Option<i64>,
        /// The statement stands at least until then, in milliseconds since the beginning; `None`: beyond the schedule.
        until: Option<u64>,
        /// It takes the place of what stood, as `SET` does, and does not add to it.
        replaces: bool,
    },
    /// They are not.
    TakenBack,
}

/// By whom a statement was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A replica of Revoxy.
    Replica(usize),
    /// Somebody at the server itself.
    Hand,
}

/// A statement about one key.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it says.
    pub says: Says,
    /// Who made it.
    pub by: By,
    /// When it was begun.
    pub invoked: Stamp,
    /// When it was acknowledged; nobody knows of one that was not.
    pub acknowledged: Option<Stamp>,
}

/// Names a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementId {
    key: usize,
    at: usize,
}

/// Everything that was stated.
#[derive(Debug)]
pub struct History {
    began: Instant,
    records: u64,
    keys: Vec<Vec<Statement>>,
    /// When the server lost what it had acknowledged, or may have.
    pub losses: Vec<Stamp>,
}

impl Says {
    /// Whether it revokes a token that was issued then.
    pub fn revokes(&self, issued_at: i64) -> bool {
        match self {
            Self::Revoked { cutoff, .. } => cutoff.is_none_or(|cutoff| issued_at <= cutoff),
            Self::TakenBack => false,
        }
    }

    /// Whether it ends an earlier revocation of a token that was issued then.
    pub fn ends(&self, issued_at: i64) -> bool {
        match self {
            Self::TakenBack => true,
            Self::Revoked { replaces, .. } => *replaces && !self.revokes(issued_at),
        }
    }
}

impl Statement {
    /// Whether this was over before the other began. Of one without acknowledgement nobody can say that.
    pub fn is_before(&self, other: &Self) -> bool {
        self.acknowledged.is_some_and(|at| at < other.invoked)
    }
}

impl History {
    /// A history of so many keys, that begins now.
    pub fn new(keys: usize) -> Self {
        Self {
            began: Instant::now(),
            records: 0,
            keys: vec![Vec::new(); keys],
            losses: Vec::new(),
        }
    }

    /// This instant.
    pub fn now(&mut self) -> Stamp {
        self.records += 1;
        Stamp {
            millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or_default(),
            number: self.records,
        }
    }

    /// Somebody begins to state something.
    pub fn invoke(&mut self, key: usize, by: By, says: Says) -> StatementId {
        let invoked = self.now();
        self.keys[key].push(Statement {
            says,
            by,
            invoked,
            acknowledged: None,
        });
        StatementId {
            key,
            at: self.keys[key].len() - 1,
        }
    }

    /// The statement was acknowledged.
    pub fn acknowledge(&mut self, statement: StatementId) {
        let now = self.now();
        self.keys[statement.key][statement.at].acknowledged = Some(now);
    }

    /// The server has lost something, or may have.
    pub fn lose(&mut self) {
        let now = self.now();
        self.losses.push(now);
    }

    /// What was stated about a key.
    pub fn of(&self, key: usize) -> &[Statement] {
        &self.keys[key]
    }

    /// A statement.
    pub fn statement(&self, id: StatementId) -> &Statement {
        &self.keys[id.key][id.at]
    }

    /// When the last acknowledgement was given, of those statements that count.
    pub fn last_acknowledged(&self, counts: impl Fn(By) -> bool) -> Option<Stamp> {
        let all = self.keys.iter().flatten();
        let all = all.filter(|statement| counts(statement.by));
        all.filter_map(|statement| statement.acknowledged).max()
    }
}
