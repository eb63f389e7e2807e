//! Bytes under way in one direction of a connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// Bytes that arrive together, or the end of the stream.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// One direction. What was sent first arrives first.
pub(super) struct Pipe(Mutex<State>);

struct State {
    pieces: VecDeque<(Instant, Piece)>,
    /// When the last piece arrives.
    last: Instant,
    /// Nothing arrives while this is set.
    stalled: bool,
    /// Nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
}

/// What a reader finds.
pub(super) enum Found {
    Bytes(usize),
    End,
    /// Something arrives at this instant.
    Later(Instant),
    Nothing,
}

impl Pipe {
    pub(super) fn new(stalled: bool) -> Self {
        Self(Mutex::new(State {
            pieces: VecDeque::new(),
            last: Instant::now(),
            stalled,
            abandoned: false,
            reader: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends bytes. `false` where nobody reads them.
    pub(super) fn send(&self, bytes: &[u8], delay: Duration) -> bool {
        let mut state = self.lock();
        if state.abandoned {
            return false;
        }
        state.push(Piece::Bytes(bytes.to_vec()), delay);
        true
    }

    /// Sends the end of the stream.
    pub(super) fn end(&self, delay: Duration) {
        self.lock().push(Piece::End, delay);
    }

    /// Nobody reads from now on.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.pieces.clear();
    }

    /// Holds everything up, or lets it go on.
    pub(super) fn stall(&self, stalled: bool, delay: Duration) {
        let mut state = self.lock();
        state.stalled = stalled;
        if !stalled {
            let soonest = Instant::now() + delay;
            for (at, _) in &mut state.pieces {
                *at = (*at).max(soonest);
            }
            state.last = state.last.max(soonest);
            state.wake();
        }
    }

    /// Drops everything under way, and ends the stream where it is.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.pieces.clear();
        let now = Instant::now();
        state.pieces.push_back((now, Piece::End));
        state.stalled = false;
        state.wake();
    }

    /// Reads into `into` what has arrived.
    pub(super) fn read(&self, into: &mut [u8], waker: &Waker) -> Found {
        let mut state = self.lock();
        state.reader = Some(waker.clone());
        if state.stalled {
            return Found::Nothing;
        }
        let now = Instant::now();
        match state.pieces.front_mut() {
            None => Found::Nothing,
            Some((at, _)) if *at > now => Found::Later(*at),
            Some((_, Piece::End)) => Found::End,
            Some((_, Piece::Bytes(bytes))) => {
                let count = bytes.len().min(into.len());
                into[..count].copy_from_slice(&bytes[..count]);
                if count == bytes.len() {
                    state.pieces.pop_front();
                } else {
                    bytes.drain(..count);
                }
                Found::Bytes(count)
            }
        }
    }
}

impl State {
    fn push(&mut self, piece: Piece, delay: Duration) {
        self.last = self.last.max(Instant::now() + delay);
        self.pieces.push_back((self.last, piece));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
