//! The section `revocation.store.postgres`.

use std::time::Duration;

use crate::revocation::{Deletions, PostgresOptions};

use super::document::Document;
use super::problem::Problems;
use super::raw::RawPostgres;

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_MAX_CONNECTIONS: usize = 8;

pub(super) fn read(
    raw: RawPostgres,
    deletions: Deletions,
    document: &Document,
    problems: &mut Problems,
) -> PostgresOptions {
    let mut wrong = |key: &str, message: &str| {
        let at = format!("revocation.store.postgres.{key}");
        problems.push(document.problem(&at, message));
    };
    let url = raw.url.unwrap_or_else(|| {
        wrong(
            "url",
            "missing: for example postgres://revoxy@db/revoxy?sslmode=verify-full",
        );
        String::new()
    });
    let max_connections = raw.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
    if max_connections == 0 {
        wrong("max_connections", "0: nothing could ever be asked");
    }
    if deletions == Deletions::Ignore {
        let message = "`ignore` is for Redis: PostgreSQL forgets nothing by itself; to keep others from taking \
                       revocations back, do not grant them DELETE, UPDATE and TRUNCATE";
        problems.push(document.problem("revocation.deletions", message));
    }
    PostgresOptions {
        url,
        password_file: raw.password_file,
        max_connections,
        connect_timeout: raw.connect_timeout.map_or(DEFAULT_CONNECT_TIMEOUT, |s| s.0),
    }
}
