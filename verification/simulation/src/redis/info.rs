//! What a server says about itself.

use crate::resp::{Reply, Version};

use super::process::{Process, Role};

/// What `INFO` answers.
pub(super) fn info(process: &Process, now: i64, replicas: usize) -> String {
    let (former, until) = match &process.former {
        Some((id, until)) => (id.as_str(), until.to_string()),
        None => ("0000000000000000000000000000000000000000", "-1".to_owned()),
    };
    let role = match process.role {
        Role::Primary => "master",
        Role::ReplicaOf(_) => "slave",
    };
    let fields = [
        ("redis_version", "7.0.15".to_owned()),
        ("redis_mode", mode(process).to_owned()),
        ("run_id", process.run_id.clone()),
        ("server_time_usec", (now * 1000).to_string()),
        (
            "uptime_in_seconds",
            ((now - process.started) / 1000).to_string(),
        ),
        ("maxmemory_policy", "noeviction".to_owned()),
        ("loading", u8::from(process.loads_until > now).to_string()),
        ("aof_enabled", "1".to_owned()),
        ("evicted_keys", process.evicted.to_string()),
        ("role", role.to_owned()),
        ("connected_slaves", replicas.to_string()),
        ("master_replid", process.replication_id.clone()),
        ("master_replid2", former.to_owned()),
        ("master_repl_offset", (process.offset - 1).to_string()),
        ("second_repl_offset", until),
        (
            "cluster_enabled",
            u8::from(process.cluster.is_some()).to_string(),
        ),
    ];
    fields
        .map(|(name, value)| format!("{name}:{value}\r\n"))
        .concat()
}

fn mode(process: &Process) -> &'static str {
    match process.cluster {
        Some(_) => "cluster",
        None => "standalone",
    }
}

/// What `HELLO` answers.
pub(super) fn hello(process: &Process, version: Version, client: u64) -> Reply {
    let role = match process.role {
        Role::Primary => "master",
        Role::ReplicaOf(_) => "replica",
    };
    let protocol = match version {
        Version::Two => 2,
        Version::Three => 3,
    };
    let pairs = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk("7.0.15")),
        ("proto", Reply::Int(protocol)),
        ("id", Reply::Int(i64::try_from(client).unwrap_or_default())),
        ("mode", Reply::bulk(mode(process))),
        ("role", Reply::bulk(role)),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(pairs.map(|(name, value)| (Reply::bulk(name), value)).into())
}
