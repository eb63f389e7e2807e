//! Rate-limits a log line to one per minute, for events that may happen a thousand times a second: repeated
//! lines add no information.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Moment;

const MINUTE: Duration = Duration::from_secs(60);

/// Decides when a log line is due.
#[derive(Debug, Default)]
pub struct OncePerMinute(Mutex<Option<Moment>>);

impl OncePerMinute {
    /// Makes a limiter whose first line is due at once.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Returns whether the line is due. If so, the next one is due a minute later.
    pub fn is_due(&self) -> bool {
        self.is_due_at(Moment::now())
    }

    fn is_due_at(&self, now: Moment) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now >= last + MINUTE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_again_after_a_minute_and_not_before() {
        let (line, now) = (OncePerMinute::new(), Moment::now());
        let after = |seconds| line.is_due_at(now + Duration::from_secs(seconds));
        let due = [0, 0, 59, 60, 61, 119, 120].map(after);
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
