//! What readers find while one or two writers change the view: every interleaving, and every value that the memory model lets a
//! load return.
//!
//! The reader is the main thread of each test. It asks for the freshness first and looks then, as a check does.

#![cfg(loom)]

use std::sync::Arc;
// Not loom's: it counts over all executions.
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};
use revoxy_interleavings::{Cutoff, Key, Statement, TestView, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(50);
const SOON: Timestamp = Timestamp::from_secs(100);
const BETWEEN: Timestamp = Timestamp::from_secs(150);
const LATER: Timestamp = Timestamp::from_secs(200);

const EARLY: Cutoff = Cutoff::IssuedUpTo(Timestamp::from_secs(5));

/// Runs a test in every way in which its threads can take turns, unless `LOOM_MAX_PREEMPTIONS` is set.
fn model(test: impl Fn() + Sync + Send + 'static) {
    check(None, test);
}

/// Runs a test in every way in which so many turns end before they have to, where there are too many ways for all. Each of the
/// defects that such a test is made for needs one or two.
fn model_within(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    check(Some(preemptions), test);
}

fn check(preemptions: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    if preemptions.is_some() {
        builder.preemption_bound = preemptions;
    }
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        test();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{executions} executions");
    assert!(executions > 1, "nothing was interleaved");
}

fn writer(view: &Arc<TestView>, write: impl FnOnce(&TestView) + 'static) -> JoinHandle<()> {
    let view = Arc::clone(view);
    thread::spawn(move || write(&view))
}

fn said(cutoff: Cutoff, expires_at: Timestamp) -> Statement {
    Statement {
        cutoff,
        version: 0,
        expires_at,
    }
}

fn all() -> Statement {
    said(Cutoff::All, LATER)
}

/// Keys of one kind in one shard.
fn key(n: u64) -> Key {
    Key::new(1, n << 60, n << 8)
}

/// A key of the same kind in the other shard.
fn key_elsewhere() -> Key {
    Key::new(1, 7 << 60, 1)
}

fn view_with(keys: &[Key]) -> Arc<TestView> {
    let view = TestView::default();
    for key in keys {
        view.put(*key, all());
    }
    Arc::new(view)
}

// ---- who sees a freshness finds every entry that was put before it was set ----

#[test]
fn who_sees_a_freshness_finds_what_was_put_before_it() {
    model(|| {
        let view = view_with(&[key(1)]);
        let writer = writer(&view, |view| {
            view.put(key(2), all());
            view.set_fresh_as_of(1);
        });
        if view.fresh_as_of() >= 1 {
            assert_eq!(view.find(key(2), NOW), Some(Cutoff::All));
        }
        writer.join().unwrap();
    });
}

#[test]
fn who_sees_the_second_freshness_finds_what_was_put_before_either() {
    model(|| {
        let view = view_with(&[]);
        let writer = writer(&view, |view| {
            view.put(key(1), all());
            view.set_fresh_as_of(1);
            view.put(key(2), all());
            view.set_fresh_as_of(2);
        });
        let fresh = view.fresh_as_of();
        for n in 1..=fresh {
            assert_eq!(view.find(key(n), NOW), Some(Cutoff::All));
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_freshness_that_comes_late_takes_nothing_from_a_later_one() {
    model_within(2, || {
        let view = view_with(&[key(1)]);
        let feed = writer(&view, |view| {
            view.put(key(2), all());
            view.set_fresh_as_of(2);
        });
        let late = writer(&view, |view| view.set_fresh_as_of(1));
        if view.fresh_as_of() >= 2 {
            assert_eq!(view.find(key(2), NOW), Some(Cutoff::All));
            assert_eq!(view.fresh_as_of(), 2);
        }
        feed.join().unwrap();
        late.join().unwrap();
        assert_eq!(view.fresh_as_of(), 2);
    });
}

#[test]
#[should_panic(expected = "missed")]
fn who_looks_first_and_asks_for_the_freshness_then_misses_an_entry() {
    model(|| {
        let view = view_with(&[]);
        let writer = writer(&view, |view| {
            view.put(key(1), all());
            view.set_fresh_as_of(1);
        });
        let found = view.find(key(1), NOW);
        assert!(view.fresh_as_of() < 1 || found.is_some(), "missed");
        writer.join().unwrap();
    });
}

#[test]
fn who_sees_a_freshness_does_not_find_what_was_taken_out_before_it() {
    model(|| {
        let view = view_with(&[]);
        view.put(
            key(1),
            Statement {
                version: 7,
                ..all()
            },
        );
        view.put(key(2), all());
        let writer = writer(&view, |view| {
            view.unrevoke(key(1), 7, LATER);
            view.remove(key(2));
            view.set_fresh_as_of(1);
        });
        if view.fresh_as_of() >= 1 {
            assert_eq!(view.find(key(1), NOW), None);
            assert_eq!(view.find(key(2), NOW), None);
        }
        writer.join().unwrap();
    });
}

// ---- while the table is rebuilt ----

#[test]
fn who_sees_a_freshness_finds_what_was_put_while_the_table_grew() {
    model(|| {
        let view = view_with(&[key(1), key(2)]);
        let writer = writer(&view, |view| {
            view.put(key(3), all());
            view.set_fresh_as_of(1);
        });
        if view.fresh_as_of() >= 1 {
            assert_eq!(view.find(key(1), NOW), Some(Cutoff::All));
            assert_eq!(view.find(key(3), NOW), Some(Cutoff::All));
        }
        writer.join().unwrap();
    });
}

#[test]
fn an_entry_is_found_at_any_time_while_the_table_grows() {
    model(|| {
        let view = view_with(&[key(1), key(2)]);
        let writer = writer(&view, |view| view.put(key(3), all()));
        assert_eq!(view.find(key(1), NOW), Some(Cutoff::All));
        writer.join().unwrap();
    });
}

#[test]
fn an_entry_is_found_at_any_time_while_the_table_shrinks() {
    model(|| {
        let view = view_with(&[key(1)]);
        for n in 2..=3 {
            view.put(key(n), said(Cutoff::All, SOON));
        }
        let writer = writer(&view, |view| assert_eq!(view.prune(BETWEEN), 2));
        assert_eq!(view.find(key(1), BETWEEN), Some(Cutoff::All));
        writer.join().unwrap();
    });
}

// ---- an entry that is taken out and put again ----

#[test]
fn who_sees_a_freshness_finds_what_was_taken_out_and_put_again_before_it() {
    model(|| {
        let view = view_with(&[key(1)]);
        let writer = writer(&view, |view| {
            view.remove(key(1));
            view.put(key(1), said(EARLY, LATER));
            view.set_fresh_as_of(1);
        });
        if view.fresh_as_of() >= 1 {
            assert_eq!(view.find(key(1), NOW), Some(EARLY));
        }
        writer.join().unwrap();
    });
}

#[test]
fn an_entry_that_is_put_again_is_never_seen_with_the_cutoff_of_its_former_life() {
    model(|| {
        let view = view_with(&[key(1)]);
        view.remove(key(1));
        let writer = writer(&view, |view| view.put(key(1), said(EARLY, LATER)));
        assert_ne!(view.find(key(1), NOW), Some(Cutoff::All));
        writer.join().unwrap();
    });
}

// ---- what a reader sees of an entry that changes ----

#[test]
fn an_entry_of_another_key_is_never_found() {
    // Both begin at the same slot, and the one that nobody puts reads like a slot that is half written.
    let (mine, other) = (Key::new(1, 1 << 60, 0), Key::new(1, 1 << 60, 4));
    model(move || {
        let view = view_with(&[key(5)]);
        let writer = writer(&view, move |view| view.put(other, all()));
        assert_eq!(view.find(mine, NOW), None);
        writer.join().unwrap();
    });
}

#[test]
fn what_is_strengthened_is_never_weaker_than_before() {
    model_within(3, || {
        let view = view_with(&[]);
        view.put(key(1), said(EARLY, SOON));
        let writer = writer(&view, |view| view.strengthen(key(1), all()));
        let first = view.find(key(1), NOW);
        let second = view.find(key(1), NOW);
        assert!(
            Some(EARLY) <= first && first <= second,
            "{first:?} {second:?}"
        );
        writer.join().unwrap();
    });
}

#[test]
fn a_new_expiry_is_never_seen_with_the_old_cutoff() {
    model(|| {
        let view = view_with(&[]);
        view.put(key(1), said(EARLY, SOON));
        let writer = writer(&view, |view| view.put(key(1), all()));
        assert_ne!(view.find(key(1), BETWEEN), Some(EARLY));
        writer.join().unwrap();
    });
}

#[test]
fn an_entry_that_changes_is_never_weaker_than_both_its_states() {
    model(|| {
        let view = view_with(&[]);
        view.put(key(1), all());
        let writer = writer(&view, |view| view.put(key(1), said(EARLY, SOON)));
        assert!(view.find(key(1), NOW) >= Some(EARLY));
        writer.join().unwrap();
    });
}

// ---- the count of each kind ----

#[test]
fn no_kind_is_passed_over_that_has_an_entry() {
    model_within(2, || {
        let view = view_with(&[key_elsewhere()]);
        let feed = writer(&view, |view| {
            view.put(key(1), all());
            view.set_fresh_as_of(1);
        });
        let other = writer(&view, |view| {
            view.remove(key_elsewhere());
        });
        if view.fresh_as_of() >= 1 {
            assert_eq!(view.find(key(1), NOW), Some(Cutoff::All));
        }
        feed.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn what_was_found_is_found_again() {
    model_within(2, || {
        let view = view_with(&[key_elsewhere()]);
        let feed = writer(&view, |view| view.put(key(1), all()));
        let other = writer(&view, |view| {
            view.remove(key_elsewhere());
        });
        let first = view.find(key(1), NOW);
        assert!(first <= view.find(key(1), NOW));
        feed.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn what_was_taken_out_is_not_found_again() {
    not_found_again(|view| {
        view.remove(key_elsewhere());
    });
}

#[test]
fn what_a_round_did_not_see_is_not_found_again() {
    not_found_again(|view| {
        view.forget_unseen();
    });
}

/// Takes out the only entry of a kind while another of that kind is put elsewhere.
fn not_found_again(take_out: fn(&TestView)) {
    model_within(2, move || {
        let view = view_with(&[key_elsewhere()]);
        view.begin_round();
        let feed = writer(&view, take_out);
        let other = writer(&view, |view| view.put(key(1), all()));
        let first = view.find(key_elsewhere(), NOW);
        assert!(first >= view.find(key_elsewhere(), NOW));
        feed.join().unwrap();
        other.join().unwrap();
    });
}

// ---- two writers ----

#[test]
fn two_writers_of_a_shard_lose_nothing() {
    model_within(2, || {
        let view = view_with(&[key(1)]);
        let one = writer(&view, |view| {
            view.put(key(2), all());
            view.strengthen(key(1), said(EARLY, LATER));
        });
        let other = writer(&view, |view| view.put(key(3), all()));
        one.join().unwrap();
        other.join().unwrap();
        for n in 1..=3 {
            assert_eq!(view.find(key(n), NOW), Some(Cutoff::All));
        }
        assert_eq!(view.len(), 3);
    });
}

#[test]
fn two_who_strengthen_an_entry_leave_the_stronger() {
    model_within(2, || {
        let view = view_with(&[]);
        let one = writer(&view, |view| view.strengthen(key(1), said(EARLY, LATER)));
        let other = writer(&view, |view| {
            view.strengthen(key(1), said(Cutoff::All, SOON))
        });
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!(view.find(key(1), BETWEEN), Some(Cutoff::All));
    });
}

#[test]
fn what_is_acknowledged_during_a_round_outlives_it() {
    model(|| {
        let view = view_with(&[]);
        let store = Arc::new(Mutex::new(false));
        let api = {
            let store = Arc::clone(&store);
            writer(&view, move |view| {
                *store.lock().unwrap() = true;
                view.strengthen(key(1), all());
            })
        };
        view.begin_round();
        let stands = *store.lock().unwrap();
        if stands {
            view.put(key(1), all());
        }
        view.forget_unseen();
        api.join().unwrap();
        assert_eq!(view.find(key(1), NOW), Some(Cutoff::All));
    });
}
