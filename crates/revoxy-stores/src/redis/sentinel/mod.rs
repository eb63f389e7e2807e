//! Sentinel: continuously determines which server is the primary.
//!
//! # Why a replaced primary is not trusted
//!
//! A primary that is cut off from its Sentinels continues to answer as a primary, while the Sentinels promote
//! another server. So the role that a server reports about itself proves nothing. Every Sentinel is queried over a
//! connection of its own, four times in `confirmed_within`, and in parallel with each heartbeat, so that the query
//! adds no latency.
//!
//! The guarantee covers writes that the *store* has acknowledged, where the store is the server that a Sentinel
//! names. Let such a write be acknowledged at *w*, by a server that at least one Sentinel named by then, and let a
//! server be confirmed (`Votes::confirmed`) as of *c* > *w*. Then a majority named the confirmed server, every
//! Sentinel that named it was queried at *c* or later, and no Sentinel that answered knew of a later failover. So
//! the two servers are the same, and a view that is fresh as of min(heartbeat, *c*) contains that write.
//!
//! Direct reads and writes go only to a server that was confirmed within `confirmed_within` before the call;
//! otherwise the call fails, as if the server could not be reached.
//!
//! When a majority names another server, the connection to the replaced server is dropped at once, and the next
//! connection asks the Sentinels again.
//!
//! # What Sentinel cannot guarantee
//!
//! - Replication is asynchronous: the new primary may lack the last writes that the old primary acknowledged. Those
//!   writes that one of our views had seen are written back (see `feed.rs`).
//! - Writes that the old primary acknowledges after the failover are lost when it becomes a replica.
//!   `min-replicas-to-write 1` on the servers makes the old primary refuse such writes.
//! - The Sentinel that led a failover informs the others within moments. If the writer can reach that Sentinel
//!   and we cannot, then its vote is missing from the argument above during these moments, and only then.

mod confirmation;
mod votes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Moment;

use super::address::Address;
use super::dialer::{Connected, Dialer, Protocol};
use super::error::has_code;

pub(super) use confirmation::PrimaryConfirmation;
pub(super) use votes::Votes;
use votes::{Majority, SentinelAnswer};

/// The minimum time that a Sentinel gets to answer.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// The Sentinels, and the tasks that query them.
pub(super) struct Sentinels {
    votes: watch::Receiver<Votes>,
    questions: watch::Sender<()>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The task that queries one Sentinel.
struct Attendant {
    index: usize,
    at: Address,
    dialer: Dialer,
    master: String,
    /// The query interval, unless a query is requested sooner.
    every: Duration,
    questions: watch::Receiver<()>,
    votes: Arc<watch::Sender<Votes>>,
}

impl Sentinels {
    /// Starts to query the Sentinels at these addresses. `master` is their name for the primary.
    pub(super) fn ask_from_now_on(
        nodes: &[Address],
        dialer: &Dialer,
        master: &str,
        confirmed_within: Duration,
    ) -> Self {
        let named = Votes::of(nodes.iter().map(Address::to_string));
        let (sender, votes) = watch::channel(named);
        let (sender, (questions, heard)) = (Arc::new(sender), watch::channel(()));
        let attend = |(index, at): (usize, &Address)| {
            let attendant = Attendant {
                index,
                at: at.clone(),
                dialer: dialer.clone(),
                master: master.to_owned(),
                every: confirmed_within / 4,
                questions: heard.clone(),
                votes: Arc::clone(&sender),
            };
            tokio::spawn(attendant.run()).abort_handle()
        };
        let tasks = nodes.iter().enumerate().map(attend).collect();
        Self {
            votes,
            questions,
            tasks,
        }
    }

    /// Requests a query of all Sentinels now.
    pub(super) fn ask(&self) {
        self.questions.send_replace(());
    }

    /// Returns the current and all future votes.
    pub(super) fn votes(&self) -> watch::Receiver<Votes> {
        self.votes.clone()
    }

    /// Returns the primary's address, from answers to queries that start now. The caller sets the deadline.
    pub(super) async fn primary(&self) -> Result<Address, String> {
        let since = Moment::now();
        self.ask();
        let mut votes = self.votes.clone();
        let decided = votes.wait_for(|v| v.primary(since) != Majority::Open).await;
        match decided.map(|v| v.primary(since)) {
            Ok(Majority::For(address)) => Ok(address),
            Ok(Majority::None(why)) => Err(why),
            Ok(Majority::Open) | Err(_) => Err("shutting down".to_owned()),
        }
    }
}

impl Attendant {
    async fn run(mut self) {
        let mut connection = None;
        loop {
            let (asked, answer) = self.ask(&mut connection).await;
            if matches!(answer, SentinelAnswer::Failed(_)) {
                connection = None;
            }
            self.votes
                .send_modify(|votes| votes.record(self.index, asked, answer));
            match timeout(self.every, self.questions.changed()).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(_)) => return,
            }
        }
    }

    /// Queries the Sentinel once, over the existing connection or a new one. Returns when the query was sent, and
    /// the answer.
    async fn ask(&self, connection: &mut Option<Connected>) -> (Moment, SentinelAnswer) {
        let mut made = match connection.take() {
            Some(made) => made,
            None => match self.dialer.to(self.at.clone(), Protocol::Resp2).await {
                Ok(made) => made,
                Err(error) => return (Moment::now(), SentinelAnswer::Failed(error.to_string())),
            },
        };
        let asked = Moment::now();
        // Queries the epoch before and after the address, to make sure that address and epoch belong to the
        // same failover.
        let mut questions = redis::pipe();
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        questions
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.master);
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        let answered = questions.query_async(&mut made.connection);
        let answer = match timeout(self.every.max(LEAST_PATIENCE), answered).await {
            Ok(Ok(answers)) => read(answers),
            Ok(Err(error)) if is_unknown(&error) => SentinelAnswer::Unknown,
            Ok(Err(error)) if has_code(&error, &["ERR"]) => SentinelAnswer::Failed(
                "this is no Sentinel; a Redis without is named by `url`".to_owned(),
            ),
            Ok(Err(error)) => SentinelAnswer::Failed(made.describe(&error)),
            Err(_) => SentinelAnswer::Failed("no answer in time".to_owned()),
        };
        *connection = Some(made);
        (asked, answer)
    }
}

type State = HashMap<String, Value>;

fn read((before, address, after): (State, Option<(String, u16)>, State)) -> SentinelAnswer {
    let epoch = |state: &State| match state.get("config-epoch") {
        Some(Value::BulkString(epoch)) => str::from_utf8(epoch).ok()?.parse().ok(),
        _ => None,
    };
    match (epoch(&before), address, epoch(&after)) {
        (_, None, _) => SentinelAnswer::Unknown,
        (Some(before), Some((host, port)), Some(after)) if before == after => {
            SentinelAnswer::Names(Address::Tcp(host, port), after)
        }
        (Some(_), Some(_), Some(_)) => {
            SentinelAnswer::Failed("in the middle of a failover".to_owned())
        }
        _ => SentinelAnswer::Failed("an answer without an epoch".to_owned()),
    }
}

/// Returns whether the Sentinel reports that it monitors no primary of that name.
fn is_unknown(error: &redis::RedisError) -> bool {
    let refused = error.clone().into_server_errors();
    let says_so =
        |e: &redis::ServerError| e.details().is_some_and(|d| d.starts_with("No such master"));
    refused.is_some_and(|errors| errors.iter().any(|(_, e)| says_so(e)))
}
