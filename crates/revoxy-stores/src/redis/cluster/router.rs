//! Direct reads and writes: a connection to each primary, and the slot owners, which `surveyor.rs` queries
//! continuously.
//!
//! A primary that is cut off from the others continues to answer for a while, although another node has taken
//! its place. So an answer counts only if a majority of the primaries has confirmed the node within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{FromRedisValue as _, Pipeline, Value};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Moment;

use super::super::super::StoreError;
use super::super::super::key::PREFIX;
use super::super::address::Address;
use super::super::connector::Connector;
use super::super::error::{parsed, refused};
use super::super::scan::scan;
use super::super::script::Call;
use super::super::server::{self, RespVersion};
use super::super::trusted_servers::TrustedServers;
use super::discovery;
use super::queries::{self, Answer, Nodes, Question};
use super::surveyor::{Map, Surveyor};

/// The maximum number of tries for a call during a change of the cluster.
const MOST_TRIES: usize = 4;
/// How long a write waits until a majority of primaries has confirmed the topology.
const CONFIRMING: Duration = Duration::from_secs(5);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Routes calls to the right node.
pub(in super::super) struct Router {
    map: watch::Receiver<Option<Arc<Map>>>,
    /// The maximum age of the confirmation by a majority of primaries.
    bound: Duration,
    look: Arc<Notify>,
    last_error: Arc<Mutex<String>>,
    surveyor: AbortHandle,
}

/// The maximum age of the confirmation by a majority of primaries if nothing is configured, that is, without a view.
pub(in super::super) const BOUND: Duration = Duration::from_secs(1);

impl Drop for Router {
    fn drop(&mut self) {
        self.surveyor.abort();
    }
}

impl Router {
    /// Starts to look for the primaries. With `identify`, each connection first queries which server it has reached.
    pub(in super::super) fn start(connector: Connector, bound: Duration, identify: bool) -> Self {
        let (sender, map) = watch::channel(None);
        let (look, last_error) = (Arc::<Notify>::default(), Arc::<Mutex<String>>::default());
        let surveyor = Surveyor {
            connector,
            identify,
            every: bound / 4,
            sender,
            look: Arc::clone(&look),
            last_error: Arc::clone(&last_error),
        };
        Self {
            map,
            bound,
            look,
            last_error,
            surveyor: tokio::spawn(surveyor.run()).abort_handle(),
        }
    }

    /// Waits until the cluster has been discovered and each primary is connected.
    pub(in super::super) async fn ready(&self, patience: Duration) -> Result<(), StoreError> {
        let Ok(map) = timeout(patience, self.current()).await else {
            let last = self.last_error.lock();
            let why = last.unwrap_or_else(PoisonError::into_inner).clone();
            return Err(match why == discovery::NOT_A_CLUSTER {
                true => StoreError::Failed(why),
                false => StoreError::Unavailable(why),
            });
        };
        let waits = map?.nodes.clone();
        let waits = waits.iter().map(|node| node.ready(patience));
        join_all(waits).await.into_iter().collect()
    }

