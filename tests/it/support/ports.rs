//! Ports for servers that cannot leave the choice to the kernel: a server that is killed and restarted must
//! find its port free.
//!
//! The ports are below the range that the kernel uses for outgoing connections. Every test run has blocks of
//! its own, so that no run takes the port of a server that another run has killed. A foreign process may
//! still take a port between its selection and the start of the server, so start servers in
//! [`on_free_ports`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 11_000;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 210;
/// The maximum number of attempts to start a server.
const ATTEMPTS: usize = 10;

/// The ports of this run.
struct Ports {
    /// Listeners on the first port of each block: the process that listens there owns the block.
    claims: Vec<TcpListener>,
    /// The unused rest of the latest block.
    left: Range<u16>,
}

static PORTS: Mutex<Ports> = Mutex::new(Ports {
    claims: Vec::new(),
    left: 0..0,
});

thread_local! {
    static NEXT: RefCell<VecDeque<u16>> = const { RefCell::new(VecDeque::new()) };
}

/// Returns a port that nobody listens on, and that this run has not used before.
pub fn free_port() -> u16 {
    if let Some(port) = NEXT.with_borrow_mut(VecDeque::pop_front) {
        return port;
    }
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match ports.left.next() {
            Some(port) if listen(port).is_some() => return port,
            Some(_) => {}
            None => ports.claim(),
        }
    }
}

/// Sets the ports that [`free_port`] returns next on this thread, free or not: for tests of what happens if
/// they are not.
pub fn say_next(ports: impl IntoIterator<Item = u16>) {
    NEXT.with_borrow_mut(|next| next.extend(ports));
}

/// Starts something, and retries with other ports if somebody else has taken one of them in the meantime
/// (`None`).
pub async fn on_free_ports<T>(mut start: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..ATTEMPTS {
        if let Some(started) = start().await {
            return started;
        }
    }
    panic!("{ATTEMPTS} times somebody else took a port first");
}

impl Ports {
    /// Claims a free block.
    fn claim(&mut self) {
        // Concurrent runs start their search at different blocks.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
        let blocks = (0..BLOCKS).map(|n| FIRST + (start + n) % BLOCKS * BLOCK);
        let claimed = blocks.filter_map(|first| Some((first, listen(first)?)));
        let (first, claim) = claimed.into_iter().next().expect("a block of free ports");
        self.claims.push(claim);
        self.left = first + 1..first + BLOCK;
    }
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}
