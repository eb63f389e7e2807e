//! Connections for direct reads and writes: some that wait for their next use, and never more than configured.
//!
//! Not the library's pool: that one asks a connection whether it lives before and after every use, and keeps one whose
//! caller has given up until the server answers, however long that takes. Here a connection that was not given back
//! after an answer is closed, and one that broke takes all that were made before with it, for they were made to the
//! same server.
//!
//! A connection is made in a task of its own, which goes on when its caller has given up: to connect takes ten times as
//! long as to ask, so a check's deadline may leave time for a lookup and never for a connection. What such a task has
//! made waits for the next caller.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::StoreError;
use super::{LOOKUP, PostgresOptions, error};

/// Longer than any statement of ours takes: what a caller has given up does not burden the server for ever.
const STATEMENT_TIMEOUT: &str = "30s";
/// A connection that has waited longer may have been forgotten by a firewall on the way.
const LONGEST_WAIT: Duration = Duration::from_secs(240);

/// The pool.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// The tasks that connect: no more than slots, and they end with the pool.
    connecting: Mutex<JoinSet<()>>,
}

/// What the tasks that connect know of the pool.
struct Shared {
    options: PostgresOptions,
    /// One for each connection that there may be: in use, waiting, or being made.
    slots: Arc<Semaphore>,
    /// At least one for each connection that waits.
    ready: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// How often all connections have been given up. One of an earlier generation is not used again.
    generation: u64,
    /// The one that was used last comes last, and is used next.
    idle: Vec<Made>,
}

/// A connection.
struct Made {
    connection: PgConnection,
    generation: u64,
    /// When it was made or used last.
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

    /// Does `work` with a connection.
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
                // Nothing but an answer of the server leaves a connection that can be used again.
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

    /// Gives up what was made, or begun, before now: it is to be made anew.
    pub(super) fn forget(&self) {
        let generation = self.shared.waiting().generation;
        self.leave(generation);
    }

    /// The same, if this is the present generation. Of those that break together only the first gives up the others.
    fn leave(&self, generation: u64) {
        let Some(closed) = self.shared.leave(generation) else {
            return;
        };
        drop(closed);
        // Whoever still waits for one of these begins anew.
        self.connecting().abort_all();
    }

    /// A connection: one that waits, or is given back, or made, whichever comes first.
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
                    // It was made, and somebody else was quicker; or it was begun before all were given up.
                    None => attempt = None,
                },
                // An attempt has a deadline of its own.
                () = &mut patience, if attempt.is_none() => return Err(StoreError::Timeout),
                slot = slot(&self.shared.slots), if attempt.is_none() => attempt = Some(self.connect(slot)),
            }
        }
    }

    /// Connects in a task, which puts what it has made among those that wait. The receiver hears of a failure, and
    /// otherwise of the end.
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
                    // Its caller may have gone.
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
    /// Waits for a connection that waits.
    async fn take(&self) -> Made {
        loop {
            let Ok(one) = self.ready.acquire().await else {
                // Nobody closes it.
                return std::future::pending().await;
            };
            one.forget();
            let made = self.waiting().idle.pop();
            match made {
                Some(made) if made.since.elapsed() < LONGEST_WAIT => return made,
                // Too old; or what was announced has been given up since.
                _ => {}
            }
        }
    }

    /// Lets a connection wait for its next use, unless its generation has been given up.
    fn put(&self, made: Made) {
        let mut waiting = self.waiting();
        if made.generation == waiting.generation {
            let since = Instant::now();
            waiting.idle.push(Made { since, ..made });
            self.ready.add_permits(1);
        }
    }

    /// Ends this generation, if it is the present one: what waited, to be closed.
    fn leave(&self, generation: u64) -> Option<Vec<Made>> {
        let mut waiting = self.waiting();
        if generation != waiting.generation {
            return None;
        }
        waiting.generation += 1;
        let closed = std::mem::take(&mut waiting.idle);
        // Those that somebody has already taken lead to nothing, and are then forgotten.
        self.ready.forget_permits(closed.len());
        Some(closed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No change to it can be broken off half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot, once there is a free one.
async fn slot(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(slots).acquire_owned().await {
        Ok(slot) => slot,
        // Nobody closes them.
        Err(_) => std::future::pending().await,
    }
}

/// Waits for the end of an attempt to connect: why it failed, if it did.
async fn failure(attempt: &mut Option<oneshot::Receiver<StoreError>>) -> Option<StoreError> {
    attempt.as_mut()?.await.ok()
}

/// Connects, and asks once as checks do: a first time takes twice as long, because the statement has to be prepared.
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

/// Why a server in recovery is not asked.
pub(super) const STANDBY: &str =
    "the server is a standby, which may be behind: connect to the primary";
