//! The faults, and a schedule of them drawn from a seed.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
    /// SIGKILL, and a new server with the same data after this time.
    Kill(Duration),
    /// SIGKILL, and a new server that has nothing.
    KillAndForget(Duration),
    /// The connections of one replica are closed, and refused for this time.
    Cut(usize, Duration),
    /// The connections of one replica stay open and carry nothing.
    Hang(usize, Duration),
    /// Everything to and from one replica is late by the second time.
    Delay(usize, Duration, Duration),
    /// The server closes every connection.
    ClientKill,
    /// Thousands of revocations at once.
    Flood,
    /// The server may keep little for a slow reader, who is then cut off.
    Overflow(usize),
    /// One replica of Revoxy is killed and started again.
    Restart(usize),
    /// The server becomes a replica of another, empty one, takes over its data, and is a primary again.
    Demote,
    /// Memory is short, and keys are evicted.
    Evict,
    /// Somebody takes the list for a cache.
    FlushAll,
    /// Somebody swaps it for another database, without a push.
    SwapDb,
}

/// An endless schedule.
pub struct Faults {
    seed: u64,
    state: u64,
    /// Whether deleting keys takes nothing back, so that the promise covers it.
    deletions_too: bool,
    drawn: u64,
}

impl Faults {
    pub fn drawn_from(seed: u64, deletions_too: bool) -> Self {
        Self {
            seed,
            state: seed,
            deletions_too,
            drawn: 0,
        }
    }

    /// SplitMix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.draw(to - from))
    }
}

impl Iterator for Faults {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let replica = usize::try_from(self.draw(3)).unwrap();
        let time = self.millis(50, 1500);
        let kinds = if self.deletions_too { 14 } else { 12 };
        // The first round goes through all kinds, in an order of its own; after that they come as they like.
        self.drawn += 1;
        let kind = if self.drawn <= kinds {
            (self.drawn * 5 + self.seed) % kinds
        } else {
            self.draw(kinds)
        };
        Some(match kind {
            0 => Fault::Pause(time),
            1 => Fault::Kill(time),
            2 => Fault::KillAndForget(time / 4),
            3 => Fault::Cut(replica, time),
            4 => Fault::Hang(replica, time + Duration::from_millis(800)),
            5 => Fault::Delay(
                replica,
                time + Duration::from_millis(800),
                self.millis(1, 300),
            ),
            6 => Fault::ClientKill,
            7 => Fault::Flood,
            8 => Fault::Overflow(replica),
            9 => Fault::Restart(replica),
            10 => Fault::Demote,
            11 => Fault::Evict,
            12 => Fault::FlushAll,
            _ => Fault::SwapDb,
        })
    }
}
