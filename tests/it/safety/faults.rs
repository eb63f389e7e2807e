//! The faults, and a schedule of them that is drawn from a seed.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
    /// SIGKILL, and a new server with the same data after this time.
    Kill(Duration),
    /// SIGKILL, and a new server without data.
    KillAndForget(Duration),
    /// SIGKILL, and a new server with every key as it was first written.
    GoBack,
    /// SIGKILL, and a new server with the data from this long ago.
    Relapse(Duration),
    /// One Revoxy replica is paused (SIGSTOP), with requests in flight.
    Doze(usize, Duration),
    /// The connections of one replica are closed, and new ones refused for this time.
    Cut(usize, Duration),
    /// The connections of one replica stay open and carry nothing.
    Hang(usize, Duration),
    /// For this time, the existing connections of one replica stay open and carry nothing; new ones work.
    Orphan(usize, Duration),
    /// Every other connection of one replica stays open and carries nothing.
    HangHalf(usize, bool, Duration),
    /// Everything to and from one replica is delayed by the second duration.
    Delay(usize, Duration, Duration),
    /// The server closes every connection.
    ClientKill,
    /// Thousands of revocations at once.
    Flood,
    /// The server limits the output buffer of a slow reader, and then disconnects it.
    Overflow(usize),
    /// One Revoxy replica is killed and restarted.
    Restart(usize),
    /// The server becomes a replica of another, empty one, copies its data, and becomes a primary again.
    Demote,
    /// Memory is short, and keys are evicted.
    Evict,
    /// Somebody flushes the list, taking it for a cache.
    FlushAll,
    /// Somebody swaps the list for an empty database, which causes no push.
    SwapDb,
    /// The primary is replaced, although it is healthy.
    FailOver,
    /// The primary is replaced by a replica that has received nothing from it for this time.
    FailOverToDeaf(Duration),
    /// The primary is replaced, and keeps acting as one for this time.
    Usurp(Duration),
    /// Most Sentinels do not answer.
    Silence(Duration),
    /// The primary is paused until it has been replaced and for this time, and then continues as a primary.
    Sleep(Duration),
    /// Slots of a cluster move to another node, key by key.
    MoveSlots,
    /// Slots of a cluster move to another node, each with all its keys at once.
    MoveSlotsAtOnce,
}

/// A fault without its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Pause,
    Kill,
    KillAndForget,
    GoBack,
    Relapse,
    Doze,
    Cut,
    Hang,
    Orphan,
    HangHalf,
    Delay,
    ClientKill,
    Flood,
    Overflow,
    Restart,
    Demote,
    Evict,
    FlushAll,
    SwapDb,
    FailOver,
    FailOverToDeaf,
    Usurp,
    Silence,
    Sleep,
    MoveSlots,
    MoveSlotsAtOnce,
}

/// A sequence of pseudo-random numbers from a seed: SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.draw(below as u64)).unwrap()
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.draw(to - from))
    }
}

/// An endless schedule of faults.
pub struct Faults {
    random: Random,
    kinds: Vec<Kind>,
    /// The kinds that are left for the first round, in random order.
    first: Vec<Kind>,
}

impl Faults {
    pub fn drawn_from(seed: u64, kinds: Vec<Kind>) -> Self {
        let mut faults = Self {
            random: Random::of(seed),
            first: Vec::new(),
            kinds: kinds.clone(),
        };
        let mut rest = kinds;
        while !rest.is_empty() {
            let at = faults.random.index(rest.len());
            faults.first.push(rest.swap_remove(at));
        }
        faults
    }
}

impl Iterator for Faults {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let replica = self.random.index(3);
        let time = self.random.millis(50, 1500);
        let longer = time + Duration::from_millis(800);
        // The first round goes through all kinds; after that, they are drawn at random.
        let kind = match self.first.pop() {
            Some(kind) => kind,
            None => {
                let at = self.random.index(self.kinds.len());
                self.kinds[at]
            }
        };
        Some(match kind {
            Kind::Pause => Fault::Pause(time),
            Kind::Kill => Fault::Kill(time),
            Kind::KillAndForget => Fault::KillAndForget(time / 4),
            Kind::GoBack => Fault::GoBack,
            Kind::Relapse => Fault::Relapse(time),
            Kind::Doze => Fault::Doze(replica, longer),
            Kind::Cut => Fault::Cut(replica, time),
            Kind::Hang => Fault::Hang(replica, longer),
            Kind::Orphan => Fault::Orphan(replica, longer),
            Kind::HangHalf => Fault::HangHalf(replica, self.random.draw(2) == 1, longer),
            Kind::Delay => Fault::Delay(replica, longer, self.random.millis(1, 300)),
            Kind::ClientKill => Fault::ClientKill,
            Kind::Flood => Fault::Flood,
            Kind::Overflow => Fault::Overflow(replica),
            Kind::Restart => Fault::Restart(replica),
            Kind::Demote => Fault::Demote,
            Kind::Evict => Fault::Evict,
            Kind::FlushAll => Fault::FlushAll,
            Kind::SwapDb => Fault::SwapDb,
            Kind::FailOver => Fault::FailOver,
            Kind::FailOverToDeaf => Fault::FailOverToDeaf(time),
            Kind::Usurp => Fault::Usurp(longer),
            Kind::Silence => Fault::Silence(longer),
            Kind::Sleep => Fault::Sleep(longer),
            Kind::MoveSlots => Fault::MoveSlots,
            Kind::MoveSlotsAtOnce => Fault::MoveSlotsAtOnce,
        })
    }
}
