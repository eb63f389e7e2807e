//! Connections for direct reads and writes: some that wait for their next use, and never more than configured.
//!
//! Not the library's pool: that one asks a connection whether it lives before and after every use, and keeps one whose
//! caller has given up until the server answers, however long that takes. Here a connection that was not given back
//! after an answer is closed, and one that broke takes all that wait with it, for they were made to the same server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::super::StoreError;
use super::{PostgresOptions, error};

/// Longer than any statement of ours takes: what a caller has given up does not burden the server for ever.
const STATEMENT_TIMEOUT: &str = "30s";
/// A connection that has waited longer may have been forgotten by a firewall on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(240);

/// The pool.
pub(super) struct Pool {
    options: PostgresOptions,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection in use.
struct Lent<'p> {
    pool: &'p Pool,
    connection: PgConnection,
    _permit: SemaphorePermit<'p>,
}

impl Pool {
    pub(super) fn new(options: PostgresOptions) -> Self {
        Self {
            permits: Semaphore::new(options.max_connections.max(1)),
            options,
            idle: Mutex::default(),
        }
    }

    /// Does `work` with a connection.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let mut lent = self.lend().await?;
        match work(&mut lent.connection).await {
            Ok(value) => {
                lent.give_back();
                Ok(value)
            }
            Err(error) => {
                // Nothing but an answer of the server leaves a connection that can be used again.
                let answered = matches!(error, sqlx::Error::Database(_));
                let error = error::store_error(&error);
                match error {
                    StoreError::Unavailable(_) => self.forget(),
                    _ if answered => lent.give_back(),
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// Closes what waits: it is to be made anew.
    pub(super) fn forget(&self) {
        let waiting = std::mem::take(&mut *self.idle());
        drop(waiting);
    }

    async fn lend(&self) -> Result<Lent<'_>, StoreError> {
        let patience = self.options.connect_timeout;
        let permit = timeout(patience, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(StoreError::Timeout);
        };
        let waiting = self.idle().pop();
        let connection = match waiting {
            Some(idle) if idle.since.elapsed() < LONGEST_WAIT => idle.connection,
            _ => connect(&self.options).await?,
        };
        Ok(Lent {
            pool: self,
            connection,
            _permit: permit,
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // Only ever pushed to, popped from and emptied.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    fn give_back(self) {
        let since = Instant::now();
        let connection = self.connection;
        self.pool.idle().push(Idle { connection, since });
    }
}

/// Connects to a primary.
pub(super) async fn connect(options: &PostgresOptions) -> Result<PgConnection, StoreError> {
    let connecting = async {
        let mut connection =
            PgConnection::connect_with(&options.connect_options().map_err(StoreError::from)?)
                .await
                .map_err(|e| match error::store_error(&e) {
                    StoreError::Failed(why) => StoreError::Failed(format!("cannot connect: {why}")),
                    other => other,
                })?;
        let greeting =
            sqlx::query("SELECT pg_is_in_recovery(), set_config('statement_timeout', $1, false)")
                .bind(STATEMENT_TIMEOUT);
        let greeted = greeting.fetch_one(&mut connection).await;
        let standby = greeted.and_then(|row| row.try_get::<bool, _>(0));
        if standby.map_err(|e| error::store_error(&e))? {
            return Err(StoreError::Unavailable(STANDBY.to_owned()));
        }
        Ok(connection)
    };
    match timeout(options.connect_timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(StoreError::Unavailable("no connection in time".to_owned())),
    }
}

/// Why a server in recovery is not asked.
pub(super) const STANDBY: &str =
    "the server is a standby, which may be behind: connect to the primary";
