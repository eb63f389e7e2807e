//! What happened, as text for people and as a number to compare two runs by.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The record of one run.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<State>>);

struct State {
    began: Instant,
    digest: u64,
    lines: Option<Vec<String>>,
    print: bool,
}

/// How much of the text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None of it.
    Nothing,
    /// All of it.
    Lines,
    /// It is printed as it comes.
    Print,
}

impl State {
    fn digest(&mut self, numbers: &[u64]) -> Duration {
        let at = self.began.elapsed();
        let millis = u64::try_from(at.as_millis()).unwrap_or_default();
        for number in numbers.iter().chain([&millis]) {
            self.digest = (self.digest ^ number).wrapping_mul(0x0100_0000_01b3);
            self.digest ^= self.digest >> 29;
        }
        at
    }
}

impl Trace {
    /// A record that begins now.
    pub fn new(keep: Keep) -> Self {
        Self(Arc::new(Mutex::new(State {
            began: Instant::now(),
            digest: 0xcbf2_9ce4_8422_2325,
            lines: (keep != Keep::Nothing).then(Vec::new),
            print: keep == Keep::Print,
        })))
    }

    /// Records an event: numbers for the digest, words for people.
    pub fn event(&self, numbers: &[u64], words: impl FnOnce() -> String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = state.digest(numbers);
        let print = state.print;
        if let Some(lines) = &mut state.lines {
            let line = format!("{:>8.3} {}", at.as_secs_f64(), words());
            if print {
                println!("{line}");
            }
            lines.push(line);
        }
    }

    /// Records what is only for the digest.
    pub fn note(&self, numbers: &[u64]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.digest(numbers);
    }

    /// Records what is only for people.
    pub fn say(&self, words: impl FnOnce() -> String) {
        self.event(&[], words);
    }

    /// How long it has lasted.
    pub fn elapsed(&self) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.began.elapsed()
    }

    /// The same, in milliseconds.
    pub fn millis(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or_default()
    }

    /// What two runs of one seed must have in common.
    pub fn digest(&self) -> u64 {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.digest
    }

    /// The text.
    pub fn lines(&self) -> Vec<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.clone().unwrap_or_default()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}
