//! Classifies and describes the errors of the server.

use redis::{FromRedisValue, ParsingError, RedisError, ServerError, Value};

use super::super::StoreError;

/// Returns the error code of a server that refused a command. The library's own accessor does not return the
/// code of a command within a pipeline.
pub(super) fn server_code(error: &RedisError) -> Option<String> {
    let refused = error.clone().into_server_errors()?;
    refused.first().map(|(_, e)| e.code().to_owned())
}

/// Returns whether the server refused the command with one of these codes.
pub(super) fn has_code(error: &RedisError, codes: &[&str]) -> bool {
    server_code(error).is_some_and(|code| codes.contains(&code.as_str()))
}

/// Returns the command that the server refused for lack of a permission, from the server's error text, which
/// names no key and no value.
fn refused_command(error: &RedisError) -> Option<String> {
    let refused = error.clone().into_server_errors()?;
    let (_, first) = refused.first()?;
    let (_, rest) = first.details()?.split_once("permissions to run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_a_name = |c: char| c.is_ascii_alphanumeric() || "|-_.".contains(c);
    (command.len() < 64 && command.chars().all(is_a_name)).then(|| command.to_owned())
}

/// Returns whether the user lacks a permission that a script needs. Redis before 7.2 does not name the command.
fn is_refused_in_script(error: &RedisError) -> bool {
    let refused = error.clone().into_server_errors().unwrap_or_default();
    let details = refused.first().and_then(|(_, e)| e.details());
    details.is_some_and(|text| text.contains("The user executing the script can't"))
}

/// The error for a write that was not confirmed on the authoritative server.
pub(super) fn unconfirmed() -> StoreError {
    StoreError::Unavailable(
        "the server that took the write is not the one that counts, or something was stated since that takes it back"
            .to_owned(),
    )
}

/// Converts a value that a server has answered with.
pub(super) fn parsed<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(unexpected)
}

/// The error for an answer whose type does not match the command.
pub(super) fn unexpected(_: ParsingError) -> StoreError {
    StoreError::Failed("an answer of an unexpected type".to_owned())
}

/// Classifies the error that a server answered with: about one key, or about the server itself.
pub(super) fn refused(error: &RedisError) -> StoreError {
    let refusals = error.clone().into_server_errors().unwrap_or_default();
    let is_of_key = |refusal: &ServerError| match refusal.code() {
        "WRONGTYPE" => true,
        // "No permissions to access a key" (Redis 7), "… to access one of the keys" (Redis 6). If the command
        // itself is not allowed, the text says instead that the user may not run it.
        "NOPERM" => refusal
            .details()
            .is_some_and(|text| text.contains("access")),
        _ => false,
    };
    match !refusals.is_empty() && refusals.iter().all(|(_, refusal)| is_of_key(refusal)) {
        true => StoreError::Unreadable(describe(error)),
        false => StoreError::Failed(describe(error)),
    }
}

/// Returns whether a replica has refused a write. For a write in a script, Redis 6 reports this only in the text of
/// the error.
pub(super) fn is_of_replica(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|text| text.contains("-READONLY"))
}

/// Formats an error for a log: kind and server code; the server's own text only if it concerns our credentials and
/// permissions.
pub(super) fn describe(error: &RedisError) -> String {
    if let Some(command) = refused_command(error) {
        return format!("the user may not run `{command}`: grant +{command}");
    }
    if is_refused_in_script(error) {
        return "the user may not run a command, or write a key, that our scripts need: `revoxy doctor` tells which"
            .to_owned();
    }
    match server_code(error).as_deref() {
        Some(code @ ("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
            format!("{code}: check the user, the password and its access control list")
        }
        Some(code) => format!("the server answered {code}"),
        None if error.is_connection_refusal() => "connection refused".to_owned(),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None if error.is_connection_dropped() => "connection closed".to_owned(),
        None if error.to_string().contains("refused to switch database") => {
            "the server refused SELECT: there is no such database, or the user needs +select"
                .to_owned()
        }
        None => error.category().to_owned(),
    }
}
