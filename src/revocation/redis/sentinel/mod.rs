//! Sentinel: who the primary is, asked for anew all the time.
//!
//! # Why a primary that was replaced is not believed
//!
//! A primary that is cut off from its Sentinels goes on answering as one, while they make another. So what a server says of itself
//! proves nothing. Every Sentinel is asked over a connection of its own, four times in `confirmed_within` and whenever a heartbeat
//! is sent, at the same time as that: it costs no extra wait.
//!
//! The promise is about writes that the *store* has acknowledged, and the store is the server that a Sentinel names. Let such
//! a write be acknowledged at *w*, by a server that at least one Sentinel named by then, and let a server be confirmed
//! (`Votes::confirmed`) as of *c* > *w*. Then a majority named the confirmed server, all that named it were asked at *c* or later, and no
//! Sentinel that answered knew of a later failover. So the two are one and the same, and a view that is fresh as of min(heartbeat, *c*) has
//! that write.
//! Direct reads and writes are for a server that was confirmed within `confirmed_within` of being asked; for others there is
//! no answer, as if it could not be reached.
//!
//! A server that a majority replaces is left at once, and the next connection looks anew.
//!
//! # What Sentinel cannot give
//!
//! - Replication is asynchronous: the new primary may lack what the old one acknowledged last. What a view of ours had seen is written
//!   back (see `feed.rs`).
//! - What the old primary acknowledges after the failover is lost when it becomes a replica, to everybody. `min-replicas-to-write 1` on
//!   the servers makes it refuse instead.
//! - The Sentinel that led a failover tells the others within moments. If it can be reached by whoever writes and not by us, then in
//!   these moments, and only then, its word is missing above.

mod standing;
mod votes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Moment;

use super::connection::server_code;
use super::connector::{Address, Connected, Connector, Protocol};

pub(super) use standing::Standing;
pub(super) use votes::Votes;
use votes::{Answer, Majority};

/// The least time that a Sentinel is given to answer.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// The Sentinels, and the tasks that ask them.
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

/// Who asks one Sentinel.
struct Attendant {
    index: usize,
    sentinel: Connector,
    master: String,
    /// How often it is asked, unless sooner.
    every: Duration,
    questions: watch::Receiver<()>,
    votes: Arc<watch::Sender<Votes>>,
}

impl Sentinels {
    /// Begins to ask: `nodes` are the Sentinels with their names, `master` is what they call the primary.
    pub(super) fn ask_from_now_on(
        nodes: &[(String, Connector)],
        master: &str,
        confirmed_within: Duration,
    ) -> Self {
        let named = Votes::of(nodes.iter().map(|(name, _)| name.clone()));
        let (sender, votes) = watch::channel(named);
        let (sender, (questions, heard)) = (Arc::new(sender), watch::channel(()));
        let attend = |(index, (_, sentinel)): (usize, &(String, Connector))| {
            let attendant = Attendant {
                index,
                sentinel: sentinel.clone(),
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

    /// Has all of them asked now.
    pub(super) fn ask(&self) {
        self.questions.send_replace(());
    }

    /// What they say, now and from now on.
    pub(super) fn votes(&self) -> watch::Receiver<Votes> {
        self.votes.clone()
    }

    /// Where the primary is, in answers to questions that are asked now. The caller sets the deadline.
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
            if matches!(answer, Answer::Failed(_)) {
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

    /// Asks once, over the connection that there is or a new one. Tells when it asked.
    async fn ask(&self, connection: &mut Option<Connected>) -> (Moment, Answer) {
        let mut made = match connection.take() {
            Some(made) => made,
            None => match self.sentinel.connect(Protocol::Resp2).await {
                Ok(made) => made,
                Err(error) => return (Moment::now(), Answer::Failed(error.to_string())),
            },
        };
        let asked = Moment::now();
        // The epoch before and after, so that address and epoch are surely of one failover.
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
            Ok(Err(error)) if is_unknown(&error) => Answer::Unknown,
            Ok(Err(error)) if server_code(&error).as_deref() == Some("ERR") => {
                Answer::Failed("this is no Sentinel; a Redis without is named by `url`".to_owned())
            }
            Ok(Err(error)) => Answer::Failed(made.describe(&error)),
            Err(_) => Answer::Failed("no answer in time".to_owned()),
        };
        *connection = Some(made);
        (asked, answer)
    }
}

type State = HashMap<String, Value>;

fn read((before, address, after): (State, Option<(String, u16)>, State)) -> Answer {
    let epoch = |state: &State| match state.get("config-epoch") {
        Some(Value::BulkString(epoch)) => str::from_utf8(epoch).ok()?.parse().ok(),
        _ => None,
    };
    match (epoch(&before), address, epoch(&after)) {
        (_, None, _) => Answer::Unknown,
        (Some(before), Some((host, port)), Some(after)) if before == after => {
            Answer::Names(Address::Tcp(host, port), after)
        }
        (Some(_), Some(_), Some(_)) => Answer::Failed("in the middle of a failover".to_owned()),
        _ => Answer::Failed("an answer without an epoch".to_owned()),
    }
}

/// Whether the Sentinel says that it watches no primary of that name.
fn is_unknown(error: &redis::RedisError) -> bool {
    let refused = error.clone().into_server_errors();
    let says_so =
        |e: &redis::ServerError| e.details().is_some_and(|d| d.starts_with("No such master"));
    refused.is_some_and(|errors| errors.iter().any(|(_, e)| says_so(e)))
}
