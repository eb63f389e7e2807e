//! The feed's access to the data: reading and writing keys, and querying the servers that hold them.
//!
//! No other part of the feed deals with connections or commands.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Script, Value};
use tokio::time::timeout;

use crate::clock::Timestamp;

use super::super::hash::KeyHash;
use super::super::state::KeyState;
use super::address::Address;
use super::cluster::{Beat, Primaries};
use super::connector::Connector;
use super::dialer::{Driver, Protocol};
use super::error;
use super::feed_end::FeedEnd;
use super::liveness::{Pulse, ReadCounter};
use super::prefixes::Prefixes;
use super::pushes::Pushes;
use super::scan::Batch;
use super::scan::Position;
use super::scan::RawValue;
use super::scan::micros;
use super::scan::readings;
use super::scan::scan;
use super::scan::track;
use super::server::{self, RespVersion, ServerInfo, Servers, hello};
use super::stored_key::StoredKey;
use super::{format, script};

/// The error codes with which a server rejects a command that is not allowed, alone or within a transaction.
const FORBIDDEN: [&str; 2] = ["NOPERM", "EXECABORT"];

/// A link to one server, or to all primaries of a cluster.
pub(super) enum Link {
    One(One),
    Cluster(Primaries),
}

/// A connection with tracking enabled.
pub(super) struct One {
    connection: MultiplexedConnection,
    prefixes: Prefixes,
    _driver: Driver,
    reads: ReadCounter,
    at: Address,
    /// Whether the user may run `TIME`.
    tells_time: bool,
}

impl Link {
    /// Connects and enables tracking, so that every change is pushed from now on. No step takes longer than
    /// `patience`.
    pub(super) async fn open(
        connector: &Connector,
        patience: Duration,
        pushes: &Pushes,
        prefixes: &Prefixes,
    ) -> Result<Self, FeedEnd> {
        if connector.seeds().is_some() {
            let primaries = Primaries::open(connector, patience, pushes, prefixes).await?;
            return Ok(Self::Cluster(primaries));
        }
        let late = |_| FeedEnd::Broken("no answer in time".to_owned());
        let made = connector.connect(Protocol::Resp3(pushes.clone())).await?;
        let mut connection = made.connection;
        timeout(patience, track(&mut connection, prefixes))
            .await
            .map_err(late)??;
        Ok(Self::One(One {
            connection,
            prefixes: prefixes.clone(),
            _driver: made.driver,
            reads: made.reads,
            at: made.at,
            tells_time: true,
        }))
    }

    /// Returns the server's address, if there is only one server.
    pub(super) fn at(&self) -> Option<&Address> {
        match self {
            Self::One(one) => Some(&one.at),
            Self::Cluster(_) => None,
        }
    }

