//! A pool of connections for direct reads and writes, with never more connections than configured.
//!
//! The pool of the library is not used, because it checks a connection's liveness before and after every use, and
//! keeps a connection whose caller has given up until the server answers, however long that takes. Here, a
//! connection that was not returned after an answer is closed, and a broken connection invalidates all connections
//! made before it, because they were made to the same server.
//!
//! A connection is made in a task of its own, which continues when its caller has given up: connecting takes ten
//! times as long as a query, so a check's deadline may leave time for a lookup and never for a connection. The
//! connection that such a task has made is available to the next caller.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::StoreError;
use super::super::options::PostgresOptions;
use super::{LOOKUP, error};

/// Longer than any of our statements takes. With the timeout, a statement whose caller has given up does not burden
/// the server forever.
const STATEMENT_TIMEOUT: &str = "30s";
/// A firewall on the way may have dropped a connection that has been idle for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(240);

/// The pool.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// The tasks that connect: no more than there are slots. They end with the pool.
    connecting: Mutex<JoinSet<()>>,
}

/// The part of the pool that the connecting tasks use.
struct Shared {
    options: PostgresOptions,
    /// One permit for each possible connection: in use, idle, or being made.
    slots: Arc<Semaphore>,
    /// At least one permit for each idle connection.
    ready: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// How often all connections have been given up. A connection of an earlier generation is not used again.
    generation: u64,
    /// The most recently used connection is last, and is used next.
    idle: Vec<Made>,
}

/// A connection.
struct Made {
    connection: PgConnection,
    generation: u64,
    /// When the connection was made or last used.
    since: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(options: PostgresOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                slots: Arc::new(Semaphore::new(options.max_connections.max(1))),
                ready: Semaphore::new(0),
                waiting: Mutex::default(),
                options,
            }),
            connecting: Mutex::default(),
        }
    }

    /// Runs `work` with a connection.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let mut lent = self.lend().await?;
        match work(&mut lent.connection).await {
            Ok(value) => {
                self.shared.put(lent);
                Ok(value)
            }
            Err(error) => {
                // The connection can be used again only if the server has answered.
                let answered = matches!(error, sqlx::Error::Database(_));
                let error = error::store_error(&error);
                match error {
                    StoreError::Unavailable(_) => self.leave(lent.generation),
                    _ if answered => self.shared.put(lent),
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// Gives up all connections that were made, or begun, before now.
    pub(super) fn forget(&self) {
        let generation = self.shared.waiting().generation;
        self.leave(generation);
    }

    /// Gives up all connections, if this is the current generation: if several connections break together, only the
    /// first gives up the others.
    fn leave(&self, generation: u64) {
        let Some(closed) = self.shared.leave(generation) else {
            return;
        };
        drop(closed);
        // A caller that still waits for one of these attempts starts another.
        self.connecting().abort_all();
    }

    /// Returns a connection: an idle, a returned, or a new one, whichever is available first.
    async fn lend(&self) -> Result<Made, StoreError> {
        let patience = sleep(self.shared.options.connect_timeout);
        let taking = self.shared.take();
        tokio::pin!(patience, taking);
        let mut attempt = None;
        loop {
            tokio::select! {
                biased;
                made = &mut taking => return Ok(made),
                failed = failure(&mut attempt), if attempt.is_some() => match failed {
                    Some(error) => return Err(error),
                    // The connection was made and another caller took it; or the attempt began before all
                    // connections were given up.
                    None => attempt = None,
                },
                // An attempt has a deadline of its own.
                () = &mut patience, if attempt.is_none() => return Err(StoreError::Timeout),
                slot = slot(&self.shared.slots), if attempt.is_none() => attempt = Some(self.connect(slot)),
            }
        }
    }

    /// Connects in a task, which puts the new connection among the idle ones. The receiver gets the error if
    /// the attempt fails, and is closed otherwise.
    fn connect(&self, slot: OwnedSemaphorePermit) -> oneshot::Receiver<StoreError> {
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let generation = shared.waiting().generation;
        let mut connecting = self.connecting();
        while connecting.try_join_next().is_some() {}
        connecting.spawn(async move {
            match ready(&shared.options).await {
                Ok(connection) => shared.put(Made {
                    connection,
                    generation,
                    since: Instant::now(),
                    _slot: slot,
                }),
                Err(error) => {
                    drop(slot);
                    // The caller may be gone.
                    let _ = tell.send(error);
                }
            }
        });
        told
    }

    fn connecting(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.connecting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Waits for an idle connection.
    async fn take(&self) -> Made {
        loop {
            let Ok(one) = self.ready.acquire().await else {
                // The semaphore is never closed.
                return std::future::pending().await;
            };
            one.forget();
            let made = self.waiting().idle.pop();
            match made {
                Some(made) if made.since.elapsed() < LONGEST_WAIT => return made,
                // The connection is too old; or the permit was for a connection that has been given up since.
                _ => {}
            }
        }
    }

    /// Makes a connection idle, unless its generation has been given up.
    fn put(&self, made: Made) {
        let mut waiting = self.waiting();
        if made.generation == waiting.generation {
            let since = Instant::now();
            waiting.idle.push(Made { since, ..made });
            self.ready.add_permits(1);
        }
    }

    /// Ends this generation, if it is the current one. Returns the idle connections, to be closed.
    fn leave(&self, generation: u64) -> Option<Vec<Made>> {
        let mut waiting = self.waiting();
        if generation != waiting.generation {
            return None;
        }
        waiting.generation += 1;
        let closed = std::mem::take(&mut waiting.idle);
        // Permits that were already acquired find no connection, and become no-ops.
        self.ready.forget_permits(closed.len());
        Some(closed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No update of the state can be interrupted halfway, so poisoning is harmless.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a free slot.
async fn slot(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(slots).acquire_owned().await {
        Ok(slot) => slot,
        // The semaphore is never closed.
        Err(_) => std::future::pending().await,
    }
}

/// Waits for the end of an attempt to connect. Returns why it failed, if it did.
async fn failure(attempt: &mut Option<oneshot::Receiver<StoreError>>) -> Option<StoreError> {
    attempt.as_mut()?.await.ok()
}

/// Connects, and runs the lookup statement once: its first execution takes twice as long, because the statement has
/// to be prepared.
async fn ready(options: &PostgresOptions) -> Result<PgConnection, StoreError> {
    let mut connection = connect(options).await?;
    let rehearsal = sqlx::query(LOOKUP).bind(Vec::<Vec<u8>>::new()).bind(0_i64);
    match timeout(options.connect_timeout, rehearsal.execute(&mut connection)).await {
        Ok(Ok(_)) => Ok(connection),
        Ok(Err(error)) => Err(error::store_error(&error)),
        Err(_) => Err(late()),
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
        Err(_) => Err(late()),
    }
}

fn late() -> StoreError {
    StoreError::Unavailable("no connection in time".to_owned())
}

/// Why a server in recovery is not queried.
pub(super) const STANDBY: &str =
    "the server is a standby, which may be behind: connect to the primary";
