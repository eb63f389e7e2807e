//! The recorder: records which tokens were seen, off the path of a check.
//!
//! A check puts a record into a bounded queue and never waits: if the queue is full, the record is dropped
//! and counted. One task writes the queue to the store in batches. While the store is down, the task keeps
//! its batch and retries; further records wait in the queue until it is full.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::{Backoff, Clock};
use crate::jwt::VerifiedClaims;
use crate::metrics::NoteMetrics;

use crate::revocation::{CheckedTypes, RevocationStore, StoreError, TokenKeys, TokenRecord};

/// The capacity of the queue, in records.
const QUEUE: usize = 8192;
/// The maximum number of records per write.
const BATCH: usize = 256;
/// How long a batch waits for more records.
const GATHER: Duration = Duration::from_millis(100);
/// The timeout of one write.
const DEADLINE: Duration = Duration::from_secs(5);
/// The backoff between attempts to write a batch: the first and the longest pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The number of tokens that are remembered as seen, so that a token is recorded once even if it is verified
/// anew on every check.
const RECENT: usize = 65_536;
/// The longest identifier that is recorded, in bytes. Legitimate ones are far shorter.
const LONGEST_IDENTIFIER: usize = 1024;

/// Records tokens that were seen in checks.
pub struct TokenRecorder {
    queue: mpsc::Sender<TokenRecord>,
    recent: Arc<Cache<u128, ()>>,
    types: CheckedTypes,
    clock: Arc<dyn Clock>,
    metrics: NoteMetrics,
}

/// The task that writes records to the store.
pub struct RecorderTask {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl TokenRecorder {
    /// Starts a recorder that writes to the registry of `store`. Only tokens of these `types` are recorded:
    /// revoking a token of another type would have no effect.
    pub fn start(
        store: Arc<dyn RevocationStore>,
        types: CheckedTypes,
        clock: Arc<dyn Clock>,
        metrics: NoteMetrics,
    ) -> (Self, RecorderTask) {
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
        let recorder = Self {
            queue,
            recent,
            types,
            clock,
            metrics,
        };
        let task = tokio::spawn(writer.run(ending));
        (recorder, RecorderTask { end, task })
    }

    /// Queues a record of a verified token, unless the token was recorded before. Never waits.
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
            // The token is not remembered as seen: it is recorded when it is verified again, if there is room
            // then.
            Err(_) => self.metrics.dropped.inc(),
        }
    }
}

impl RecorderTask {
    /// Writes what is still queued, for at most `within`, and ends the task.
    pub async fn finish(mut self, within: Duration) {
        // An error means that the task has already ended.
        let _ = self.end.send(());
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the last tokens that were seen could not be recorded");
        }
    }
}

struct Writer {
    store: Arc<dyn RevocationStore>,
    records: mpsc::Receiver<TokenRecord>,
    /// Tokens whose record was dropped are removed from this cache, so that they are recorded when they are
    /// verified again.
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
        // Each remaining record is tried once. No more tokens are being verified now.
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

    /// Waits for a record, and then a moment for more. Returns `false` if there will never be another record.
    /// Cancellation-safe: the records received so far stay in the batch.
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

    /// Writes the batch, and retries for as long as the store is down.
    async fn write_patiently(&mut self, batch: &mut Vec<TokenRecord>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut at_once = BATCH;
        while !batch.is_empty() {
            let count = at_once.min(batch.len());
            match self.write(&batch[..count]).await {
                Ok(()) => drop(batch.drain(..count)),
                // The store rejects one record of the batch, so they are written one by one.
                Err(StoreError::Failed(_) | StoreError::Unreadable(_)) if count > 1 => at_once = 1,
                Err(StoreError::Failed(_) | StoreError::Unreadable(_)) => {
                    self.give_up(&batch[..count]);
                    batch.drain(..count);
                }
                Err(_) => {
                    tokio::time::sleep(backoff.pause()).await;
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
                    tracing::warn!(%error, "cannot record the tokens that were seen");
                    self.last_error = Some(error.clone());
                }
                Err(error)
            }
        }
    }
}
