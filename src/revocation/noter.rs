//! The noter: writes down which tokens were seen, off the path of a check.
//!
//! A check leaves a record in a bounded queue and never waits: where there is no room, the record is dropped and counted.
//! One task writes the queue to the store in batches. While the store is down it keeps the batch that it has, and tries
//! again; what comes meanwhile waits in the queue until that is full.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::Clock;
use crate::jwt::VerifiedClaims;
use crate::metrics::NoteMetrics;

use super::checker::CheckedTypes;
use super::record::TokenRecord;
use super::token_keys::TokenKeys;
use super::{RevocationStore, StoreError};

/// Records that wait to be written.
const QUEUE: usize = 8192;
/// Records that are written at once.
const BATCH: usize = 256;
/// How long a batch may wait for more.
const GATHER: Duration = Duration::from_millis(100);
/// How long the store may take for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between attempts to write a batch: from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Tokens that are known to have been seen: those that are verified again on every check are noted once all the same.
const RECENT: usize = 65_536;
/// The longest identifier that is noted, in bytes. Honest ones are far shorter.
const LONGEST_IDENTIFIER: usize = 1024;

/// Takes note of tokens.
pub struct Noter {
    queue: mpsc::Sender<TokenRecord>,
    recent: Arc<Cache<u128, ()>>,
    types: CheckedTypes,
    clock: Arc<dyn Clock>,
    metrics: NoteMetrics,
}

/// The task that writes.
pub struct NoterTask {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Noter {
    /// A noter that writes to the registry of `store`. Only tokens of these `types` are noted: to revoke another would
    /// have no effect.
    pub fn start(
        store: Arc<dyn RevocationStore>,
        types: CheckedTypes,
        clock: Arc<dyn Clock>,
        metrics: NoteMetrics,
    ) -> (Self, NoterTask) {
        let (queue, records) = mpsc::channel(QUEUE);
        let (end, ending) = oneshot::channel();
        let recent = Arc::new(Cache::new(RECENT));
        let writer = Writer {
            store,
            records,
            recent: Arc::clone(&recent),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            last_error: None,
        };
        let noter = Self {
            queue,
            recent,
            types,
            clock,
            metrics,
        };
        let task = tokio::spawn(writer.run(ending));
        (noter, NoterTask { end, task })
    }

    /// Notes a verified token, unless it was noted before. Never waits.
    pub fn see(&self, claims: &VerifiedClaims, keys: &TokenKeys) {
        if claims.subject().is_none() || !self.types.includes(claims.token_type()) {
            return;
        }
        let Some(id) = keys.keys().first().map(|key| key.hash().to_u128()) else {
            return;
        };
        if self.recent.get(&id).is_some() {
            return;
        }
        let identifiers = [
            claims.token_id(),
            claims.subject(),
            claims.session(),
            claims.client(),
            claims.kid(),
        ];
        let too_long = |text: &&str| text.len() > LONGEST_IDENTIFIER;
        if identifiers.iter().flatten().any(too_long) {
            self.metrics.oversized.inc();
            self.recent.insert(id, ());
            return;
        }
        match self
            .queue
            .try_send(TokenRecord::of(claims, self.clock.now()))
        {
            Ok(()) => self.recent.insert(id, ()),
            // Not remembered as seen: it is noted when it is verified again, if there is room then.
            Err(_) => self.metrics.dropped.inc(),
        }
    }
}

impl NoterTask {
    /// Has what is still waiting written, for as long as `within`, and ends.
    pub async fn finish(mut self, within: Duration) {
        // An error means that it has ended already.
        let _ = self.end.send(());
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("tokens that were seen last could not be noted");
        }
    }
}

struct Writer {
    store: Arc<dyn RevocationStore>,
    records: mpsc::Receiver<TokenRecord>,
    /// What is given up is forgotten here: it is noted when it is verified again.
    recent: Arc<Cache<u128, ()>>,
    clock: Arc<dyn Clock>,
    metrics: NoteMetrics,
    last_error: Option<StoreError>,
}

impl Writer {
    async fn run(mut self, mut ending: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = self.gather(&mut batch) => {
                    if !received {
                        return;
                    }
                }
                _ = &mut ending => break,
            }
            tokio::select! {
                () = self.write_patiently(&mut batch) => {}
                _ = &mut ending => break,
            }
        }
        // What is waiting now, once. Nobody verifies tokens any more.
        self.records.close();
        loop {
            if !batch.is_empty() && self.write(&batch).await.is_err() {
                self.give_up(&batch);
            }
            batch.clear();
            if self.records.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
        }
    }

    /// Waits for a record, and a moment for more. `false` means that there will never be any. Given up in between, it
    /// leaves what it has in the batch.
    async fn gather(&mut self, batch: &mut Vec<TokenRecord>) -> bool {
        if self.records.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let more = self.records.recv_many(batch, BATCH - batch.len());
            if !matches!(timeout_at(until, more).await, Ok(1..)) {
                break;
            }
        }
        true
    }

    /// Writes the batch, however long the store is down.
    async fn write_patiently(&mut self, batch: &mut Vec<TokenRecord>) {
        let mut pause = FIRST_PAUSE;
        let mut at_once = BATCH;
        while !batch.is_empty() {
            let count = at_once.min(batch.len());
            match self.write(&batch[..count]).await {
                Ok(()) => drop(batch.drain(..count)),
                // It refuses one of these. The others are written one by one.
                Err(StoreError::Failed(_) | StoreError::Unreadable(_)) if count > 1 => at_once = 1,
                Err(StoreError::Failed(_) | StoreError::Unreadable(_)) => {
                    self.give_up(&batch[..count]);
                    batch.drain(..count);
                }
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    let now = self.clock.now();
                    batch.retain(|record| record.is_live(now));
                }
            }
        }
    }

    fn give_up(&self, records: &[TokenRecord]) {
        self.metrics.dropped.inc_by(records.len() as u64);
        for record in records {
            self.recent.remove(&record.id());
        }
    }

    async fn write(&mut self, records: &[TokenRecord]) -> Result<(), StoreError> {
        let written = match self.store.registry() {
            Some(registry) => timeout(DEADLINE, registry.note(records)).await,
            None => Ok(Err(StoreError::Failed(
                "this store registers no tokens".to_owned(),
            ))),
        };
        match written.unwrap_or(Err(StoreError::Timeout)) {
            Ok(()) => {
                self.metrics.noted.inc_by(records.len() as u64);
                self.last_error = None;
                Ok(())
            }
            Err(error) => {
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "cannot note the tokens that were seen");
                    self.last_error = Some(error.clone());
                }
                Err(error)
            }
        }
    }
}
