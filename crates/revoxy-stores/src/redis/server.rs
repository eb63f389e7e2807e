//! What a server reports about itself: its identity, its role, and whether a revocation list is safe with it.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, RedisResult, Value};

use crate::clock::{Clock as _, SystemClock, Timestamp};

use super::super::diagnosis::Diagnosis;
use super::super::feed::clock_offset;
use super::error;

/// Identifies the data that a server holds, by its process (`run_id`) and its replication history
/// (`master_replid`). Another process, or a process that has been a replica in between, may lack data that this
/// process had. `None` if `INFO` is not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity(Option<(String, String)>);

impl Identity {
    /// Returns whether the server says which one it is.
    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether both are certain to be the same.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.0.is_some() && self == other
    }

    /// Returns whether both identities are of the same process, whatever its replication history is.
    pub(super) fn is_process_of(&self, other: &Self) -> bool {
        let process = |identity: &Self| identity.0.as_ref().map(|(process, _)| process.clone());
        process(self) == process(other)
    }
}

/// The relevant part of `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerInfo {
    /// Identifies the data that the server holds.
    pub identity: Identity,
    /// Whether the server is a primary.
    pub primary: bool,
    /// How many keys the server has evicted since it was started.
    pub evicted_keys: u64,
    /// How long the server has been running, in seconds.
    pub uptime: u64,
    /// The time of the server's clock, if it reports that (Redis 7 and Valkey do).
    pub time: Option<Timestamp>,
    /// Whether the server was promoted: it has been a replica, as far as it reports that.
    promoted: bool,
    /// A prefix that names the server among several.
    named: String,
    /// Whether the server can hold keys: a primary of a cluster without slots cannot.
    holds_keys: bool,
    fields: HashMap<String, String>,
}

