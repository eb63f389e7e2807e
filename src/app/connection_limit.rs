//! The limit on the connections of a listener. When it is reached, the idlest connection is evicted for a new one.
//!
//! Turning newcomers away instead would let whoever came first, and stays, lock out probes and proxies.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::ext_authz::ConnectionLoad;

/// It takes a moment until a connection that has to leave has left, in which no other has to.
const EVICT_EVERY: Duration = Duration::from_millis(40);
/// The log says at most so often that connections were evicted.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The limit of one listener.
pub(super) struct ConnectionLimit {
    listener: &'static str,
    max: usize,
    start: Instant,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    held: HashMap<u64, Held>,
    next: u64,
    said: Option<Instant>,
    evicted_at: Option<Instant>,
}

struct Held {
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evict: oneshot::Sender<()>,
}

/// The permit of one connection, given back when dropped.
pub(super) struct ConnectionPermit {
    number: u64,
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evicted: oneshot::Receiver<()>,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// So many for connections to `listener`.
    pub fn new(listener: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            listener,
            max,
            start: Instant::now(),
            table: Mutex::default(),
        })
    }

    /// A permit for a new connection. If all are taken, the connection that has been idle for longest is evicted.
    pub fn take(self: &Arc<Self>) -> ConnectionPermit {
        let mut table = self.table();
        while table.held.len() >= self.max.max(1) {
            let idlest = idlest(&table);
            self.evict(
                &mut table,
                idlest,
                "too many connections; closing the idlest",
            );
        }
        let (evict, evicted) = oneshot::channel();
        let active = Arc::new(AtomicU64::new(self.now()));
        let load = ConnectionLoad::default();
        let number = table.next;
        table.next += 1;
        let held = Held {
            active: Arc::clone(&active),
            load: load.clone(),
            evict,
        };
        table.held.insert(number, held);
        ConnectionPermit {
            number,
            active,
            load,
            evicted,
            limit: Arc::clone(self),
        }
    }

    /// Closes the connection that has been idle for longest, if that helps against this error of `accept`.
    pub fn make_room(&self, error: &io::Error) {
        // Of the process, or of the system.
        if !matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE)
        ) {
            return;
        }
        let mut table = self.table();
        let idlest = idlest(&table);
        self.evict(
            &mut table,
            idlest,
            "too many open files; closing the idlest connection",
        );
    }

    /// Closes the connection whose requests hold most memory.
    pub fn evict_heaviest(self: &Arc<Self>) -> impl Fn() + Send + Sync + 'static {
        let limit = Arc::clone(self);
        move || {
            let mut table = limit.table();
            if table
                .evicted_at
                .is_some_and(|at| at.elapsed() < EVICT_EVERY)
            {
                return;
            }
            table.evicted_at = Some(Instant::now());
            let heaviest = table.held.iter().max_by_key(|(_, held)| held.load.bytes());
            let heaviest = heaviest.map(|(number, _)| *number);
            let why = "requests take too much memory; closing the connection that takes most";
            limit.evict(&mut table, heaviest, why);
        }
    }

    fn evict(&self, table: &mut Table, number: Option<u64>, why: &str) {
        let Some(held) = number.and_then(|number| table.held.remove(&number)) else {
            return;
        };
        // An error means that it has ended by itself.
        let _ = held.evict.send(());
        if table.said.is_none_or(|at| at.elapsed() > SAY_EVERY) {
            table.said = Some(Instant::now());
            tracing::warn!(
                listener = self.listener,
                connections = table.held.len(),
                max = self.max,
                "{why}"
            );
        }
    }

    /// A panic under the lock leaves nothing half done.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn idlest(table: &Table) -> Option<u64> {
    let idlest = table.held.iter();
    let idlest = idlest.min_by_key(|(_, held)| held.active.load(Ordering::Relaxed));
    idlest.map(|(number, _)| *number)
}

impl ConnectionPermit {
    /// What the requests of the connection hold.
    pub fn load(&self) -> ConnectionLoad {
        self.load.clone()
    }

    /// The connection is in use now.
    pub fn touch(&self) {
        self.active.store(self.limit.now(), Ordering::Relaxed);
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
        let before = limit.now();
        while limit.now() == before {
            std::thread::yield_now();
        }
        one.touch();
        let mut three = limit.take();
        assert!(evicted(&mut two) && !evicted(&mut one) && !evicted(&mut three));
        drop(two);
        assert_eq!(limit.table().held.len(), 2);
        drop((one, three));
        assert_eq!(limit.table().held.len(), 0);
    }
}
