//! Maps the errors of PostgreSQL and of the library to store errors. Their messages name users, tables and SQL,
//! but never bound values: those are in the detail of a message, which is left out.

use std::io::ErrorKind;

use sqlx::Error;

use super::super::StoreError;

/// SQLSTATE classes and codes which mean that this server, or this connection, cannot answer at the moment.
const UNAVAILABLE: [&str; 6] = [
    "08",    // connection exception
    "57P",   // shutting down, crashed, or starting up
    "53300", // too many connections
    "25006", // read-only transaction: the server has become a standby
    "40",    // transaction rolled back, to be retried
    "58",    // system error outside of PostgreSQL
];
const CANCELLED: &str = "57014";
/// A prepared statement exists that should not, or is missing: it was prepared on another connection.
const STATEMENTS_MIXED_UP: [&str; 2] = ["42P05", "26000"];

/// Returns the SQLSTATE, if the server has answered.
pub(super) fn code(error: &Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Returns whether the server refuses for lack of a privilege.
pub(super) fn is_forbidden(error: &Error) -> bool {
    code(error).is_some_and(|code| code == "42501")
}

/// Formats an error.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Database(error) => error.message().to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => format!("TLS: {}", with_causes(&**error)),
        other => other.to_string(),
    }
}

/// Formats an error of a library together with its causes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Maps an error to a store error.
pub(super) fn store_error(error: &Error) -> StoreError {
    let why = describe(error);
    match error {
        Error::Database(_) => match code(error).unwrap_or_default() {
            code if STATEMENTS_MIXED_UP.contains(&&*code) => StoreError::Failed(format!(
                "{why}: this is a pooler that lends a connection for one transaction and knows no prepared statements; \
                 connect past it, let it lend connections for a session, or let it follow prepared statements \
                 (pgbouncer 1.21 and later, max_prepared_statements)"
            )),
            code if code == CANCELLED => StoreError::Timeout,
            code if UNAVAILABLE.iter().any(|u| code.starts_with(u)) => StoreError::Unavailable(why),
            _ => StoreError::Failed(why),
        },
        // A failed TLS handshake is reported like this.
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            StoreError::Failed(format!("TLS: {why}"))
        }
        Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => StoreError::Unavailable(why),
        _ => StoreError::Failed(why),
    }
}
