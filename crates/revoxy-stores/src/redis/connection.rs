//! One multiplexed connection to Redis, kept alive by a background task.
//!
//! The connection manager of `redis-rs` can hold a command for many seconds while it reconnects, and a caller that
//! gives up discards a half-made connection. Here a separate task connects: a call gets the existing connection or
//! waits for one as long as its deadline allows, and the next call benefits from the connection attempt that an
//! earlier call waited for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::clock::{Backoff, Moment};

use super::super::StoreError;
use super::connector::Connector;
use super::dialer::{Connected, Driver, Protocol};
use super::error::describe;
use super::error::is_of_replica;
use super::error::refused;
use super::error::server_code;
use super::sentinel::PrimaryConfirmation;
use super::server::{Identity, ServerInfo};
use super::trusted_servers::{Trust, TrustedServers};

/// The backoff between connection attempts: initial and maximum. Short, so that a server that comes back is in
/// use again well within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How long a connection that kept a caller waiting may take to answer a PING before it is given up.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The current connection, if there is one.
pub(super) struct Connection {
    live: watch::Receiver<Option<Live>>,
    problems: Arc<Problems>,
    last_error: Arc<Mutex<String>>,
    task: AbortHandle,
}

#[derive(Clone)]
struct Live {
    generation: u64,
    /// The server's identity when the connection was made, if it was queried.
    identity: Identity,
    /// When the server first answered.
    opened: Moment,
    connection: MultiplexedConnection,
    driver: Arc<Driver>,
    confirmation: PrimaryConfirmation,
}

/// Problems that callers reported for the current connection.
#[derive(Default)]
struct Problems {
    worst: Mutex<(u64, Problem)>,
    raised: Notify,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Problem {
    #[default]
    None,
    /// A call was not answered within its deadline: the server may be slow, or the connection half open.
    Slow,
    /// The connection is broken.
    Broken,
}

/// A connection that is lent to one call. Dropping it before the outcome of the call is known means that the
/// call was too slow for its caller.
pub(super) struct Borrowed<'c> {
    pub inner: MultiplexedConnection,
    identity: Identity,
    opened: Moment,
    generation: u64,
    confirmation: PrimaryConfirmation,
    problems: &'c Problems,
    /// Keeps the driver task alive: the call may be answered after the connection has been given up.
    _driver: Arc<Driver>,
    settled: bool,
}

/// Which server answered a call.
pub(super) struct Taken {
    /// The connection that was used.
    pub generation: u64,
    /// What is known of the server.
    pub confirmation: PrimaryConfirmation,
}

impl Connection {
    /// Starts to connect in the background. With `identify`, each new connection first queries which server it
    /// has reached.
    pub fn start(connector: Connector, identify: bool) -> Self {
        let (sender, live) = watch::channel(None);
        let (problems, last_error) = (Arc::<Problems>::default(), Arc::<Mutex<String>>::default());
        let task = ConnectionTask {
            connect_timeout: connector.connect_timeout(),
            connector,
            identify,
            sender,
            problems: Arc::clone(&problems),
            last_error: Arc::clone(&last_error),
        };
        Self {
            live,
            problems,
            last_error,
            task: tokio::spawn(task.run()).abort_handle(),
        }
    }

    /// Returns the connection, as soon as there is one. The caller sets the deadline.
    pub async fn current(&self) -> Result<Borrowed<'_>, StoreError> {
        let mut live = self.live.clone();
        let gone = |_| StoreError::Unavailable("shutting down".to_owned());
        // A connection that is known to be broken, but that the task has not dropped yet, does not count.
        let usable = |live: &Option<Live>| {
            let live = live.as_ref();
            live.is_some_and(|live| !self.problems.is_broken(live.generation))
        };
        let live = live.wait_for(usable).await.map_err(gone)?.clone();
        let Some(live) = live else {
            return Err(StoreError::Unavailable("not connected".to_owned()));
        };
        if !live.confirmation.is_good() {
            let why = "no majority of the Sentinels has lately named this server";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(Borrowed {
            inner: live.connection,
            identity: live.identity,
            opened: live.opened,
            generation: live.generation,
            confirmation: live.confirmation,
            problems: &self.problems,
            _driver: live.driver,
            settled: false,
        })
    }

    /// Requests a new connection, if `generation` is the current one: the server at the other end is not
    /// authoritative.
    pub fn leave(&self, generation: u64) {
        self.problems.raise(generation, Problem::Broken);
    }