    /// Waits until a majority of primaries has confirmed the topology after `at`.
    pub(in super::super) async fn confirmed_after(&self, at: Moment) -> Result<(), StoreError> {
        let mut maps = self.map.clone();
        self.look.notify_one();
        let later = |map: &Option<Arc<Map>>| {
            let confirmed = map.as_ref().and_then(|m| m.confirmed);
            confirmed.is_some_and(|confirmed| confirmed >= at)
        };
        match timeout(CONFIRMING, maps.wait_for(later)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Unavailable("shutting down".to_owned())),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Returns the map, as soon as there is one that a majority of primaries has confirmed within the bound.
    /// The caller sets the deadline.
    async fn current(&self) -> Result<Arc<Map>, StoreError> {
        let gone = |_| StoreError::Unavailable("shutting down".to_owned());
        let mut maps = self.map.clone();
        let counts = |map: &Option<Arc<Map>>| {
            let confirmed = map.as_ref().and_then(|m| m.confirmed);
            confirmed.is_some_and(|at| at.elapsed() <= self.bound)
        };
        let map = maps.wait_for(counts).await.map_err(gone)?.clone();
        map.ok_or_else(|| StoreError::Unavailable("not connected".to_owned()))
    }

    /// Queries keys, wherever they are; with `trusted`, only on trusted nodes. Returns one value per command,
    /// none of which is an error.
    pub(in super::super) async fn ask(
        &self,
        questions: &[Question],
        trusted: Option<&TrustedServers>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut tries = 0;
        loop {
            let map = self.current().await?;
            let asking = Asking {
                map: &map,
                trusted,
                maps: self.map.clone(),
            };
            let asked = queries::ask(&asking, questions).await.and_then(values);
            tries += 1;
            match asked {
                Err(StoreError::Unavailable(_)) if tries < MOST_TRIES => {
                    self.look.notify_one();
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Reads the values of keys and their remaining lives in ms, each key atomically.
    pub(in super::super) async fn read(
        &self,
        keys: &[String],
    ) -> Result<Vec<(Option<Vec<u8>>, i64)>, StoreError> {
        let questions: Vec<_> = keys.iter().map(|key| Question::reading(key)).collect();
        let answers = self.ask(&questions, None).await?;
        let answers = answers.into_iter().flatten().map(|answer| {
            let (left, value, _): (i64, Option<Vec<u8>>, u64) = parsed(answer)?;
            Ok((value, left))
        });
        answers.collect()
    }

    /// Runs a script for tokens.
    pub(in super::super) async fn call(&self, call: Call) -> Result<(), StoreError> {
        let Some(key) = call.keys.first() else {
            return Ok(());
        };
        // Sends the whole script and not its hash, because another node may not have the script cached.
        let mut eval = redis::cmd("EVAL");
        eval.arg(call.script.text())
            .arg(call.keys.len())
            .arg(&call.keys)
            .arg(&call.arguments);
        let questions = [Question::about(key, eval)];
        self.ask(&questions, None).await.map(drop)
    }

    /// Reads the next batch of key names. A position names the node that it is on; nodes are ordered by their ids.
    pub(in super::super) async fn scan(
        &self,
        position: Option<&str>,
    ) -> Result<(Vec<Vec<u8>>, Option<String>), StoreError> {
        let bad = || StoreError::Failed("`after` is none of our cursors".to_owned());
        let map = self.current().await?;
        let primaries = &map.topology.primaries;
        let (place, cursor) = match position {
            None => (0, 0),
            Some(text) => {
                let (id, cursor) = text.split_once(':').ok_or_else(bad)?;
                let cursor: u64 = cursor.parse().map_err(|_| bad())?;
                // If the node of the position is gone, its keys are on other nodes now, which are as likely to come
                // before this position as after it.
                let place = primaries.partition_point(|p| p.id.as_str() < id);
                let is_there = primaries.get(place).is_some_and(|p| p.id == id);
                (place, if is_there { cursor } else { 0 })
            }
        };
        let Some(node) = map.nodes.get(place) else {
            return Ok((Vec::new(), None));
        };
        let mut connection = node.current().await?;
        match scan(
            &mut connection.inner,
            cursor,
            format!("{PREFIX}*").as_bytes(),
        )
        .await
        {
            Ok((next, names)) => {
                connection.answered();
                let next = match next {
                    0 => primaries.get(place + 1).map(|p| format!("{}:0", p.id)),
                    next => Some(format!("{}:{next}", primaries[place].id)),
                };
                Ok((names, next))
            }
            Err(error) => Err(connection.failed(&error)),
        }
    }
}

/// Returns the values, or an error if any command was not answered or was answered with an error.
fn values(answers: Vec<Answer>) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut all = Vec::with_capacity(answers.len());
    for answer in answers {
        let values = answer.map_err(|error| {
            StoreError::Unavailable(format!(
                "no node of the cluster answers for a slot: {}",
                error.code()
            ))
        })?;
        for value in &values {
            if let Value::ServerError(error) = value {
                return Err(refused(&error.clone().into()));
            }
        }
        all.push(values);
    }
    Ok(all)
}

/// The nodes as one call sees them.
struct Asking<'r> {
    map: &'r Map,
    trusted: Option<&'r TrustedServers>,
    maps: watch::Receiver<Option<Arc<Map>>>,
}

impl Nodes for Asking<'_> {
    type Error = StoreError;

    fn owner(&self, slot: u16) -> Option<usize> {
        self.map.topology.owner(slot)
    }

    fn at(&self, address: &Address) -> Option<usize> {
        self.map.topology.at(address)
    }

    fn address(&self, node: usize) -> &Address {
        &self.map.topology.primaries[node].at
    }

    async fn send(&self, node: usize, mut pipeline: Pipeline) -> Result<Vec<Value>, StoreError> {
        let node = &self.map.nodes[node];
        let mut maps = self.maps.clone();
        let others = |now: &Option<Arc<Map>>| {
            let now = now.as_ref();
            now.is_some_and(|now| !now.topology.has_those_of(&self.map.topology))
        };
        // Stop waiting for a node that is down once another has taken its place.
        let mut connection = tokio::select! {
            connection = node.current() => connection?,
            _ = maps.wait_for(others) => {
                return Err(StoreError::Unavailable("the cluster has changed".to_owned()));
            }
        };
        if let Some(trusted) = self.trusted {
            connection = connection.trusted_by(trusted)?;
            // Queries the role in the same pipeline: a replica may be behind, or follow another primary.
            pipeline.add_command(server::hello(RespVersion::Resp2));
        }
        pipeline.ignore_errors();
        let answers = pipeline
            .query_async::<Vec<Value>>(&mut connection.inner)
            .await;
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(error) => return Err(connection.failed(&error)),
        };
        if self.trusted.is_some() {
            let hello = answers.pop().unwrap_or(Value::Nil);
            let says_so =
                HashMap::from_redis_value(hello).is_ok_and(|h| server::is_primary_role(&h));
            if !says_so {
                return Err(connection.unfit("the server has become a replica"));
            }
        }
        connection.answered();
        Ok(answers)
    }
}
