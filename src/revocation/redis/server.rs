//! What a server says about itself: who it is, what role it has, and whether a revocation list is safe with it.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, RedisResult, Value};

use crate::clock::{Clock as _, SystemClock, Timestamp};

use super::super::clock_offset;
use super::super::diagnosis::Diagnosis;
use super::connection;

/// Which data a server holds: its process and the history that it replicates. Another process, or one that has been
/// somebody's replica meanwhile, may lack what this one had. `None` where `INFO` is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity(Option<(String, String)>);

impl Identity {
    /// Whether it is certain that both are the same.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.0.is_some() && self == other
    }

    /// Whether both are of one process, whatever they call its history.
    pub(super) fn is_process_of(&self, other: &Self) -> bool {
        let process = |identity: &Self| identity.0.as_ref().map(|(process, _)| process.clone());
        process(self) == process(other)
    }
}

/// From `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Whose data it holds.
    pub identity: Identity,
    /// Whether it is a primary.
    pub primary: bool,
    /// How many keys it has evicted since it was started.
    pub evicted_keys: u64,
    /// How long it has been running, in seconds.
    pub uptime: u64,
    /// What its clock says, where it tells (Redis 7 and Valkey do).
    pub time: Option<Timestamp>,
    /// Whether it has been a replica once, as far as it tells.
    promoted: bool,
    /// Of several: which one it is.
    named: String,
    /// Whether keys can be there: not on a primary of a cluster that has no slots.
    holds_keys: bool,
    fields: HashMap<String, String>,
}

