//! One session of the feed, from the first read until something fails. It has two connections: one receives
//! notifications, the other runs queries.
//!
//! While rows are being read, no notification is processed. Notifications that arrive meanwhile are acted upon
//! afterwards, so that no notification is mistaken for older than the rows that were read before it. Every wait has
//! a bound; if a bound is exceeded, or anything fails, the session ends, and the next one reads everything again.

use std::time::Duration;

use aws_lc_rs::rand;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::timeout;

use crate::clock::{Moment, Timestamp};

use super::super::StoreError;
use super::super::hash::KeyHash;
use super::super::options::PostgresOptions;
use super::feed_end::FeedEnd;
use super::listener::Listener;
use super::mirror::Mirror;
use super::pool;
use super::row::{self, TriggerMessage, VIEW_COLUMNS};
use super::schema::{ENABLE, TRIGGERS, Triggers};

/// How many rows one step reads.
const BATCH: usize = 5000;
/// How many doubtful keys are read again at once.
const DOUBTFUL: usize = 1000;

/// A session.
pub(super) struct Session {
    pub mirror: Mirror,
    listener: Listener,
    asking: PgConnection,
    /// A channel whose name only this session knows.
    beats: String,
    beat: u64,
    /// The state of the triggers when the session began.
    triggers: String,
    patience: Duration,
    reading: Option<TableScan>,
}

/// A read of all rows that is in progress.
struct TableScan {
    after: Vec<u8>,
    /// Whether this is a comparison, in which nothing is expected to differ.
    comparing: bool,
}

impl Session {
    /// Connects, and listens before anything is read.
    pub(super) async fn open(
        options: &PostgresOptions,
        mirror: Mirror,
        patience: Duration,
    ) -> Result<Self, FeedEnd> {
        let opening = async {
            let mut asking = pool::connect(options).await?;
            let triggers = Triggers::ask(&mut asking).await?;
            if !triggers.sound {
                return Err(FeedEnd::Refused(format!(
                    "a trigger of the table revocations is missing or disabled, so nothing tells of changes: \
                     {ENABLE}; or say `read: store` to ask on every check"
                )));
            }
            let schema = "SELECT 'revoxy_' || md5(n.nspname) FROM pg_class c \
                JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('revocations')";
            let changes: String = sqlx::query_scalar(schema).fetch_one(&mut asking).await?;
            let beats = format!("revoxy_{}", secret()?);
            let listener = Listener::open(
                options.connect_options().map_err(StoreError::from)?,
                [&changes, &beats],
            )
            .await?;
            Ok(Self {
                mirror,
                listener,
                asking,
                beats,
                beat: 0,
                triggers: triggers.state,
                patience,
                reading: None,
            })
        };
        let opened = timeout(options.connect_timeout * 3, opening).await;
        let mut session = opened.map_err(|_| late("no connection in time"))??;
        match session.heartbeat().await {
            Err(FeedEnd::Silent) => Err(late(
                "no notification came back: through a pooler that lends a connection for one transaction (pgbouncer \
                 with pool_mode=transaction) nothing is heard; connect past it, or say `read: store`",
            )),
            Err(other) => Err(other),
            Ok(_) => Ok(session),
        }
    }

    /// Proves that everything that was acknowledged before now is in the view. Returns when the heartbeat was sent.
    pub(super) async fn heartbeat(&mut self) -> Result<Moment, FeedEnd> {
        self.beat += 1;
        let beat = self.beat.to_string();
        let asked = Moment::now();
        let notify = format!(
            "SELECT pg_notify($1, $2), pg_is_in_recovery(), {TRIGGERS}, revocation_millis(clock_timestamp())"
        );
        let notify = sqlx::query(AssertSqlSafe(notify))
            .bind(&self.beats)
            .bind(&beat);
        let answer = timeout(self.patience, notify.fetch_one(&mut self.asking)).await;
        let answer = answer.map_err(|_| late("no answer to a heartbeat"))??;
        if answer.try_get(1)? {
            return Err(late(pool::STANDBY));
        }
        if answer.try_get::<String, _>(2)? != self.triggers {
            return Err(late(
                "the triggers of the table revocations are not those that they were",
            ));
        }
        self.mirror
            .compare_clocks(Timestamp::from_millis(answer.try_get(3)?));
        loop {
            let notified = timeout(self.patience, self.listener.next()).await;
            let (channel, payload) = notified.map_err(|_| FeedEnd::Silent)??;
            if channel == self.beats {
                if payload == beat {
                    break;
                }
                continue;
            }
            self.act(&payload).await?;
        }
        self.settle(false).await?;
        Ok(asked)
    }

    /// Waits for a notification. Returns its payload, or an empty one for a heartbeat.
    pub(super) async fn notified(&mut self) -> Result<String, FeedEnd> {
        let (channel, payload) = self.listener.next().await?;
        Ok(if channel == self.beats {
            String::new()
        } else {
            payload
        })
    }

    /// Acts on a notification.
    pub(super) async fn act(&mut self, payload: &str) -> Result<(), FeedEnd> {
        if let Some(message) = TriggerMessage::read(payload) {
            self.mirror.apply(message);
        }
        if self.mirror.count_to_reread() >= DOUBTFUL {
            self.settle(false).await?;
        }
        Ok(())
    }

