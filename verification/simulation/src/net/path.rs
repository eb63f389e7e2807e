//! The way between two machines, on which every connection between them depends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::rng::Rng;

use super::pipe::Pipe;

/// In which direction something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the machine that connects.
    ToServer,
    /// To the machine that connects.
    ToClient,
}

/// What becomes of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It takes this long.
    After(Duration),
    Refused,
    /// Nobody answers for now.
    Silence,
}

/// The way.
pub struct Path {
    state: Mutex<State>,
    healed: Notify,
}

struct State {
    rng: Rng,
    /// From and to how many milliseconds a piece takes.
    latency: (u64, u64),
    to_server: bool,
    to_client: bool,
    refuses: bool,
    /// One piece in so many is cut in two; 0 is none.
    cuts: u64,
    pipes: Vec<(Direction, Weak<Pipe>)>,
}

impl Path {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            state: Mutex::new(State {
                rng,
                latency: (0, 1),
                to_server: true,
                to_client: true,
                refuses: false,
                cuts: 0,
                pipes: Vec::new(),
            }),
            healed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pipe(&self, direction: Direction) -> Arc<Pipe> {
        let mut state = self.lock();
        let pipe = Arc::new(Pipe::new(!state.passes(direction)));
        state.pipes.retain(|(_, pipe)| pipe.strong_count() > 0);
        state.pipes.push((direction, Arc::downgrade(&pipe)));
        pipe
    }

    /// How long the next piece takes.
    pub(super) fn delay(&self) -> Duration {
        let mut state = self.lock();
        let (low, high) = state.latency;
        Duration::from_millis(state.rng.between(low, high))
    }

    /// Where a piece of this length is cut in two.
    pub(super) fn cut(&self, length: usize) -> usize {
        let mut state = self.lock();
        let cuts = state.cuts;
        if cuts == 0 || length < 2 || !state.rng.one_in(cuts) {
            return length;
        }
        state.rng.between(1, length as u64 - 1) as usize
    }

    pub(super) fn admission(&self) -> Admission {
        let delay = self.delay();
        let state = self.lock();
        if !state.to_client || !state.to_server {
            return Admission::Silence;
        }
        match state.refuses {
            true => Admission::Refused,
            false => Admission::After(delay),
        }
    }

    pub(super) async fn heal(&self) {
        self.healed.notified().await;
    }

    /// From and to how many milliseconds a piece takes from now on.
    pub fn set_latency(&self, low: u64, high: u64) {
        self.lock().latency = (low, high);
    }

    /// From now on one piece in so many arrives in two.
    pub fn set_cuts(&self, one_in: u64) {
        self.lock().cuts = one_in;
    }

    /// Holds up what goes in this direction, or lets it pass: nothing is lost, it comes late.
    pub fn set_passes(&self, direction: Direction, passes: bool) {
        let delay = self.delay();
        let mut state = self.lock();
        match direction {
            Direction::ToServer => state.to_server = passes,
            Direction::ToClient => state.to_client = passes,
        }
        for (of, pipe) in &state.pipes {
            if let (true, Some(pipe)) = (*of == direction, pipe.upgrade()) {
                pipe.stall(!passes, delay);
            }
        }
        drop(state);
        self.healed.notify_waiters();
    }

    /// Whether new connections are refused from now on.
    pub fn set_refuses(&self, refuses: bool) {
        self.lock().refuses = refuses;
    }

    /// Breaks every connection.
    pub fn reset(&self) {
        for (_, pipe) in std::mem::take(&mut self.lock().pipes) {
            if let Some(pipe) = pipe.upgrade() {
                pipe.reset();
            }
        }
    }

    /// Whether everything passes.
    pub fn is_well(&self) -> bool {
        let state = self.lock();
        state.to_server && state.to_client && !state.refuses
    }
}

impl State {
    fn passes(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}
