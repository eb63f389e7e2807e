//! The memory that all requests under way may take together, on all connections.
//!
//! HTTP/2 lets one connection have thousands of requests under way, and keep each of them unfinished: it does not send all of
//! the message, or grants no window for the answer. So each request reserves some, and when there is none left, the
//! connection that holds most is closed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for the memory of a connection that is being closed.
const FREE_WITHIN: Duration = Duration::from_millis(50);

/// The bytes that the requests of one connection hold. The server finds it among the extensions of each of them.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLoad(Arc<AtomicUsize>);

impl ConnectionLoad {
    /// So many bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// MemoryBudget for requests.
#[derive(Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    relieve: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBudget").field(&self.free).finish()
    }
}

/// What one request has reserved, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    load: ConnectionLoad,
}

impl MemoryBudget {
    /// A budget of so many bytes. Where none is left, `relieve` is called: it closes the connection with the greatest load.
    pub fn new(bytes: usize, relieve: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            relieve: Arc::new(relieve),
        }
    }

    /// So many bytes for a request of the connection with this load; `None` where there are none, even after a while.
    pub(super) async fn reserve(&self, bytes: usize, load: &ConnectionLoad) -> Option<Reservation> {
        let number = u32::try_from(bytes).ok()?;
        let permit = match Arc::clone(&self.free).try_acquire_many_owned(number) {
            Ok(permit) => permit,
            Err(_) => {
                (self.relieve)();
                let waiting = Arc::clone(&self.free).acquire_many_owned(number);
                tokio::time::timeout(FREE_WITHIN, waiting)
                    .await
                    .ok()?
                    .ok()?
            }
        };
        load.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Reservation {
            permit,
            load: load.clone(),
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.load
            .0
            .fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
    }
}
