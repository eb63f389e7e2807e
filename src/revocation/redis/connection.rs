//! One multiplexed connection to Redis, kept by a background task.
//!
//! `redis-rs`' own connection manager can keep a command waiting for many seconds while it reconnects, and a caller
//! that gives up takes a half-made connection with it. Here a task of its own connects, so a call finds a connection
//! or waits for one as long as its deadline allows, and the next call profits from what the last began.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, ServerError};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::super::StoreError;
use super::connector::{Connected, Connector, Driver, Protocol};
use super::sentinel::Standing;
use super::server::{Identity, ServerInfo};

/// Pauses between attempts to connect: from the first to the longest. Short, so that a server that is back is in use
/// again well within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// How long a connection that kept a caller waiting may take to answer a PING before it is given up.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The connection, or the lack of one.
pub(super) struct Connection {
    live: watch::Receiver<Option<Live>>,
    doubts: Arc<Doubts>,
    last_error: Arc<Mutex<String>>,
    keeper: AbortHandle,
}

#[derive(Clone)]
struct Live {
    generation: u64,
    /// Which data the server held when the connection was made, where it was asked.
    identity: Identity,
    connection: MultiplexedConnection,
    driver: Arc<Driver>,
    standing: Standing,
}

/// What callers have met on the present connection.
#[derive(Default)]
struct Doubts {
    worst: Mutex<(u64, Doubt)>,
    raised: Notify,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    #[default]
    None,
    /// A call was not answered in its time: the server may be slow, or the connection half open.
    Slow,
    /// The connection is broken.
    Broken,
}

/// The connection of one call. A call that is dropped before its outcome is known was too slow for its caller.
pub(super) struct Borrowed<'c> {
    pub inner: MultiplexedConnection,
    pub identity: Identity,
    generation: u64,
    standing: Standing,
    doubts: &'c Doubts,
    /// A call under way may be answered after the connection has been given up.
    _driver: Arc<Driver>,
    settled: bool,
}

/// Who answered a call.
pub(super) struct Taken {
    /// By which connection.
    pub generation: u64,
    /// What is known of the server.
    pub standing: Standing,
}

impl Connection {
    /// Starts to connect. With `identify` each new connection first asks which server it has met.
    pub fn start(connector: Connector, identify: bool) -> Self {
        let (sender, live) = watch::channel(None);
        let (doubts, last_error) = (Arc::<Doubts>::default(), Arc::<Mutex<String>>::default());
        let keeper = Keeper {
            connect_timeout: connector.connect_timeout(),
            connector,
            identify,
            sender,
            doubts: Arc::clone(&doubts),
            last_error: Arc::clone(&last_error),
        };
        Self {
            live,
            doubts,
            last_error,
            keeper: tokio::spawn(keeper.run()).abort_handle(),
        }
    }

    /// The connection, as soon as there is one: the caller sets the deadline.
    pub async fn current(&self) -> Result<Borrowed<'_>, StoreError> {
        let mut live = self.live.clone();
        let gone = |_| StoreError::Unavailable("shutting down".to_owned());
        // One that is known to be broken, and that the keeper has yet to put away, is none.
        let usable = |live: &Option<Live>| {
            let live = live.as_ref();
            live.is_some_and(|live| !self.doubts.is_broken(live.generation))
        };
        let live = live.wait_for(usable).await.map_err(gone)?.clone();
        let Some(live) = live else {
            return Err(StoreError::Unavailable("not connected".to_owned()));
        };
        if !live.standing.is_good() {
            let why = "no majority of the Sentinels has lately named this server";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(Borrowed {
            inner: live.connection,
            identity: live.identity,
            generation: live.generation,
            standing: live.standing,
            doubts: &self.doubts,
            _driver: live.driver,
            settled: false,
        })
    }

