//! A feed, other writers and several readers at once, over longer histories than `loom` can search: schedules at random, and by
//! PCT, which draws the few places at which it takes a thread's turn.
//!
//! Shuttle runs one operation after the other, whatever its ordering says: orderings are for `loom`.

#![cfg(shuttle)]

use std::sync::{Arc, Mutex};

use revoxy_interleavings::{Cutoff, Key, Statement, TestView, Timestamp};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

const PAST: Timestamp = Timestamp::from_secs(10);
const NOW: Timestamp = Timestamp::from_secs(50);
const SOON: Timestamp = Timestamp::from_secs(100);
const BETWEEN: Timestamp = Timestamp::from_secs(150);
const LATER: Timestamp = Timestamp::from_secs(200);

const KEYS: usize = 6;
const STEPS: usize = 12;
const LOOKS: usize = 12;
const READERS: usize = 3;

/// How many schedules of each kind a test runs.
const SCHEDULES: usize = 5000;

fn check(test: fn()) {
    shuttle::check_random(test, SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, 3);
}

/// Keys of one kind, every other in each of the two shards.
fn key(n: usize) -> Key {
    let n = u64::try_from(n).unwrap();
    Key::new(1, n << 57, n | (n << 8))
}

fn cutoff(n: usize) -> Cutoff {
    Cutoff::IssuedUpTo(Timestamp::from_secs(i64::try_from(n).unwrap()))
}

fn spawn(view: &Arc<TestView>, run: impl FnOnce(&TestView) + Send + 'static) -> JoinHandle<()> {
    let view = Arc::clone(view);
    thread::spawn(move || run(&view))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

// ---- a history with one writer ----

/// What the feed has begun to state, key by key, and what of it came before each freshness. Its locks are the standard library's:
/// they order nothing in the schedule.
struct History {
    stated: Mutex<Vec<Vec<Option<Cutoff>>>>,
    /// By freshness and key: the place of the latest statement.
    before: Mutex<Vec<Vec<usize>>>,
}

impl History {
    fn new() -> Self {
        Self {
            stated: Mutex::new(vec![vec![None]; KEYS]),
            before: Mutex::new(vec![vec![0; KEYS]]),
        }
    }

    /// To be called before the view is changed.
    fn state(&self, n: usize, cutoff: Option<Cutoff>) {
        self.stated.lock().unwrap()[n].push(cutoff);
    }

    /// To be called before the freshness is set.
    fn complete(&self) {
        let latest = self
            .stated
            .lock()
            .unwrap()
            .iter()
            .map(|s| s.len() - 1)
            .collect();
        self.before.lock().unwrap().push(latest);
    }

    /// The place of the first statement that a reader may mean who has found this: not before the freshness that it saw, nor
    /// before what it has found earlier.
    fn place(&self, n: usize, fresh: usize, earlier: usize, found: Option<Cutoff>) -> usize {
        let from = self.before.lock().unwrap()[fresh][n].max(earlier);
        let stated = self.stated.lock().unwrap();
        let place = stated[n][from..].iter().position(|stated| *stated == found);
        let Some(place) = place else {
            panic!(
                "key {n}, fresh as of {fresh}: {found:?} is not in {:?}",
                &stated[n][from..]
            );
        };
        from + place
    }
}

/// The one writer of the keys of a history.
struct Feed<'a> {
    view: &'a TestView,
    history: &'a History,
    /// What stands.
    held: [Option<Statement>; KEYS],
}

impl Feed<'_> {
    fn run(mut self) {
        for step in 1..=STEPS {
            let n = thread_rng().gen_range(0..KEYS);
            match thread_rng().gen_range(0..9) {
                0..3 => self.put(n, step),
                3 => self.strengthen(n, step),
                4 => self.remove(n),
                5 => self.unrevoke(n, step),
                6 => self.settle(n, step),
                7 => self.prune(),
                _ => self.compare(),
            }
            self.history.complete();
            self.view.set_fresh_as_of(u64::try_from(step).unwrap());
        }
    }

    /// A statement that no other step makes, and that is stronger than all before it.
    fn statement(step: usize) -> Statement {
        Statement {
            cutoff: cutoff(step),
            version: u64::try_from(step).unwrap(),
            expires_at: if step % 3 == 0 { SOON } else { LATER },
        }
    }

    fn state(&mut self, n: usize, said: Option<Statement>) {
        self.held[n] = said;
        self.history.state(n, said.map(|said| said.cutoff));
    }

    fn put(&mut self, n: usize, step: usize) {
        let said = Self::statement(step);
        self.state(n, Some(said));
        self.view.put(key(n), said);
    }

    fn strengthen(&mut self, n: usize, step: usize) {
        let said = Statement {
            expires_at: LATER,
            ..Self::statement(step)
        };
        self.state(n, Some(said));
        self.view.strengthen(key(n), said);
    }

    fn remove(&mut self, n: usize) {
        self.state(n, None);
        self.view.remove(key(n));
    }

    fn unrevoke(&mut self, n: usize, step: usize) {
        self.state(n, None);
        self.view
            .unrevoke(key(n), u64::try_from(step).unwrap(), LATER);
    }

    fn settle(&mut self, n: usize, step: usize) {
        let Some(was) = self.held[n] else { return };
        let now = thread_rng().gen_bool(0.5).then(|| Self::statement(step));
        self.state(n, now);
        self.view.settle(key(n), was, now);
    }

    fn prune(&mut self) {
        for n in 0..KEYS {
            if self.held[n].is_some_and(|held| held.expires_at <= BETWEEN) {
                self.state(n, None);
            }
        }
        self.view.prune(BETWEEN);
    }

    /// A round of comparing, in which the store has lost half of what stands.
    fn compare(&mut self) {
        self.view.begin_round();
        for n in 0..KEYS {
            match self.held[n] {
                Some(said) if thread_rng().gen_bool(0.5) => self.view.put(key(n), said),
                Some(_) => self.state(n, None),
                None => {}
            }
        }
        self.view.forget_unseen();
    }
}

