//! One connection of the feed, or rather two: one hears, the other asks. From the first reading to their end.
//!
//! While something is being read nothing is heard: what was told meanwhile is acted upon afterwards, so that it is
//! never taken for older than what was read before it. Every wait has a bound; where one is exceeded, or anything
//! fails, the session is over, and the next reads everything again.

use std::time::Duration;

use aws_lc_rs::rand;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::timeout;

use crate::clock::{Moment, Timestamp};

use super::super::StoreError;
use super::super::view::KeyHash;
use super::ear::Ear;
use super::feed::FeedEnd;
use super::mirror::Mirror;
use super::row::{self, Told, VIEW_COLUMNS, hex};
use super::schema::{ENABLE, TRIGGERS, Triggers};
use super::{PostgresOptions, error, pool};

/// How many rows a step reads.
const BATCH: usize = 5000;
/// How many doubts are settled at once.
const DOUBTS: usize = 1000;

/// One session.
pub(super) struct Session {
    pub mirror: Mirror,
    ear: Ear,
    asking: PgConnection,
    /// A channel that only this session knows of.
    beats: String,
    beat: u64,
    /// How the triggers stood when this began.
    triggers: String,
    patience: Duration,
    reading: Option<Reading>,
}

/// Reading everything, under way.
struct Reading {
    after: Vec<u8>,
    /// Whether nothing is expected to differ.
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
            let ear = Ear::open(
                options.connect_options().map_err(StoreError::from)?,
                [&changes, &beats],
            )
            .await?;
            Ok(Self {
                mirror,
                ear,
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

    /// Proves that everything that was acknowledged before now is in the view, and tells when that was asked.
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
            let heard = timeout(self.patience, self.ear.hear()).await;
            let (channel, payload) = heard.map_err(|_| FeedEnd::Silent)??;
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

    /// Waits for a notification and acts on it.
    pub(super) async fn heard(&mut self) -> Result<String, FeedEnd> {
        let (channel, payload) = self.ear.hear().await?;
        Ok(if channel == self.beats {
            String::new()
        } else {
            payload
        })
    }

    /// Acts on what was heard.
    pub(super) async fn act(&mut self, payload: &str) -> Result<(), FeedEnd> {
        if let Some(told) = Told::read(payload) {
            self.mirror.hear(told);
        }
        if self.mirror.doubts() >= DOUBTS {
            self.settle(false).await?;
        }
        Ok(())
    }

    /// Acts on what was heard, with nothing more to be expected at once.
    pub(super) async fn act_now(&mut self, payload: &str) -> Result<(), FeedEnd> {
        self.act(payload).await?;
        self.settle(false).await
    }

    /// Reads every row, and whatever the view has beyond them.
    pub(super) async fn read_all(&mut self) -> Result<(), FeedEnd> {
        self.begin(false);
        self.read_on().await
    }

    /// Reads on, to the end.
    pub(super) async fn read_on(&mut self) -> Result<(), FeedEnd> {
        while !self.step().await? {}
        Ok(())
    }

    /// One step of the slow comparison. Tells whether it is through.
    pub(super) async fn compare_step(&mut self) -> Result<bool, FeedEnd> {
        if self.reading.is_none() {
            self.begin(true);
        }
        self.step().await
    }

    fn begin(&mut self, comparing: bool) {
        self.mirror.view.begin_round();
        self.reading = Some(Reading {
            after: Vec::new(),
            comparing,
        });
    }

    /// Reads the next batch. Tells whether everything has been read, and what was not met been read again.
    async fn step(&mut self) -> Result<bool, FeedEnd> {
        let Some(Reading { after, comparing }) = self.reading.take() else {
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
            // Before what was told meanwhile, which may be that a row is gone.
            for entry in entries.drain(..) {
                self.mirror.take(entry);
            }
        }
        self.heartbeat().await?;
        if self.reading.is_some() {
            // Begun again meanwhile, for a table that has been emptied after this was read.
            return Ok(false);
        }
        // After what was told meanwhile, which explains a difference.
        for entry in entries {
            self.mirror.compare(entry);
        }
        let next = rows.last().map(|row| row.try_get(0)).transpose()?;
        match next {
            Some(after) if rows.len() == BATCH => {
                self.reading = Some(Reading { after, comparing });
                self.settle(comparing).await?;
                Ok(false)
            }
            _ => {
                self.mirror.doubt_unseen();
                self.settle(comparing).await?;
                Ok(true)
            }
        }
    }

    /// Reads again what is must_reread, and everything if all is said to be gone.
    async fn settle(&mut self, comparing: bool) -> Result<(), FeedEnd> {
        let must_reread = self.mirror.take_doubtful();
        for keys in must_reread.chunks(DOUBTS) {
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

    /// Whether everything is being read for another reason than to compare.
    pub(super) fn is_catching_up(&self) -> bool {
        self.reading.as_ref().is_some_and(|r| !r.comparing)
    }

    /// The rows of these keys. Of an id the view knows the beginning only.
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

/// 128 bits that nobody guesses.
fn secret() -> Result<String, FeedEnd> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| late("no random numbers"))?;
    Ok(hex(&bytes))
}

impl From<sqlx::Error> for FeedEnd {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error::describe(&error))
    }
}
