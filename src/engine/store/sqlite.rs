//! The store in an SQLite file.

use std::path::Path;
use std::sync::Arc;

use tokio::time::timeout;

use crate::clock::Clock;
use crate::revocation::{SqliteStore, StoreError};

use super::{Mistake, PATIENCE, Store};

pub(super) fn mistake(_: &Path) -> Option<Mistake> {
    None
}

pub(super) async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Store, StoreError> {
    let store = SqliteStore::open(path, clock).await;
    store.map(|s| Arc::new(s) as Store).map_err(|e| match e {
        StoreError::Failed(why) => StoreError::Failed(format!("{}: {why}", path.display())),
        StoreError::Unavailable(why) => {
            StoreError::Unavailable(format!("{}: {why}", path.display()))
        }
        other => other,
    })
}

/// Describes the file that was opened.
pub(super) async fn opened(path: &Path) -> String {
    let version = timeout(PATIENCE, SqliteStore::version()).await;
    let version = version.ok().and_then(Result::ok).unwrap_or_default();
    format!("opened the file {} with SQLite {version}", path.display())
}
