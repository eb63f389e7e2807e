//! How to reach a PostgreSQL server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the server.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user@host:port/database?sslmode=verify-full`. `options=-csearch_path%3Dname` selects a schema.
    pub url: String,
    /// A file with the password, read again for every new connection.
    pub password_file: Option<PathBuf>,
    /// The maximum number of open connections, besides the two that keep a view.
    pub max_connections: usize,
    /// How long making a connection, or waiting for one, may take.
    pub connect_timeout: Duration,
}

impl fmt::Debug for PostgresOptions {
    /// Without the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").finish_non_exhaustive()
    }
}