    /// Acts on a notification, and reads doubtful keys again at once, because no other notification is expected soon.
    pub(super) async fn act_now(&mut self, payload: &str) -> Result<(), FeedEnd> {
        self.act(payload).await?;
        self.settle(false).await
    }

    /// Reads every row, and then reads again the view's entries that were not among the rows.
    pub(super) async fn read_all(&mut self) -> Result<(), FeedEnd> {
        self.begin(false);
        self.read_on().await
    }

    /// Continues to read, until the end.
    pub(super) async fn read_on(&mut self) -> Result<(), FeedEnd> {
        while !self.step().await? {}
        Ok(())
    }

    /// Runs one step of the slow comparison. Returns whether the comparison is finished.
    pub(super) async fn compare_step(&mut self) -> Result<bool, FeedEnd> {
        if self.reading.is_none() {
            self.begin(true);
        }
        self.step().await
    }

    fn begin(&mut self, comparing: bool) {
        self.mirror.view.begin_round();
        self.reading = Some(TableScan {
            after: Vec::new(),
            comparing,
        });
    }

    /// Reads the next batch. Returns whether everything has been read, including the entries that were not seen.
    async fn step(&mut self) -> Result<bool, FeedEnd> {
        let Some(TableScan { after, comparing }) = self.reading.take() else {
            return Ok(true);
        };
        let batch = format!(
            "SELECT {VIEW_COLUMNS} FROM revocations r WHERE r.id > $1 ORDER BY r.id LIMIT {BATCH}"
        );
        let batch = sqlx::query(AssertSqlSafe(batch)).bind(&after);
        let rows = timeout(self.patience * 10, batch.fetch_all(&mut self.asking)).await;
        let rows = rows.map_err(|_| late("no answer in time"))??;
        let entries = rows.iter().filter_map(|row| row::entry(row).transpose());
        let mut entries = entries.collect::<sqlx::Result<Vec<_>>>()?;
        entries.retain(|entry| self.mirror.is_live(entry));
        if !comparing {
            // Done before the notifications that arrived meanwhile are acted upon: they may report that a row was
            // deleted.
            for entry in entries.drain(..) {
                self.mirror.take(entry);
            }
        }
        self.heartbeat().await?;
        if self.reading.is_some() {
            // The read was restarted, because the table was emptied after this batch was read.
            return Ok(false);
        }
        // Done after the notifications that arrived meanwhile have been acted upon: they explain a difference.
        for entry in entries {
            self.mirror.compare(entry);
        }
        let next = rows.last().map(|row| row.try_get(0)).transpose()?;
        match next {
            Some(after) if rows.len() == BATCH => {
                self.reading = Some(TableScan { after, comparing });
                self.settle(comparing).await?;
                Ok(false)
            }
            _ => {
                self.mirror.mark_unseen_for_reread();
                self.settle(comparing).await?;
                Ok(true)
            }
        }
    }

    /// Reads doubtful keys again, and restarts the read of everything if a message reported that all rows are gone.
    async fn settle(&mut self, comparing: bool) -> Result<(), FeedEnd> {
        let doubtful = self.mirror.take_to_reread();
        for keys in doubtful.chunks(DOUBTFUL) {
            let rows = self.rows_of(keys).await?;
            let found: Vec<_> = rows
                .iter()
                .filter_map(|row| row::entry(row).transpose())
                .collect::<sqlx::Result<_>>()?;
            let changes = self.mirror.settle(keys, &found);
            if comparing {
                self.mirror.healed(changes);
            }
        }
        if self.mirror.take_emptied() {
            self.begin(false);
        }
        Ok(())
    }

    /// Returns whether everything is being read for another reason than a comparison.
    pub(super) fn is_catching_up(&self) -> bool {
        self.reading.as_ref().is_some_and(|r| !r.comparing)
    }

    /// Returns the rows of these keys. The view knows only the beginning of an id.
    async fn rows_of(&mut self, keys: &[KeyHash]) -> Result<Vec<PgRow>, FeedEnd> {
        let heads: Vec<Vec<u8>> = keys.iter().map(|key| key.head().to_vec()).collect();
        let query = format!(
            "SELECT {VIEW_COLUMNS} FROM unnest($1::bytea[]) AS p (head) JOIN LATERAL (SELECT * FROM revocations \
             WHERE id >= p.head AND id <= p.head || decode(repeat('ff', 25), 'hex')) AS r ON TRUE"
        );
        let query = sqlx::query(AssertSqlSafe(query)).bind(heads);
        let rows = timeout(self.patience * 10, query.fetch_all(&mut self.asking)).await;
        Ok(rows.map_err(|_| late("no answer in time"))??)
    }
}

fn late(why: &str) -> FeedEnd {
    FeedEnd::Broken(why.to_owned())
}

/// Returns 128 random bits, which cannot be guessed, in hexadecimal.
fn secret() -> Result<String, FeedEnd> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| late("no random numbers"))?;
    Ok(hex::encode(bytes))
}
