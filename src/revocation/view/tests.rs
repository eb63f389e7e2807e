//! Entries that are put in, changed and taken out, and what readers find meanwhile.

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1000);
const LATER: Timestamp = Timestamp::from_secs(2000);

fn key(n: u128) -> KeyHash {
    // Spread over shards and slots as a digest would be.
    KeyHash::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), 1)
}

#[test]
fn an_entry_is_found_until_it_expires() {
    let view = View::default();
    assert_eq!(view.put(key(7), Cutoff::All, LATER), Change::Added);
    assert_eq!(view.find(key(7), NOW), Some(Cutoff::All));
    assert_eq!(view.find(key(7), LATER), None);
    assert_eq!(view.find(key(8), NOW), None);
}

#[test]
fn what_has_changed_meanwhile_is_not_settled() {
    let view = View::default();
    let (all, cutoff) = (Cutoff::All, Cutoff::IssuedUpTo(NOW));
    for now in [None, Some((cutoff, NOW))] {
        view.put(key(1), all, LATER);
        view.settle(key(1), (cutoff, LATER), now);
        assert_eq!(view.entry(key(1)), Some((all, LATER)));
        view.settle(key(1), (all, LATER), now);
        assert_eq!(view.entry(key(1)), now);
        view.settle(key(2), (all, LATER), now);
        assert_eq!(view.entry(key(2)), None);
        assert_eq!(view.len(), usize::from(now.is_some()));
    }
}

#[test]
fn sweeping_takes_only_the_expired() {
    let view = View::default();
    view.put(key(1), Cutoff::All, NOW);
    view.put(key(2), Cutoff::All, LATER);
    assert_eq!(view.prune(NOW), 1);
    assert_eq!(view.len(), 1);
    assert!(view.remove(key(2)) && !view.remove(key(2)));
    assert!(view.is_empty());
}

#[test]
fn putting_replaces_and_strengthening_never_weakens() {
    let view = View::default();
    let cutoff = |s| Cutoff::IssuedUpTo(Timestamp::from_secs(s));
    view.put(key(1), cutoff(20), LATER);
    view.strengthen(key(1), cutoff(10), NOW);
    assert_eq!(view.find(key(1), NOW), Some(cutoff(20)));
    assert_eq!(view.put(key(1), cutoff(10), LATER), Change::Altered);
    assert_eq!(view.put(key(1), cutoff(10), LATER), Change::None);
    assert_eq!(view.find(key(1), NOW), Some(cutoff(10)));
}

#[test]
fn what_a_round_has_not_seen_is_told() {
    let view = View::default();
    view.put(key(1), Cutoff::All, LATER);
    view.put(key(2), Cutoff::All, LATER);
    view.begin_round();
    view.put(key(2), Cutoff::All, LATER);
    assert_eq!(view.unseen(NOW), [(key(1), Cutoff::All, LATER)]);
}

#[test]
fn a_hundred_thousand_entries_come_and_go_within_64_bytes_each() {
    let view = View::default();
    let n = 100_000;
    for i in 1..=n {
        view.put(key(i), Cutoff::All, LATER);
    }
    assert!((1..=n).all(|i| view.find(key(i), NOW).is_some()));
    assert!((n + 1..2 * n).all(|i| view.find(key(i), NOW).is_none()));
    assert!(
        view.bytes() / view.len() <= 64,
        "{} bytes",
        view.bytes() / view.len()
    );
    for i in (1..=n).filter(|i| i % 3 != 0) {
        assert!(view.remove(key(i)));
    }
    assert!((1..=n).all(|i| view.find(key(i), NOW).is_some() == (i % 3 == 0)));
    assert_eq!(view.len(), 33_333);
}

#[test]
fn readers_find_every_entry_while_writers_rebuild_around_it() {
    let view = View::default();
    let fixed = 1000;
    for i in 1..=fixed {
        view.put(key(i), Cutoff::All, LATER);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in fixed + 1..60_000 {
                view.put(key(i), Cutoff::All, LATER);
                view.remove(key(i - i % 2));
                view.put(key(1 + i % fixed), Cutoff::All, LATER);
            }
        });
        for _ in 0..200 {
            assert!((1..=fixed).all(|i| view.find(key(i), NOW).is_some() || i % 2 == 0));
        }
    });
}
