//! A revocation store of one's own: a journal, one JSON object a line for every statement.
//!
//! ```sh
//! cargo run --example custom_store -- revoxy.yaml revocations.jsonl
//! ```
//!
//! serves as `revoxy serve --config revoxy.yaml` does, with this store in the place of `revocation.store`. What it has
//! to keep is written at [`RevocationStore`]; the tests run it through the same contract as the stores that come along
//! (`tests/it/stores`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use revoxy::clock::{Clock, SystemClock, Timestamp};
use revoxy::config::Config;
use revoxy::logging::{self, LogFormat};
use revoxy::revocation::{
    Cutoff, Durability, Page, Revocation, RevocationKey, RevocationStore, StoreError, View,
};
use serde::{Deserialize, Serialize};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(journal)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: custom_store REVOXY.YAML JOURNAL");
    };
    let _logging = logging::init(LogFormat::default());
    let config = Config::load(Path::new(&config), std::env::vars()).map_err(anyhow::Error::msg)?;
    let store = Journal::open(Path::new(&journal), Arc::new(SystemClock))?;
    Ok(revoxy::app::serve_with(config, Arc::new(store)).await?)
}

/// Revocations in a journal, and all that stand in memory.
pub struct Journal(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    /// What checks read. Nobody else writes the journal, so it is exact at every moment.
    view: View,
    /// What the view does not hold: names, reasons, actors. By rendered key.
    entries: Mutex<BTreeMap<String, Revocation>>,
    /// Locked from reading what stands until view and entries say what the file says: statements take effect in the
    /// order in which they are written.
    writer: Mutex<Writer>,
}

struct Writer {
    path: PathBuf,
    file: File,
    /// Where the last whole line ends.
    end: u64,
}

/// A line: what stands under the key from there on, or that nothing does.
#[derive(Deserialize, Serialize)]
struct Line {
    key: String,
    revoked: Option<Statement>,
}

/// Times are in milliseconds since 1970.
#[derive(Deserialize, Serialize)]
struct Statement {
    /// Which tokens, by `iat`; none: all of them.
    not_before: Option<i64>,
    expires_at: i64,
    reason: Option<String>,
    actor: Option<String>,
    revoked_at: i64,
}

impl Journal {
    /// Opens the file, making it where it is missing, and reads what it says.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let file = open(path).map_err(failed)?;
        // A second writer would not see what this one writes.
        file.try_lock()
            .map_err(|_| StoreError::Unavailable("another process has the journal".to_owned()))?;
        let path = path.to_owned();
        let mut writer = Writer { path, file, end: 0 };
        let entries = writer.replay()?;
        let view = View::always_fresh();
        entries.values().for_each(|entry| view.record(entry));
        Ok(Self(Arc::new(Inner {
            clock,
            view,
            entries: Mutex::new(entries),
            writer: Mutex::new(writer),
        })))
    }

    /// Runs a change on a thread that may wait for a disk, and to its end though the caller may give up: what the file
    /// says, the view must say.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let ended = tokio::task::spawn_blocking(move || change(&inner)).await;
        ended.unwrap_or_else(|error| Err(failed(error)))
    }
}

#[async_trait::async_trait]
impl RevocationStore for Journal {
    fn view(&self) -> Option<&View> {
        Some(&self.0.view)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        let now = self.0.clock.now();
        let cutoffs = keys.iter().map(|key| self.0.view.lookup(key, now));
        Ok(cutoffs.collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        let newer = revocation.clone();
        self.change(move |inner| inner.revoke(&newer)).await?;
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let key = key.clone();
        self.change(move |inner| inner.unrevoke(&key)).await
    }

    async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(self.0.live(key))
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let (now, entries) = (self.0.clock.now(), lock(&self.0.entries));
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = entries.range::<str, _>((after, Bound::Unbounded));
        let live = rest.map(|(_, entry)| entry).filter(|e| e.is_live(now));
        let revocations: Vec<_> = live.take(limit).cloned().collect();
        let last = revocations.last().filter(|_| revocations.len() == limit);
        let next = last.map(|entry| entry.key.rendered().to_owned());
        Ok(Page { revocations, next })
    }

    async fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.change(move |inner| inner.prune(now)).await
    }
}