impl ServerInfo {
    /// Queries the server. A user whose ACL forbids `INFO` gets only the role.
    pub(super) async fn read(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let info: RedisResult<String> = redis::cmd("INFO").query_async(connection).await;
        match info {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error::has_code(&error, &["NOPERM"]) => {
                Ok(Self {
                    // Without an argument, `HELLO` keeps the connection's protocol. Redis 6.0 requires the
                    // argument, so there this does not work without `INFO`.
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
            // The offset up to which the server shares the history of its former primary; -1 if there is none.
            promoted: number("second_repl_offset").is_some(),
            named: String::new(),
            holds_keys: true,
            fields,
        }
    }

    /// Marks this as one of several servers.
    pub(super) fn of_several(self, named: String, holds_keys: bool) -> Self {
        Self {
            named,
            holds_keys,
            ..self
        }
    }

    /// Returns whether the server is a node of a cluster.
    pub(super) fn is_in_cluster(&self) -> bool {
        self.says("cluster_enabled", "1")
    }

    /// Returns name and version of the software from `INFO`, if that was allowed. Valkey also names the Redis
    /// version that it is compatible with.
    fn software(&self) -> Option<String> {
        let server = self.fields.get("server_name");
        let server = server.map_or("redis", String::as_str);
        let version = self.fields.get(&format!("{server}_version"));
        let version = version.or_else(|| self.fields.get("redis_version"))?;
        Some(name_of_software(server, version))
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.fields.get(name).is_some_and(|v| v == value)
    }

    /// Returns whether the server evicts keys when memory runs out.
    pub(super) fn evicts(&self) -> bool {
        self.fields.contains_key("maxmemory_policy") && !self.says("maxmemory_policy", "noeviction")
    }

    /// Returns why a revocation list is not safe with this server.
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
        // `INFO` has this line only if the setting is not 0.
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

/// Returns the name and version of the server software: `Redis 7.0.15`. For a user that may not run `INFO`,
/// they come from `HELLO`.
pub(super) async fn software(info: &ServerInfo, connection: &mut MultiplexedConnection) -> String {
    if let Some(named) = info.software() {
        return named;
    }
    let said: RedisResult<HashMap<String, Value>> =
        redis::cmd("HELLO").query_async(connection).await;
    let named = said.ok().and_then(|said| {
        let (server, version) = (text(&said, "server")?, text(&said, "version")?);
        Some(name_of_software(server, version))
    });
    named.unwrap_or_else(|| "a server that does not tell its version".to_owned())
}

/// Makes the name safe for one of our log lines, whatever the server sends.
fn name_of_software(server: &str, version: &str) -> String {
    let name = match server {
        "redis" => "Redis",
        "valkey" => "Valkey",
        other => other,
    };
    let plain = |text: &str| -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "._-+".contains(*c);
        text.chars().filter(is_plain).take(40).collect()
    };
    format!("{} {}", plain(name), plain(version))
}

/// The servers that hold the data together: one server, or all primaries of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Servers(pub Vec<ServerInfo>);

impl Servers {
    /// Returns their identities.
    pub(super) fn identities(&self) -> Vec<Identity> {
        self.0.iter().map(|s| s.identity.clone()).collect()
    }

    /// Returns how many keys they have evicted in total.
    pub(super) fn evicted_keys(&self) -> u64 {
        self.0.iter().map(|s| s.evicted_keys).sum()
    }

    /// Returns the time of the clock that differs most from ours.
    pub(super) fn farthest_clock(&self, ours: Timestamp) -> Option<Timestamp> {
        let times = self.0.iter().filter_map(|s| s.time);
        times.max_by_key(|time| time.since(ours).max(ours.since(*time)))
    }

    pub(super) fn are_primaries(&self) -> bool {
        self.0.iter().all(|s| s.primary)
    }

    /// Returns the uptime of the most recently started server that holds keys, in seconds.
    pub(super) fn uptime(&self) -> u64 {
        let holding = self.0.iter().filter(|s| s.holds_keys);
        holding.map(|s| s.uptime).min().unwrap_or(u64::MAX)
    }

    /// Returns whether a server that holds keys was promoted from a replica since it was started.
    pub(super) fn were_promoted(&self) -> bool {
        self.0.iter().any(|s| s.holds_keys && s.promoted)
    }

    /// Returns whether the set of data-holding servers is certain to be unchanged: each server of `before` is
    /// still there, and no other server holds data.
    pub(super) fn are_surely(&self, before: &[Identity]) -> bool {
        let now = self.identities();
        let is_in = |of: &[Identity], one: &Identity| of.iter().any(|i| i.is_surely(one));
        let holding = self.0.iter().filter(|s| s.holds_keys);
        before.iter().all(|one| is_in(&now, one))
            && holding.map(|s| &s.identity).all(|one| is_in(before, one))
    }

    /// Returns the diagnosis of the servers, without an inventory of their keys.
    pub(super) fn diagnosis(&self) -> Diagnosis {
        let ours = SystemClock.now();
        let clock = self.farthest_clock(ours);
        let mut warnings = self.warnings();
        warnings.extend(clock.and_then(|theirs| clock_offset::warning(theirs, ours)));
        Diagnosis {
            warnings,
            ..Diagnosis::default()
        }
    }

    /// Returns why a revocation list is not safe with these servers.
    pub(super) fn warnings(&self) -> Vec<String> {
        let of_one = |s: &ServerInfo| {
            let named = s.named.clone();
            s.warnings().into_iter().map(move |w| format!("{named}{w}"))
        };
        self.0.iter().flat_map(of_one).collect()
    }
}

/// The protocol that a connection speaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum RespVersion {
    Resp2,
    Resp3,
}

/// Builds a `HELLO` that queries the role. Unlike `ROLE` and `INFO`, `HELLO` is allowed to every user. The command
/// names the protocol that the connection already speaks, because only Redis 6.2 and later accept `HELLO` without a
/// protocol.
pub(super) fn hello(spoken: RespVersion) -> redis::Cmd {
    let mut hello = redis::cmd("HELLO");
    hello.arg(match spoken {
        RespVersion::Resp2 => "2",
        RespVersion::Resp3 => "3",
    });
    hello
}

/// Returns whether the server is a primary.
pub(super) async fn is_primary(
    connection: &mut MultiplexedConnection,
    hello: &redis::Cmd,
) -> RedisResult<bool> {
    // A server that is busy with a script answers `HELLO`, but holds pushes back. It refuses `PING`.
    let mut questions = redis::pipe();
    questions.add_command(hello.clone());
    questions.cmd("PING");
    questions.ignore_errors();
    let (said, pong): (Value, Value) = questions.query_async(connection).await?;
    if let Value::ServerError(error) = said {
        return Err(error.into());
    }
    let says_so = is_primary_role(&HashMap::from_redis_value(said)?);
    match pong {
        // A replica that is loading refuses `PING`, too; then it matters more that it is a replica.
        Value::ServerError(error) if says_so => Err(error.into()),
        _ => Ok(says_so),
    }
}

/// Returns whether the server is a node of a cluster, on a connection that speaks RESP2.
pub(super) async fn is_in_cluster(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let said: HashMap<String, Value> = hello(RespVersion::Resp2).query_async(connection).await?;
    Ok(says(&said, "mode", "cluster"))
}

/// Returns whether the reply to `HELLO` names the role of a primary.
pub(super) fn is_primary_role(hello: &HashMap<String, Value>) -> bool {
    says(hello, "role", "master")
}

fn says(hello: &HashMap<String, Value>, name: &str, value: &str) -> bool {
    text(hello, name) == Some(value)
}

/// Returns a text field of the reply to `HELLO`.
fn text<'v>(hello: &'v HashMap<String, Value>, name: &str) -> Option<&'v str> {
    match hello.get(name)? {
        Value::BulkString(said) => str::from_utf8(said).ok(),
        Value::SimpleString(said) => Some(said),
        _ => None,
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
    fn a_server_is_called_by_its_own_name_and_version() {
        for (text, expected) in [
            ("redis_version:7.0.15\r\n", Some("Redis 7.0.15")),
            (
                "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n",
                Some("Valkey 8.0.1"),
            ),
            (
                "redis_version:7.2.4\r\nserver_name:other\r\n",
                Some("other 7.2.4"),
            ),
            ("redis_version:7\u{1b}[31m\r\n", Some("Redis 731m")),
            ("role:master\r\n", None),
        ] {
            assert_eq!(ServerInfo::parse(text).software().as_deref(), expected);
        }
    }

    #[test]
    fn a_safe_server_is_not() {
        let text = "run_id:abc\r\nrole:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n";
        assert_eq!(ServerInfo::parse(text).warnings(), Vec::<String>::new());
    }
}
