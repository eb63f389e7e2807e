//! Hooks for deterministic simulation: they replace the clock, the connections and the random numbers of the
//! current thread with simulated ones.
//!
//! Compiled only with the feature `simulation`, which no production build has. The simulated code is the
//! production code: it reads [`Moment`](crate::clock::Moment)s and opens streams as usual, and receives
//! simulated ones.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream that is being opened.
pub type Opening = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// The simulated environment.
pub trait World {
    /// Returns how long the simulated machine has been running.
    fn now(&self) -> Duration;

    /// Connects to a host and port.
    fn connect(&self, host: &str, port: u16) -> Opening;

    /// Returns a random number below `bound`, for jitter.
    fn random(&self, bound: u64) -> u64;
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Makes this thread use the given world, until the guard is dropped.
#[must_use]
pub fn enter(world: Rc<dyn World>) -> Entered {
    WORLD.with(|slot| *slot.borrow_mut() = Some(world));
    Entered(())
}

/// The guard of [`enter`].
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

/// Connects to a host and port in the simulated environment, if this thread is in one.
pub fn connect(host: &str, port: u16) -> Option<Opening> {
    world().map(|world| world.connect(host, port))
}

pub(crate) fn random(bound: u64) -> Option<u64> {
    world().map(|world| world.random(bound))
}