impl Inner {
    fn live(&self, key: &RevocationKey) -> Option<Revocation> {
        let entry = lock(&self.entries).get(key.rendered()).cloned();
        entry.filter(|entry| entry.is_live(self.clock.now()))
    }

    fn revoke(&self, newer: &Revocation) -> Result<(), StoreError> {
        let mut writer = lock(&self.writer);
        let current = match self.live(&newer.key) {
            Some(old) if !newer.adds_to(&old) => return Ok(()),
            Some(old) => old.strengthened_by(newer),
            None => newer.clone(),
        };
        writer.append(&Line::of(&current)).map_err(failed)?;
        self.view.record(&current);
        lock(&self.entries).insert(current.key.rendered().to_owned(), current);
        Ok(())
    }

    fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        let mut writer = lock(&self.writer);
        let stands = self.live(key).is_some();
        if stands {
            let key = key.rendered().to_owned();
            let revoked = None;
            writer.append(&Line { key, revoked }).map_err(failed)?;
        }
        self.view.forget(key);
        lock(&self.entries).remove(key.rendered());
        Ok(stands)
    }

    /// Forgets what has expired, and writes the file anew without it.
    fn prune(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut writer = lock(&self.writer);
        self.view.prune(now);
        let mut entries = lock(&self.entries);
        let before = entries.len();
        entries.retain(|_, entry| entry.is_live(now));
        let gone = before - entries.len();
        let lines: Vec<_> = entries.values().map(Line::of).collect();
        drop(entries);
        if gone > 0 {
            writer.rewrite(&lines).map_err(failed)?;
        }
        Ok(gone as u64)
    }
}

impl Writer {
    /// What the file says. A last line without an end was never acknowledged, so it is not read, and overwritten.
    fn replay(&mut self) -> Result<BTreeMap<String, Revocation>, StoreError> {
        let (mut entries, mut text) = (BTreeMap::new(), Vec::new());
        let mut reader = BufReader::new(&self.file);
        loop {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(failed)?;
            if !text.ends_with(b"\n") {
                return Ok(entries);
            }
            // What cannot be read could be a revocation, so it is not passed over.
            let line: Line = serde_json::from_slice(&text).map_err(failed)?;
            let key = RevocationKey::parse(&line.key)
                .ok_or_else(|| failed("a key that is none of Revoxy's"))?;
            match line.revoked {
                Some(statement) => entries.insert(line.key, statement.about(key)),
                None => entries.remove(&line.key),
            };
            self.end += length as u64;
        }
    }

    /// Adds a line; when this returns it is on the disk.
    fn append(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // What a write that failed may have left behind.
        self.file.set_len(self.end)?;
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.end += text.len() as u64;
        Ok(())
    }

    /// Writes a new file and puts it in the place of the old: at every moment one of the two is there, whole.
    fn rewrite(&mut self, lines: &[Line]) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let file = open(&new)?;
        file.set_len(0)?;
        file.try_lock()?;
        let mut text = BufWriter::new(&file);
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.write_all(b"\n")?;
        }
        text.flush()?;
        drop(text);
        file.sync_all()?;
        let end = file.metadata()?.len();
        std::fs::rename(&new, &self.path)?;
        (self.file, self.end) = (file, end);
        // The name is on the disk when the directory is.
        let directory = self.path.parent().filter(|d| !d.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Line {
    fn of(entry: &Revocation) -> Self {
        let statement = Statement {
            not_before: match entry.cutoff {
                Cutoff::IssuedUpTo(cutoff) => Some(cutoff.millis()),
                Cutoff::All => None,
            },
            expires_at: entry.expires_at.millis(),
            reason: entry.reason.clone(),
            actor: entry.actor.clone(),
            revoked_at: entry.revoked_at.millis(),
        };
        Self {
            key: entry.key.rendered().to_owned(),
            revoked: Some(statement),
        }
    }
}

impl Statement {
    fn about(self, key: RevocationKey) -> Revocation {
        let not_before = self.not_before.map(Timestamp::from_millis);
        Revocation {
            key,
            cutoff: not_before.map_or(Cutoff::All, Cutoff::IssuedUpTo),
            expires_at: Timestamp::from_millis(self.expires_at),
            reason: self.reason,
            actor: self.actor,
            revoked_at: Timestamp::from_millis(self.revoked_at),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true).open(path)
}

/// No change stops between file, view and entries but by running out of memory.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("the journal: {error}"))
}