    /// Returns the pulse of every connection.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        match self {
            Self::One(one) => vec![Pulse {
                connection: one.connection.clone(),
                reads: one.reads.clone(),
            }],
            Self::Cluster(primaries) => primaries.pulses(),
        }
    }

    /// Returns whether keys can move from one server to another.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Returns whether a key was redirected with `MOVED` since the last call.
    pub(super) fn met_moved(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Cluster(primaries) => primaries.met_moved(),
        }
    }

    /// Returns why the last heartbeat was not proven; empty if it was.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::One(_) => "",
            Self::Cluster(primaries) => primaries.why(),
        }
    }

    /// Returns a fingerprint of which server owns which slots, as far as is known.
    pub(super) fn slots(&self) -> u64 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(primaries) => primaries.slots(),
        }
    }

    /// Queries the servers that hold the data.
    pub(super) async fn servers(&mut self) -> RedisResult<Servers> {
        Ok(Servers(match self {
            Self::One(one) => vec![ServerInfo::read(&mut one.connection).await?],
            Self::Cluster(primaries) => primaries.servers().await?,
        }))
    }

    /// Checks that the servers that hold the data may still be queried. When this returns, everything that was
    /// pushed before the call has arrived.
    pub(super) async fn heartbeat(&mut self) -> Result<Beat, FeedEnd> {
        match self {
            Self::One(one) => {
                match server::is_primary(&mut one.connection, &hello(RespVersion::Resp3)).await? {
                    true => Ok(Beat {
                        proven: true,
                        moved: false,
                    }),
                    false => Err(FeedEnd::NotPrimary),
                }
            }
            Self::Cluster(primaries) => primaries.heartbeat().await,
        }
    }

    /// Reads the next batch of key names.
    pub(super) async fn scan(&mut self, from: &Position) -> RedisResult<Batch> {
        match self {
            Self::One(one) => {
                let cursor = from.cursors.first().copied().flatten().unwrap_or_default();
                let pattern = from.pattern(&one.prefixes);
                let (next, names) = scan(&mut one.connection, cursor, &pattern).await?;
                let position = from.after(vec![(next != 0).then_some(next)], &one.prefixes);
                Ok(Batch { names, position })
            }
            Self::Cluster(primaries) => primaries.scan(from).await,
        }
    }

    /// Reads values and remaining lives of keys. Value and life of a key are read at the same moment: a key that
    /// disappears between two reads would look like a key of another type, which it never was.
    pub(super) async fn read(&mut self, keys: &[Vec<u8>]) -> RedisResult<Vec<RawValue>> {
        match self {
            _ if keys.is_empty() => Ok(Vec::new()),
            Self::One(one) => one.read(keys).await,
            Self::Cluster(primaries) => primaries.read(keys).await,
        }
    }

    /// Writes back lost entries without weakening what is stored. Returns how many entries were stronger than
    /// what was stored.
    pub(super) async fn write_back(
        &mut self,
        entries: &[(KeyHash, KeyState)],
        now: Timestamp,
    ) -> RedisResult<u64> {
        let script = Script::new(script::RESTORE);
        // On one server, the script is called by its hash, which needs the fewest permissions there. In a
        // cluster, any node may get the call, so the whole script is sent.
        let (name, text) = match self {
            Self::One(_) => ("EVALSHA", script.get_hash()),
            Self::Cluster(_) => ("EVAL", script::RESTORE),
        };
        if let (Self::One(one), false) = (&mut *self, entries.is_empty()) {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script::RESTORE);
            let () = load.query_async(&mut one.connection).await?;
        }
        let writes = entries.iter().map(|(hash, state)| {
            let key = StoredKey::restored(*hash);
            let mut write = redis::cmd(name);
            write.arg(text).arg(1).arg(&key);
            write.arg(&format::restoring(state, now));
            (key, write)
        });
        let answers = self.run(writes.collect()).await?;
        Ok(answers.iter().filter(|a| **a == Value::Int(1)).count() as u64)
    }

    /// Runs commands, each given with its key. Fails unless all of them were executed.
    async fn run(&mut self, commands: Vec<(String, Cmd)>) -> RedisResult<Vec<Value>> {
        match self {
            _ if commands.is_empty() => Ok(Vec::new()),
            Self::One(one) => {
                let mut pipeline = redis::pipe();
                for (_, command) in commands {
                    pipeline.add_command(command);
                }
                pipeline.query_async(&mut one.connection).await
            }
            Self::Cluster(primaries) => primaries.run(commands).await,
        }
    }
}

impl One {
    async fn read(&mut self, keys: &[Vec<u8>]) -> RedisResult<Vec<RawValue>> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in keys {
            pipeline.cmd("PTTL").arg(key);
        }
        pipeline.cmd("MGET").arg(keys);
        if self.tells_time {
            pipeline.cmd("TIME");
        }
        let answered = pipeline.query_async(&mut self.connection).await;
        let mut answers: Vec<Value> = match answered {
            // The permissions that version 0.1.0 asked for do not include `TIME`.
            Err(error) if self.tells_time && error::has_code(&error, &FORBIDDEN) => {
                self.tells_time = false;
                return Box::pin(self.read(keys)).await;
            }
            answered => answered?,
        };
        let at = match self.tells_time {
            true => answers.pop().and_then(micros),
            false => None,
        };
        readings(answers, keys.len(), at)
    }
}
