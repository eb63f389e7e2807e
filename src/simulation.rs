//! Hooks for deterministic simulation: what the process takes from the machine, replaced for the present thread.
//!
//! Only with the feature `simulation`, which no build for production has. The code that is simulated is the real one: it reads
//! [`Moment`](crate::clock::Moment)s and opens streams as ever, and gets simulated ones.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// What a connection reads and writes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that is being opened.
pub type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// What a simulation provides.
pub trait World {
    /// How long the simulated machine has been running.
    fn now(&self) -> Duration;

    /// Connects to a host and port.
    fn connect(&self, host: &str, port: u16) -> Opening;

    /// A number below `bound`, for what is spread at random.
    fn random(&self, bound: u64) -> u64;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Runs what follows on this thread in this world, until the guard is dropped.
#[must_use]
pub fn enter(world: Rc<dyn World>) -> Entered {
    WORLD.with(|slot| *slot.borrow_mut() = Some(world));
    Entered(())
}

/// While this is there, the thread is in a world.
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.with(|slot| slot.borrow_mut().take());
    }
}

fn world() -> Option<Rc<dyn World>> {
    WORLD.with(|slot| slot.borrow().clone())
}

pub(crate) fn now() -> Option<Duration> {
    world().map(|world| world.now())
}

pub(crate) fn connect(host: &str, port: u16) -> Option<Opening> {
    world().map(|world| world.connect(host, port))
}

pub(crate) fn random(bound: u64) -> Option<u64> {
    world().map(|world| world.random(bound))
}
