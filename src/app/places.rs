//! The connections that a listener has room for. Where there is none left, the idlest makes room.
//!
//! Turning newcomers away instead would let whoever came first, and stays, lock out probes and proxies.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ext_authz::ConnectionLoad;

/// It takes a moment until a connection that has to leave has left, in which no other has to.
const RELIEVE_EVERY: Duration = Duration::from_millis(40);
/// The log says at most so often that connections had to make room.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The places of one listener.
pub(super) struct Places {
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
    relieved: Option<Instant>,
}

struct Held {
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evict: oneshot::Sender<()>,
}

/// The place of one connection, given back when dropped.
pub(super) struct Place {
    number: u64,
    active: Arc<AtomicU64>,
    load: ConnectionLoad,
    evicted: oneshot::Receiver<()>,
    places: Arc<Places>,
}

impl Places {
    /// So many for connections to `listener`.
    pub fn new(listener: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            listener,
            max,
            start: Instant::now(),
            table: Mutex::default(),
        })
    }

    /// A place, which the connection has to give up that has been idle for longest if all are taken.
    pub fn take(self: &Arc<Self>) -> Place {
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
        Place {
            number,
            active,
            load,
            evicted,
            places: Arc::clone(self),
        }
    }

    /// Closes the connection that has been idle for longest, if that helps against this error of `accept`.
    pub fn make_room(&self, error: &io::Error) {
        // Of the process, of the system (EMFILE, ENFILE).
        if !matches!(error.raw_os_error(), Some(24 | 23)) {
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
    pub fn relief(self: &Arc<Self>) -> impl Fn() + Send + Sync + 'static {
        let places = Arc::clone(self);
        move || {
            let mut table = places.table();
            if table
                .relieved
                .is_some_and(|at| at.elapsed() < RELIEVE_EVERY)
            {
                return;
            }
            table.relieved = Some(Instant::now());
            let heaviest = table.held.iter().max_by_key(|(_, held)| held.load.bytes());
            let heaviest = heaviest.map(|(number, _)| *number);
            let why = "requests take too much memory; closing the connection that takes most";
            places.evict(&mut table, heaviest, why);
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

impl Place {
    /// What the requests of the connection hold.
    pub fn load(&self) -> ConnectionLoad {
        self.load.clone()
    }

    /// The connection is in use now.
    pub fn touch(&self) {
        self.active.store(self.places.now(), Ordering::Relaxed);
    }

    /// Resolves when the connection has to make room.
    pub fn evicted(&mut self) -> &mut oneshot::Receiver<()> {
        &mut self.evicted
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().held.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(place: &mut Place) -> bool {
        place.evicted().try_recv().is_ok()
    }

    #[test]
    fn the_connection_that_is_idle_for_longest_makes_room() {
        let places = Places::new("check", 2);
        let (mut one, mut two) = (places.take(), places.take());
        std::thread::sleep(Duration::from_millis(1));
        one.touch();
        let mut three = places.take();
        assert!(evicted(&mut two) && !evicted(&mut one) && !evicted(&mut three));
        drop(two);
        assert_eq!(places.table().held.len(), 2);
        drop((one, three));
        assert_eq!(places.table().held.len(), 0);
    }
}