    /// Has a connection made anew, if this is still it: who is at the other end does not count.
    pub fn leave(&self, generation: u64) {
        self.doubts.raise(generation, Doubt::Broken);
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
                Err(StoreError::Unavailable(last.clone()))
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Borrowed<'_> {
    /// The call was answered; tells by whom.
    pub fn answered(mut self) -> Taken {
        self.settled = true;
        Taken {
            generation: self.generation,
            standing: self.standing.clone(),
        }
    }

    /// The server answered, but not as one that may be asked: find out whom else to ask.
    pub fn unfit(mut self, why: &str) -> StoreError {
        self.settled = true;
        self.doubts.raise(self.generation, Doubt::Broken);
        StoreError::Unavailable(why.to_owned())
    }

    /// The call failed; says how.
    pub fn failed(mut self, error: &RedisError) -> StoreError {
        self.settled = true;
        let code = server_code(error);
        if code.is_some_and(|c| c != "LOADING" && c != "READONLY") && !is_of_replica(error) {
            return refused(error);
        }
        self.doubts.raise(self.generation, Doubt::Broken);
        StoreError::Unavailable(describe(error))
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.doubts.raise(self.generation, Doubt::Slow);
        }
    }
}

impl Doubts {
    fn raise(&self, generation: u64, doubt: Doubt) {
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        if (generation, doubt) > *worst {
            *worst = (generation, doubt);
            self.raised.notify_one();
        }
    }

    fn is_broken(&self, generation: u64) -> bool {
        let worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        *worst == (generation, Doubt::Broken)
    }

    /// What there is to look into. A broken connection stays so.
    fn take(&self, generation: u64) -> Doubt {
        let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
        match *worst {
            (of, doubt) if of == generation => {
                if doubt == Doubt::Slow {
                    worst.1 = Doubt::None;
                }
                doubt
            }
            _ => Doubt::None,
        }
    }
}

/// The task that keeps the connection.
struct Keeper {
    connector: Connector,
    identify: bool,
    connect_timeout: Duration,
    sender: watch::Sender<Option<Live>>,
    doubts: Arc<Doubts>,
    last_error: Arc<Mutex<String>>,
}

impl Drop for Keeper {
    /// Nobody looks after the connection any more: nobody should use it.
    fn drop(&mut self) {
        self.sender.send_replace(None);
    }
}

impl Keeper {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut generation = 0;
        loop {
            match self.connect().await {
                Ok((made, identity)) => {
                    generation += 1;
                    pause = FIRST_PAUSE;
                    tracing::info!(server = %made.at, "connected to Redis");
                    let standing = self.connector.standing(&made.at);
                    self.sender.send_replace(Some(Live {
                        generation,
                        identity,
                        connection: made.connection.clone(),
                        driver: Arc::new(made.driver),
                        standing: standing.clone(),
                    }));
                    tokio::select! {
                        () = self.until_broken(generation, made.connection) => {}
                        () = standing.superseded() => {
                            tracing::warn!("the Sentinels name another Redis server");
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
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
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
            self.doubts.raised.notified().await;
            match self.doubts.take(generation) {
                Doubt::None => {}
                Doubt::Broken => return,
                Doubt::Slow => {
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

/// The code with which the server itself refused. The library does not tell that of a command within a pipeline.
pub(super) fn server_code(error: &RedisError) -> Option<String> {
    let refused = error.clone().into_server_errors()?;
    refused.first().map(|(_, e)| e.code().to_owned())
}

/// The command that the server has refused for want of a right, in the server's words: they name no key and no value.
fn refused_command(error: &RedisError) -> Option<String> {
    let refused = error.clone().into_server_errors()?;
    let (_, first) = refused.first()?;
    let (_, rest) = first.details()?.split_once("permissions to run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_a_name = |c: char| c.is_ascii_alphanumeric() || "|-_.".contains(c);
    (command.len() < 64 && command.chars().all(is_a_name)).then(|| command.to_owned())
}

/// Whether the user may not do what a script does. Redis before 7.2 does not name the command.
fn is_refused_in_script(error: &RedisError) -> bool {
    let refused = error.clone().into_server_errors().unwrap_or_default();
    let details = refused.first().and_then(|(_, e)| e.details());
    details.is_some_and(|text| text.contains("The user executing the script can't"))
}

/// What a server that has answered with an error says: of one key, or of itself.
pub(super) fn refused(error: &RedisError) -> StoreError {
    let refusals = error.clone().into_server_errors().unwrap_or_default();
    let is_of_key = |refusal: &ServerError| match refusal.code() {
        "WRONGTYPE" => true,
        // "No permissions to access a key" (Redis 7), "… to access one of the keys" (Redis 6); of a command it says that the user
        // may not run it.
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

/// Whether a replica has refused a write. Of one in a script, Redis 6 says so only in the text.
fn is_of_replica(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|text| text.contains("-READONLY"))
}

/// What an error may say in a log: kind and server code, and the server's own words only about who we are to it.
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
