//! What the code under test takes from the machine: time, streams, randomness. All of it is simulated.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use revoxy::clock::{Clock, Timestamp};
use revoxy::simulation::{self, Entered, Opening, Stream};
use tokio::time::Instant;

use crate::net::Net;
use crate::rng::Rng;

/// When every schedule begins, by the right time of day: in milliseconds since 1970.
pub const EPOCH: i64 = 1_800_000_000_000;

/// The time of day on one machine.
#[derive(Clone, Debug)]
pub struct Wall {
    began: Instant,
    /// By how many milliseconds it is ahead.
    ahead: Arc<AtomicI64>,
}

impl Wall {
    /// A clock that is right.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            ahead: Arc::default(),
        }
    }

    /// Sets it so many milliseconds ahead of the right time.
    pub fn set_ahead(&self, millis: i64) {
        self.ahead.store(millis, Ordering::Relaxed);
    }

    /// Milliseconds since 1970.
    pub fn millis(&self) -> i64 {
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        EPOCH + since + self.ahead.load(Ordering::Relaxed)
    }
}

impl Default for Wall {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis())
    }
}

struct Simulated {
    began: Instant,
    net: Net,
    rng: RefCell<Rng>,
}

impl simulation::World for Simulated {
    fn now(&self) -> Duration {
        // Not from zero: an instant before the beginning must be one too.
        Duration::from_secs(1000) + self.began.elapsed()
    }

    /// A host is named by who connects and to whom, with a dot between: all replicas share one thread.
    fn connect(&self, host: &str, _: u16) -> Opening {
        let (from, to) = host.split_once('.').unwrap_or(("anybody", host));
        let connecting = self.net.clone().connect(from.to_owned(), to.to_owned());
        Box::pin(async move {
            let socket = connecting.await?;
            Ok(Box::new(socket) as Box<dyn Stream>)
        })
    }

    fn random(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }
}

/// Has the code under test live on this network, until the guard is dropped.
pub fn enter(net: Net, rng: Rng) -> Entered {
    simulation::enter(Rc::new(Simulated {
        began: Instant::now(),
        net,
        rng: RefCell::new(rng),
    }))
}