    /// Waits for the first connection.
    pub async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        let mut live = self.live.clone();
        match tokio::time::timeout(patience, live.wait_for(Option::is_some)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let last = self
                    .last_error
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                Err(match last.is_empty() {
                    // The first attempt has not finished yet.
                    true => StoreError::Timeout,
                    false => StoreError::Unavailable(last.clone()),
                })
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Borrowed<'_> {
    /// Returns the connection if direct reads over it are believed.
    pub fn trusted_by(mut self, servers: &TrustedServers) -> Result<Self, StoreError> {
        match servers.trust(&self.identity, self.opened) {
            Trust::Trusted => Ok(self),
            Trust::NotYet => {
                self.settled = true;
                let why = "the view has not been complete with this Redis since the connection was opened";
                Err(StoreError::Unavailable(why.to_owned()))
            }
            // A new connection queries the server's identity again.
            Trust::Untrusted => Err(self.unfit(
                "not a Redis process, or not a history, that the view was last complete with",
            )),
        }
    }

    /// Reports that the call was answered. Returns which server answered.
    pub fn answered(mut self) -> Taken {
        self.settled = true;
        Taken {
            generation: self.generation,
            confirmation: self.confirmation.clone(),
        }
    }

    /// Reports that the server answered, but must not be queried: another server has to be found.
    pub fn unfit(mut self, why: &str) -> StoreError {
        self.settled = true;
        self.problems.raise(self.generation, Problem::Broken);
        StoreError::Unavailable(why.to_owned())
    }

    /// Reports that the call failed. Returns the error for the caller.
    pub fn failed(mut self, error: &RedisError) -> StoreError {
        self.settled = true;
        let code = server_code(error);
        if code.is_some_and(|c| c != "LOADING" && c != "READONLY") && !is_of_replica(error) {
            return refused(error);
        }
        self.problems.raise(self.generation, Problem::Broken);
        StoreError::Unavailable(describe(error))
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.problems.raise(self.generation, Problem::Slow);
        }
    }
}

impl Problems {
    fn raise(&self, generation: u64, problem: Problem) {
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        if (generation, problem) > *worst {
            *worst = (generation, problem);
            self.raised.notify_one();
        }
    }

    fn is_broken(&self, generation: u64) -> bool {
        let worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst == (generation, Problem::Broken)
    }

    /// Returns the problem that was reported for this generation, and resets it, except that a broken connection
    /// stays broken.
    fn take(&self, generation: u64) -> Problem {
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        match *worst {
            (of, problem) if of == generation => {
                if problem == Problem::Slow {
                    worst.1 = Problem::None;
                }
                problem
            }
            _ => Problem::None,
        }
    }
}

/// The task that keeps the connection alive.
struct ConnectionTask {
    connector: Connector,
    identify: bool,
    connect_timeout: Duration,
    sender: watch::Sender<Option<Live>>,
    problems: Arc<Problems>,
    last_error: Arc<Mutex<String>>,
}

impl Drop for ConnectionTask {
    /// Nothing monitors the connection any more, so it must not be used.
    fn drop(&mut self) {
        self.sender.send_replace(None);
    }
}

impl ConnectionTask {
    async fn run(self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut generation = 0;
        loop {
            match self.connect().await {
                Ok((made, identity)) => {
                    generation += 1;
                    backoff.reset();
                    tracing::info!(server = %made.at, "connected to Redis");
                    let confirmation = self.connector.confirmation(&made.at);
                    self.sender.send_replace(Some(Live {
                        generation,
                        identity,
                        opened: Moment::now(),
                        connection: made.connection.clone(),
                        driver: Arc::new(made.driver),
                        confirmation: confirmation.clone(),
                    }));
                    tokio::select! {
                        () = self.until_broken(generation, made.connection) => {}
                        () = confirmation.superseded() => {
                            tracing::warn!("the Sentinels name another primary");
                        }
                    }
                    self.sender.send_replace(None);
                    tracing::warn!("lost the connection to Redis");
                }
                Err(error) => {
                    let mut last = self
                        .last_error
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    if *last != error {
                        tracing::warn!(error, "cannot connect to Redis; trying again");
                        *last = error;
                    }
                }
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn connect(&self) -> Result<(Connected, Identity), String> {
        let made = self.connector.connect(Protocol::Resp2).await;
        let mut made = made.map_err(|e| e.to_string())?;
        let connection = &mut made.connection;
        let greet = async {
            let _: String = redis::cmd("PING").query_async(connection).await?;
            let server = match self.identify {
                true => ServerInfo::read(connection).await?,
                false => ServerInfo::default(),
            };
            Ok(server.identity)
        };
        match tokio::time::timeout(self.connect_timeout, greet).await {
            Ok(Ok(identity)) => Ok((made, identity)),
            Ok(Err(error)) => Err(made.describe(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn until_broken(&self, generation: u64, mut connection: MultiplexedConnection) {
        loop {
            self.problems.raised.notified().await;
            match self.problems.take(generation) {
                Problem::None => {}
                Problem::Broken => return,
                Problem::Slow => {
                    let ping = redis::cmd("PING");
                    let probe = ping.query_async::<String>(&mut connection);
                    if !matches!(tokio::time::timeout(PROBE_TIMEOUT, probe).await, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }
}
