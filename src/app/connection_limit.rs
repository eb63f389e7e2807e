//! The limit on the connections of a listener. When it is reached, the connection that has been idle for
//! longest is evicted to admit a new one.
//!
//! Rejecting new connections instead would let early clients that stay connected lock out probes and proxies.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::clock::OncePerMinute;
use crate::ext_authz::ConnectionLoad;

/// How long an evicted connection may take to free its memory before another connection is evicted for lack
/// of memory. A closed connection frees its memory only after a moment, and after a longer one on a busy
/// machine.
const EVICTED_FREES_WITHIN: Duration = Duration::from_secs(5);

/// The pause after an error of `accept`, such as too many open files, which lasts for a while.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limit of one listener.
pub(super) struct ConnectionLimit {
    listener: &'static str,
    max: usize,
    start: Instant,
    table: Mutex<Table>,
    /// Rate limits of log lines. The lines are written without holding the lock on the table: whoever reads
    /// the log may block the writer.
    evictions: OncePerMinute,
    failures: OncePerMinute,
}

#[derive(Default)]
struct Table {
    held: HashMap<u64, Held>,
    next: u64,
    /// The connection that was last evicted for lack of memory, and when.
    freeing: Option<(ConnectionLoad, Instant)>,
}

struct Held {
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evict: oneshot::Sender<()>,
}

/// The permit of one connection; released when dropped.
pub(super) struct ConnectionPermit {
    number: u64,
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evicted: oneshot::Receiver<()>,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// Creates a limit of `max` connections to `listener`.
    pub fn new(listener: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            listener,
            max: max.max(1),
            start: Instant::now(),
            table: Mutex::default(),
            evictions: OncePerMinute::new(),
            failures: OncePerMinute::new(),
        })
    }

    /// Takes a permit for a new connection. If all are taken, evicts the connection that has been idle for
    /// longest.
    pub fn take(self: &Arc<Self>) -> ConnectionPermit {
        let mut table = self.table();
        let is_full = table.held.len() >= self.max;
        let idlest = if is_full { idlest(&table) } else { None };
        let has_evicted = table.evict(idlest);
        let (evict, evicted) = oneshot::channel();
        let active = Arc::new(AtomicU64::new(self.micros(Instant::now())));
        let load = ConnectionLoad::default();
        let number = table.next;
        table.next += 1;
        let held = Held {
            active: Arc::clone(&active),
            load: load.clone(),
            evict,
        };
        table.held.insert(number, held);
        drop(table);
        if has_evicted {
            self.log_eviction("too many connections; closing the idlest");
        }
        ConnectionPermit {
            number,
            active,
            load,
            evicted,
            limit: Arc::clone(self),
        }
    }

    /// Reports that no connection could be accepted. Evicts the connection that has been idle for longest, if
    /// that helps against the error.
    pub fn accept_failed(&self, error: &io::Error) {
        if self.failures.is_due() {
            tracing::warn!(listener = self.listener, %error, "cannot accept a connection");
        }
        // The limit on open files, of the process or of the system.
        if !matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE)
        ) {
            return;
        }
        let mut table = self.table();
        let idlest = idlest(&table);
        let has_evicted = table.evict(idlest);
        drop(table);
        if has_evicted {
            self.log_eviction("too many open files; closing the idlest connection");
        }
    }

    /// Returns a function that evicts the connection whose requests occupy most memory. The function evicts
    /// nothing while the connection that it evicted before has not freed its memory yet: otherwise,
    /// connections of harmless clients would be evicted, too.
    pub fn heaviest_evictor(self: &Arc<Self>) -> impl Fn() + Send + Sync + 'static {
        let limit = Arc::clone(self);
        move || {
            let mut table = limit.table();
            if table.is_freeing() {
                return;
            }
            let loads = table.held.iter().filter(|(_, held)| held.load.bytes() > 0);
            let heaviest = loads.max_by_key(|(_, held)| held.load.bytes());
            let heaviest = heaviest.map(|(number, held)| (*number, held.load.clone()));
            let (heaviest, load) = heaviest.unzip();
            table.freeing = load.map(|load| (load, Instant::now()));
            let has_evicted = table.evict(heaviest);
            drop(table);
            if has_evicted {
                let why = "requests take too much memory; closing the connection that takes most";
                limit.log_eviction(why);
            }
        }
    }

    fn log_eviction(&self, why: &str) {
        if self.evictions.is_due() {
            let connections = self.table().held.len();
            let max = self.max;
            tracing::warn!(listener = self.listener, connections, max, "{why}");
        }
    }

    /// Locks the table. The table is consistent even after a panic under the lock.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        let since_start = at.duration_since(self.start);
        u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Table {
    /// Returns whether the connection that was last evicted for lack of memory is still to free its memory.
    fn is_freeing(&self) -> bool {
        let freeing = self.freeing.as_ref();
        freeing
            .is_some_and(|(load, since)| load.bytes() > 0 && since.elapsed() < EVICTED_FREES_WITHIN)
    }

    /// Evicts this connection, if it still exists.
    fn evict(&mut self, number: Option<u64>) -> bool {
        let Some(held) = number.and_then(|number| self.held.remove(&number)) else {
            return false;
        };
        // An error means that the connection has ended by itself.
        let _ = held.evict.send(());
        true
    }
}

fn idlest(table: &Table) -> Option<u64> {
    let idlest = table.held.iter();
    let idlest = idlest.min_by_key(|(_, held)| held.active.load(Ordering::Relaxed));
    idlest.map(|(number, _)| *number)
}

impl ConnectionPermit {
    /// Returns the memory that the requests of the connection occupy.
    pub fn load(&self) -> ConnectionLoad {
        self.load.clone()
    }

    /// Records that the connection was in use at this instant.
    pub fn touch(&self, at: Instant) {
        self.active.store(self.limit.micros(at), Ordering::Relaxed);
    }

    /// Resolves when the connection is evicted.
    pub fn evicted(&mut self) -> &mut oneshot::Receiver<()> {
        &mut self.evicted
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limit.table().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(permit: &mut ConnectionPermit) -> bool {
        permit.evicted().try_recv().is_ok()
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_makes_room() {
        let limit = ConnectionLimit::new("check", 2);
        let (mut one, mut two) = (limit.take(), limit.take());
        one.touch(Instant::now() + Duration::from_secs(1));
        let mut three = limit.take();
        assert!(evicted(&mut two) && !evicted(&mut one) && !evicted(&mut three));
        drop(two);
        assert_eq!(limit.table().held.len(), 2);
        drop((one, three));
        assert_eq!(limit.table().held.len(), 0);
    }

    #[test]
    fn the_next_connection_is_evicted_for_lack_of_memory_only_after_the_last_one_has_freed_its_own()
    {
        let limit = ConnectionLimit::new("check", 9);
        let [mut light, mut heavy, mut heaviest] = [10, 20, 30].map(|bytes| {
            let permit = limit.take();
            permit.load.set(bytes);
            permit
        });
        let evict = limit.heaviest_evictor();
        evict();
        evict();
        assert!(evicted(&mut heaviest) && !evicted(&mut heavy));
        // The connection has ended, but not all of its requests have.
        let load = heaviest.load();
        drop(heaviest);
        load.set(1);
        evict();
        assert!(!evicted(&mut heavy));
        load.set(0);
        evict();
        assert!(evicted(&mut heavy) && !evicted(&mut light));
    }
}
