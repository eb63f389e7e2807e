//! Checks that the user may write. Otherwise a missing permission would show only with the first logout.

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};

use super::super::StoreError;
use super::cluster;
use super::connector::Connector;
use super::dialer::{Connected, Protocol};
use super::error::has_code;

/// Tries each command on unused keys, and returns the commands that the user may not run. What is written is
/// deleted in the same step. The commands are tried in a script, because the store runs them in scripts.
///
/// `ARGV`: the words of each command, each command followed by an empty string. In a cluster, the node may not own
/// the slot of the key: the server checks the permissions before it rejects the command for that reason.
const TRY: &str = r"
    local refused, command = {}, {}
    for _, word in ipairs(ARGV) do
        if word ~= '' then
            command[#command + 1] = word
        else
            local answer = redis.pcall(unpack(command))
            local error = type(answer) == 'table' and answer.err or ''
            if string.find(error, 'permission') or string.find(error, 'NOPERM') or string.find(error, 'can\'t') then
                refused[#refused + 1] = string.lower(command[1])
            end
            command = {}
        end
    end
    return refused
";

/// The commands for revoking and restoring. `XX`: only an existing key would be written.
const FOR_REVOCATIONS: [&[&str]; 4] = [
    &["GET", "revoxy:probe"],
    &["PTTL", "revoxy:probe"],
    &["SET", "revoxy:probe", "0", "XX"],
    &["DEL", "revoxy:probe"],
];

/// The commands for keeping token records.
const FOR_RECORDS: [&[&str]; 9] = [
    &["ZRANGEBYSCORE", "revoxy-tokens:probe", "0", "0"],
    &["ZRANGE", "revoxy-tokens:probe", "0", "0"],
    &["ZSCORE", "revoxy-tokens:probe", "0"],
    &["ZADD", "revoxy-tokens:probe", "XX", "0", "0"],
    &["ZREM", "revoxy-tokens:probe", "0"],
    &["HGET", "revoxy-tokens:probe", "0"],
    &["HSET", "revoxy-tokens:probe", "0", "0"],
    &["HDEL", "revoxy-tokens:probe", "0"],
    &["PEXPIREAT", "revoxy-tokens:probe", "0"],
];

/// Returns which permissions to grant if the user may not write; `None` if the user may write. `records` says
/// whether tokens are recorded.
pub(super) async fn missing(
    connector: &Connector,
    records: bool,
) -> Result<Option<String>, StoreError> {
    let in_cluster = connector.seeds().is_some();
    let servers = match connector.seeds() {
        Some(_) => cluster::primaries(connector).await?,
        None => {
            let made = connector.connect(Protocol::Resp2).await;
            vec![made.map_err(|e| StoreError::Unavailable(e.to_string()))?]
        }
    };
    let asked = servers.into_iter().map(async |mut server: Connected| {
        let refused = refused(&mut server.connection, records, in_cluster);
        match tokio::time::timeout(connector.connect_timeout(), refused).await {
            Ok(Ok(refused)) => Ok(refused),
            Ok(Err(error)) => Err(StoreError::Unavailable(server.describe(&error))),
            Err(_) => Err(StoreError::Timeout),
        }
    });
    let mut refused: Vec<_> = try_join_all(asked).await?.into_iter().flatten().collect();
    refused.sort_unstable();
    refused.dedup();
    let of_tokens = if records { " and ~revoxy-tokens:*" } else { "" };
    Ok((!refused.is_empty()).then(|| {
        format!(
            "this user may not write revocations: every logout through the API fails, and what Redis loses is not written \
             back; grant +{}, for the keys ~revoxy:*{of_tokens}",
            refused.join(" +")
        )
    }))
}

async fn refused(
    connection: &mut MultiplexedConnection,
    records: bool,
    in_cluster: bool,
) -> RedisResult<Vec<String>> {
    let commands = FOR_REVOCATIONS.iter();
    let commands = commands.chain(if records { &FOR_RECORDS[..] } else { &[] });
    let words: Vec<_> = commands
        .flat_map(|command| command.iter().chain(&[""]).copied())
        .collect();
    // Runs the script in the same way as the store runs its scripts: in a cluster, the whole text is sent, since a
    // node that has just taken over has no script cached.
    let (answer, needed) = if in_cluster {
        let mut call = redis::cmd("EVAL");
        call.arg(TRY).arg(0).arg(words);
        (call.query_async(connection).await, &["eval"][..])
    } else {
        let script = Script::new(TRY);
        let mut call = script.prepare_invoke();
        call.arg(words);
        (
            call.invoke_async(connection).await,
            &["evalsha", "script|load"][..],
        )
    };
    match answer {
        Err(error) if has_code(&error, &["NOPERM"]) => {
            Ok(needed.iter().map(|c| (*c).to_owned()).collect())
        }
        answer => answer,
    }
}
