//! A network in memory: machines, the ways between them, and connections whose bytes take their time.
//!
//! Within a connection everything arrives, in order, or the connection breaks, as with TCP. Between connections nothing is
//! ordered.

mod path;
mod pipe;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::time::sleep;

use crate::rng::Rng;

use path::Admission;
pub use path::{Direction, Path};
pub use socket::Socket;

/// The network.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    paths: BTreeMap<(String, String), Arc<Path>>,
    doors: BTreeMap<String, Arc<Door>>,
}

/// Where a machine is connected to.
#[derive(Default)]
pub struct Door(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    open: bool,
    arrived: Vec<Socket>,
    waker: Option<Waker>,
}

impl Net {
    /// A network without machines.
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            paths: BTreeMap::new(),
            doors: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way from one machine to another.
    pub fn path(&self, from: &str, to: &str) -> Arc<Path> {
        let mut state = self.lock();
        let ends = (from.to_owned(), to.to_owned());
        if let Some(path) = state.paths.get(&ends) {
            return Arc::clone(path);
        }
        let path = Arc::new(Path::new(state.rng.fork()));
        state.paths.insert(ends, Arc::clone(&path));
        path
    }

    /// Every way to a machine.
    pub fn paths_to(&self, to: &str) -> Vec<Arc<Path>> {
        let state = self.lock();
        let paths = state.paths.iter().filter(|((_, end), _)| end == to);
        paths.map(|(_, path)| Arc::clone(path)).collect()
    }

    /// Where a machine is connected to.
    pub fn door(&self, of: &str) -> Arc<Door> {
        Arc::clone(self.lock().doors.entry(of.to_owned()).or_default())
    }

    /// Connects one machine to another.
    pub async fn connect(self, from: String, to: String) -> io::Result<Socket> {
        let (path, door) = (self.path(&from, &to), self.door(&to));
        loop {
            match path.admission() {
                Admission::Silence => path.heal().await,
                Admission::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Admission::After(delay) => {
                    sleep(delay).await;
                    break;
                }
            }
        }
        let (ours, mut theirs) = Socket::pair(&path);
        theirs.peer = from;
        match door.knock(theirs) {
            true => Ok(ours),
            false => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets connections in, or refuses them.
    pub fn set_open(&self, open: bool) {
        let mut waiting = self.lock();
        waiting.open = open;
        if !open {
            waiting.arrived.clear();
        }
    }

    fn knock(&self, socket: Socket) -> bool {
        let mut waiting = self.lock();
        if waiting.open {
            waiting.arrived.push(socket);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
        waiting.open
    }

    /// Who has connected. `waker` is told of the next.
    pub fn accept(&self, waker: &Waker) -> Vec<Socket> {
        let mut waiting = self.lock();
        waiting.waker = Some(waker.clone());
        std::mem::take(&mut waiting.arrived)
    }
}