fn read(view: &TestView, history: &History) {
    let mut earlier = [0; KEYS];
    for _ in 0..LOOKS {
        let n = thread_rng().gen_range(0..KEYS);
        let fresh = usize::try_from(view.fresh_as_of()).unwrap();
        let found = view.find(key(n), NOW);
        earlier[n] = history.place(n, fresh, earlier[n], found);
    }
}

/// Makes tables grow and shrink around the keys of a history.
fn disturb(view: &TestView) {
    for round in 0..3 {
        for n in KEYS..KEYS + 6 {
            let expires_at = if n % 3 == 0 { LATER } else { PAST };
            let said = Statement {
                cutoff: Cutoff::All,
                version: 0,
                expires_at,
            };
            view.strengthen(key(n), said);
        }
        view.prune(NOW);
        view.remove(key(KEYS + round));
    }
}

#[test]
fn readers_find_what_the_feed_has_stated_in_its_order() {
    check(|| {
        let (view, history) = (Arc::new(TestView::default()), Arc::new(History::new()));
        let mut threads = vec![spawn(&view, disturb)];
        for reader in 0..=READERS {
            let history = Arc::clone(&history);
            threads.push(spawn(&view, move |view| match reader {
                0 => {
                    let held = [None; KEYS];
                    let history = &history;
                    Feed {
                        view,
                        history,
                        held,
                    }
                    .run();
                }
                _ => read(view, &history),
            }));
        }
        join(threads);
    });
}

// ---- several writers of one key ----

#[test]
fn what_many_strengthen_only_grows() {
    check(|| {
        let view = Arc::new(TestView::default());
        let writers = (0..3).map(|writer| {
            spawn(&view, move |view| {
                for step in 1..=4 {
                    let said = Statement {
                        cutoff: cutoff(step * 3 + writer),
                        version: 0,
                        expires_at: LATER,
                    };
                    view.strengthen(key(1), said);
                    assert!(view.find(key(1), NOW) >= Some(said.cutoff));
                    view.put(key(3 + 2 * step), said);
                }
            })
        });
        let mut threads: Vec<_> = writers.collect();
        threads.extend((0..READERS).map(|_| {
            spawn(&view, |view| {
                let mut earlier = None;
                for _ in 0..LOOKS {
                    let found = view.find(key(1), NOW);
                    assert!(earlier <= found, "{earlier:?} {found:?}");
                    earlier = found;
                }
            })
        }));
        join(threads);
        assert_eq!(view.find(key(1), NOW), Some(cutoff(14)));
        assert_eq!(view.len(), 5);
    });
}

// ---- a store that is written while the feed compares ----

#[test]
fn what_was_acknowledged_is_refused_from_then_on_while_the_feed_compares() {
    check(|| {
        let view = Arc::new(TestView::default());
        let store = Arc::new(shuttle::sync::Mutex::new(Vec::new()));
        let said = Statement {
            cutoff: Cutoff::All,
            version: 0,
            expires_at: LATER,
        };
        let writers = (0..3).map(|writer| {
            let store = Arc::clone(&store);
            spawn(&view, move |view| {
                for n in [writer, writer + 3] {
                    store.lock().unwrap().push(n);
                    view.strengthen(key(n), said);
                    assert_eq!(view.find(key(n), NOW), Some(Cutoff::All));
                }
                assert_eq!(view.find(key(writer), NOW), Some(Cutoff::All));
            })
        });
        let writers: Vec<_> = writers.collect();
        for round in 1..=3 {
            view.begin_round();
            let read = store.lock().unwrap().clone();
            for n in &read {
                view.put(key(*n), said);
            }
            view.forget_unseen();
            view.set_fresh_as_of(round);
            for n in read {
                assert_eq!(view.find(key(n), NOW), Some(Cutoff::All));
            }
        }
        join(writers);
        assert_eq!(view.len(), 6);
    });
}