impl ServerInfo {
    /// Asks the server. A user whose access control list forbids `INFO` is told the role alone.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let info: RedisResult<String> = redis::cmd("INFO").query_async(connection).await;
        match info {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if connection::server_code(&error).as_deref() == Some("NOPERM") => {
                Ok(Self {
                    // Whichever protocol is spoken here; Redis 6.0 wants to be told, and so does not do without `INFO`.
                    primary: is_primary(connection, &redis::cmd("HELLO")).await?,
                    uptime: u64::MAX,
                    promoted: true,
                    holds_keys: true,
                    ..Self::default()
                })
            }
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Self {
        let fields: HashMap<String, String> = text
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let number = |name: &str| fields.get(name).and_then(|v| v.parse().ok());
        Self {
            identity: Identity(fields.get("run_id").cloned().map(|run_id| {
                let history = fields.get("master_replid").cloned().unwrap_or_default();
                (run_id, history)
            })),
            primary: fields.get("role").is_none_or(|role| role == "master"),
            evicted_keys: number("evicted_keys").unwrap_or_default(),
            uptime: number("uptime_in_seconds").unwrap_or(u64::MAX),
            time: number("server_time_usec")
                .and_then(|micros| i64::try_from(micros / 1000).ok())
                .map(Timestamp::from_millis),
            // The offset up to which it shares the history of its former primary; -1 where there is none.
            promoted: number("second_repl_offset").is_some(),
            named: String::new(),
            holds_keys: true,
            fields,
        }
    }

    /// One of several.
    pub(super) fn of_several(self, named: String, holds_keys: bool) -> Self {
        Self {
            named,
            holds_keys,
            ..self
        }
    }

    /// Whether it is a node of a cluster.
    pub(super) fn is_in_cluster(&self) -> bool {
        self.says("cluster_enabled", "1")
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.fields.get(name).is_some_and(|v| v == value)
    }

    /// Whether keys are evicted when memory runs out.
    pub(super) fn evicts(&self) -> bool {
        self.fields.contains_key("maxmemory_policy") && !self.says("maxmemory_policy", "noeviction")
    }

    /// Why a revocation list is not safe with this server.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.identity == Identity::default() {
            warnings.push(
                "INFO is not allowed to this user: a Redis that restarted without its data is not told from the same one, \
                 evictions not from deletions, and keys deleted while the feed was away are written back; grant +info"
                    .to_owned(),
            );
            return warnings;
        }
        if self.says("aof_enabled", "0") {
            warnings.push(
                "the append-only file is off: revocations of the last moments, or all, are lost when Redis \
                 restarts; set `appendonly yes`"
                    .to_owned(),
            );
        }
        if self.evicts() {
            let policy = self
                .fields
                .get("maxmemory_policy")
                .map_or("", String::as_str);
            warnings.push(format!(
                "maxmemory-policy is {policy}: an evicted key is a revocation that a replica started now does not know; set `maxmemory-policy noeviction`"
            ));
        }
        if !self.primary {
            warnings.push("it is a replica: connect to the primary".to_owned());
        }
        // `INFO` has this line only where the setting is not 0.
        let has_replicas =
            self.fields.contains_key("connected_slaves") && !self.says("connected_slaves", "0");
        if self.primary && has_replicas && !self.fields.contains_key("min_slaves_good_slaves") {
            warnings.push(
                "min-replicas-to-write is 0: a primary that has been replaced without knowing it acknowledges what others \
                 write to it, and loses it; set `min-replicas-to-write 1` and `min-replicas-max-lag 10`"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// The servers that hold the data together: one, or all primaries of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Servers(pub Vec<ServerInfo>);

impl Servers {
    /// Who they are.
    pub(super) fn identities(&self) -> Vec<Identity> {
        self.0.iter().map(|s| s.identity.clone()).collect()
    }

    /// How many keys they have evicted.
    pub(super) fn evicted_keys(&self) -> u64 {
        self.0.iter().map(|s| s.evicted_keys).sum()
    }

    /// The clock that is farthest from ours.
    pub(super) fn farthest_clock(&self, ours: Timestamp) -> Option<Timestamp> {
        let times = self.0.iter().filter_map(|s| s.time);
        times.max_by_key(|time| time.since(ours).max(ours.since(*time)))
    }

    pub(super) fn are_primaries(&self) -> bool {
        self.0.iter().all(|s| s.primary)
    }

    /// How long the youngest with data has been running, in seconds.
    pub(super) fn uptime(&self) -> u64 {
        let holding = self.0.iter().filter(|s| s.holds_keys);
        holding.map(|s| s.uptime).min().unwrap_or(u64::MAX)
    }

    /// Whether one of them has taken another's place since it was started.
    pub(super) fn were_promoted(&self) -> bool {
        self.0.iter().any(|s| s.holds_keys && s.promoted)
    }

    /// Whether all data is where it was with those of before: each of them is still there, and no other holds any.
    pub(super) fn are_surely(&self, before: &[Identity]) -> bool {
        let now = self.identities();
        let is_in = |of: &[Identity], one: &Identity| of.iter().any(|i| i.is_surely(one));
        let holding = self.0.iter().filter(|s| s.holds_keys);
        before.iter().all(|one| is_in(&now, one))
            && holding.map(|s| &s.identity).all(|one| is_in(before, one))
    }

    /// What there is to say about them, as to what they hold.
    pub(super) fn diagnosis(&self) -> Diagnosis {
        let ours = SystemClock.now();
        let clock = self.farthest_clock(ours);
        let mut warnings = self.warnings();
        warnings.extend(clock.and_then(|theirs| clock_offset::warning(theirs, ours)));
        Diagnosis {
            warnings,
            notes: Vec::new(),
        }
    }

    /// Why a revocation list is not safe with them.
    pub(super) fn warnings(&self) -> Vec<String> {
        let of_one = |s: &ServerInfo| {
            let named = s.named.clone();
            s.warnings().into_iter().map(move |w| format!("{named}{w}"))
        };
        self.0.iter().flat_map(of_one).collect()
    }
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spoken {
    Resp2,
    Resp3,
}

/// Asks for the role. `HELLO` tells it and, unlike `ROLE` and `INFO`, is allowed to every user. With the protocol that is
/// spoken already: without one, it is known from Redis 6.2 on.
pub(super) fn hello(spoken: Spoken) -> redis::Cmd {
    let mut hello = redis::cmd("HELLO");
    hello.arg(match spoken {
        Spoken::Resp2 => "2",
        Spoken::Resp3 => "3",
    });
    hello
}

/// Asks whether it is a primary.
pub(super) async fn is_primary(
    connection: &mut MultiplexedConnection,
    hello: &redis::Cmd,
) -> RedisResult<bool> {
    // A server that is busy with a script answers `HELLO`, and holds pushes back. `PING` it refuses.
    let mut questions = redis::pipe();
    questions.add_command(hello.clone());
    questions.cmd("PING");
    questions.ignore_errors();
    let (said, pong): (Value, Value) = questions.query_async(connection).await?;
    if let Value::ServerError(error) = said {
        return Err(error.into());
    }
    let says_so = says_primary(&HashMap::from_redis_value(said)?);
    match pong {
        // A replica that is loading refuses it, too; it is above all a replica.
        Value::ServerError(error) if says_so => Err(error.into()),
        _ => Ok(says_so),
    }
}

/// Asks, where RESP2 is spoken, whether it is a node of a cluster.
pub(super) async fn is_in_cluster(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let said: HashMap<String, Value> = hello(Spoken::Resp2).query_async(connection).await?;
    Ok(says(&said, "mode", "cluster"))
}

/// Reads the role from the answer to `HELLO`.
pub(super) fn says_primary(hello: &HashMap<String, Value>) -> bool {
    says(hello, "role", "master")
}

fn says(hello: &HashMap<String, Value>, name: &str, value: &str) -> bool {
    match hello.get(name) {
        Some(Value::BulkString(said)) => said == value.as_bytes(),
        Some(Value::SimpleString(said)) => said == value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsafe_server_is_warned_of() {
        let text = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:7\r\nrole:master\r\naof_enabled:0\r\n\
                    maxmemory_policy:allkeys-lru\r\nevicted_keys:3\r\n";
        let info = ServerInfo::parse(text);
        assert_eq!((info.uptime, info.evicted_keys), (7, 3));
        assert!(info.primary && info.evicts());
        assert_eq!(info.warnings().len(), 2);
    }

    #[test]
    fn a_primary_with_replicas_that_takes_writes_without_them_is_warned_of() {
        let text = "run_id:abc\r\nrole:master\r\naof_enabled:1\r\nconnected_slaves:1\r\n";
        let warnings = ServerInfo::parse(text).warnings();
        assert!(
            warnings[0].contains("min-replicas-to-write 1"),
            "{warnings:?}"
        );
        let safe = format!("{text}min_slaves_good_slaves:1\r\n");
        assert_eq!(ServerInfo::parse(&safe).warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_safe_server_is_not() {
        let text = "run_id:abc\r\nrole:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(ServerInfo::parse(text).warnings(), Vec::<String>::new());
    }
}
