//! The limit on the memory that all requests in flight may take together, on all connections.
//!
//! HTTP/2 lets one connection have thousands of requests in flight, and keep each of them unfinished: by not
//! sending the whole message, or by granting no flow-control window for the answer. So each request reserves
//! memory, and when none is left, the connection that occupies most is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for the memory of a connection that is being closed.
const FREE_WITHIN: Duration = Duration::from_millis(50);

/// The bytes that the requests of one connection occupy. The server finds it in the extensions of each
/// request.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLoad(Arc<AtomicUsize>);

impl ConnectionLoad {
    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// The memory that all requests share.
#[derive(Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    relieve: Arc<dyn Fn() + Send + Sync>,
}

/// The memory that one request has reserved; released when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    permit: OwnedSemaphorePermit,
    load: ConnectionLoad,
}

impl MemoryBudget {
    /// Creates a budget of this many bytes. When none are left, `relieve` is called: it closes the connection
    /// with the greatest load.
    pub fn new(bytes: usize, relieve: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            relieve: Arc::new(relieve),
        }
    }

    /// Reserves bytes for a request of the connection with this load. Returns `None` if there are none even
    /// after [`FREE_WITHIN`].
    pub(super) async fn reserve(&self, bytes: usize, load: &ConnectionLoad) -> Option<Reservation> {
        if let Some(reservation) = self.try_reserve(bytes, load) {
            return Some(reservation);
        }
        let number = u32::try_from(bytes).ok()?;
        (self.relieve)();
        let waiting = Arc::clone(&self.free).acquire_many_owned(number);
        let permit = tokio::time::timeout(FREE_WITHIN, waiting).await.ok()?;
        Some(Reservation::new(permit.ok()?, load))
    }

    /// Reserves bytes without waiting and without closing a connection.
    pub(super) fn try_reserve(&self, bytes: usize, load: &ConnectionLoad) -> Option<Reservation> {
        let number = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(number);
        Some(Reservation::new(permit.ok()?, load))
    }
}

impl Reservation {
    fn new(permit: OwnedSemaphorePermit, load: &ConnectionLoad) -> Self {
        load.0.fetch_add(permit.num_permits(), Ordering::Relaxed);
        Self {
            permit,
            load: load.clone(),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.load
            .0
            .fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
    }
}
