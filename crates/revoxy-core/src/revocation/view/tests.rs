//! Tests of entries that are inserted, changed and removed, and of what readers find meanwhile.

use std::time::Duration;

use super::super::key::KeyKind;
use super::*;
use crate::clock::Moment;

const NOW: Timestamp = Timestamp::from_secs(1000);
const LATER: Timestamp = Timestamp::from_secs(2000);

fn held(effect: impl Into<Effect>, expires_at: Timestamp) -> Held {
    Held::unversioned(effect, expires_at)
}

fn stated(cutoff: Cutoff, version: u64) -> Held {
    Held {
        version: Version::from_bits(version),
        ..held(cutoff, LATER)
    }
}

fn key(n: u128) -> KeyHash {
    // Spread over shards and slots, as a digest would be.
    KeyHash::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), 1)
}

#[test]
fn an_entry_is_found_until_it_expires() {
    let view = View::default();
    assert_eq!(view.put(key(7), held(Cutoff::All, LATER)), Change::Added);
    assert_eq!(view.find(key(7), NOW), Some(Effect::REVOKES_ALL));
    assert_eq!(view.find(key(7), LATER), None);
    assert_eq!(view.find(key(8), NOW), None);
}

#[test]
fn what_has_changed_meanwhile_is_not_settled() {
    let view = View::default();
    let (all, cutoff) = (
        held(Cutoff::All, LATER),
        held(Cutoff::IssuedUpTo(NOW), LATER),
    );
    for now in [None, Some(held(Cutoff::IssuedUpTo(NOW), NOW))] {
        view.put(key(1), all);
        view.settle(key(1), cutoff, now);
        assert_eq!(view.entry(key(1)), Some(all));
        view.settle(key(1), all, now);
        assert_eq!(view.entry(key(1)), now);
        view.settle(key(2), all, now);
        assert_eq!(view.entry(key(2)), None);
        assert_eq!(view.len(), usize::from(now.is_some()));
    }
}

#[test]
fn an_entry_keeps_its_version_whatever_it_means() {
    let view = View::default();
    for entry in [
        stated(Cutoff::All, 7),
        stated(Cutoff::IssuedUpTo(NOW), 9),
        stated(Cutoff::All, (1 << 53) - 1),
        held(Effect::Admits, LATER),
    ] {
        view.put(key(1), entry);
        assert_eq!(view.entry(key(1)), Some(entry));
        assert_eq!(view.find(key(1), NOW), Some(entry.effect));
    }
}

#[test]
fn an_un_revocation_takes_out_what_was_stated_before_it_and_is_remembered() {
    let view = View::default();
    let at = Version::from_bits;
    view.put(key(1), stated(Cutoff::All, 7));
    view.unrevoke(key(1), at(6), LATER);
    assert_eq!(view.find(key(1), NOW), Some(Effect::REVOKES_ALL));
    view.unrevoke(key(1), at(7), LATER);
    assert_eq!(view.find(key(1), NOW), None);
    view.unrevoke(key(1), at(5), LATER);
    assert_eq!(view.state(key(1)), KeyState::unrevoked(at(7), LATER));
    view.prune(LATER);
    assert_eq!(view.unrevoked(key(1)), Version::NONE);
}

#[test]
fn what_lets_somebody_in_is_not_taken_out_by_an_un_revocation() {
    let view = View::default();
    view.put(key(1), Held::admitting(LATER));
    view.unrevoke(key(1), Version::FIRST, LATER);
    assert_eq!(view.find(key(1), NOW), Some(Effect::Admits));
}

#[test]
fn an_un_revocation_that_a_round_has_not_seen_is_told() {
    let view = View::default();
    let at = Version::from_bits;
    for n in 1..=3 {
        view.unrevoke(key(n), at(7), if n == 3 { NOW } else { LATER });
    }
    view.begin_round();
    view.unrevoke(key(2), at(7), LATER);
    // That an older one was seen proves nothing about the latest one.
    view.unrevoke(key(1), at(6), LATER);
    let unseen = view.unseen_unrevocations(NOW);
    assert_eq!(unseen, [(key(1), KeyState::unrevoked(at(7), LATER))]);
}

#[test]
fn sweeping_takes_only_the_expired() {
    let view = View::default();
    view.put(key(1), held(Cutoff::All, NOW));
    view.put(key(2), held(Cutoff::All, LATER));
    assert_eq!(view.prune(NOW), 1);
    assert_eq!(view.len(), 1);
    assert!(view.remove(key(2)) && !view.remove(key(2)));
    assert!(view.is_empty());
}

#[test]
fn putting_replaces_and_strengthening_never_weakens() {
    let view = View::default();
    let cutoff = |s| Cutoff::IssuedUpTo(Timestamp::from_secs(s));
    view.put(key(1), held(cutoff(20), LATER));
    view.strengthen(key(1), held(cutoff(10), NOW));
    assert_eq!(view.find(key(1), NOW), Some(cutoff(20).into()));
    assert_eq!(view.put(key(1), held(cutoff(10), LATER)), Change::Altered);
    assert_eq!(view.put(key(1), held(cutoff(10), LATER)), Change::None);
    assert_eq!(view.find(key(1), NOW), Some(cutoff(10).into()));
}

#[test]
fn what_a_round_has_not_seen_is_told() {
    let view = View::default();
    view.put(key(1), held(Cutoff::All, LATER));
    view.put(key(2), held(Cutoff::All, LATER));
    view.begin_round();
    view.put(key(2), held(Cutoff::All, LATER));
    assert_eq!(view.unseen(NOW), [(key(1), held(Cutoff::All, LATER))]);
}

#[test]
fn a_hundred_thousand_entries_come_and_go_within_64_bytes_each() {
    let view = View::default();
    let n = 100_000;
    for i in 1..=n {
        view.put(key(i), held(Cutoff::All, LATER));
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
        view.put(key(i), held(Cutoff::All, LATER));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in fixed + 1..60_000 {
                view.put(key(i), held(Cutoff::All, LATER));
                view.remove(key(i - i % 2));
                view.put(key(1 + i % fixed), held(Cutoff::All, LATER));
            }
        });
        for _ in 0..200 {
            assert!((1..=fixed).all(|i| view.find(key(i), NOW).is_some() || i % 2 == 0));
        }
    });
}

#[test]
fn a_hash_reads_back_from_all_its_bits() {
    let hash = KeyHash::new(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, 7);
    assert_eq!(hash.to_u128(), 0x0123_4567_89ab_cde7_fedc_ba98_7654_3210);
    assert_eq!(KeyHash::from_u128(hash.to_u128()), Some(hash));
    assert_eq!(KeyHash::from_u128(u128::MAX << 68), None);
    assert_eq!(hash.head(), 0xfedc_ba98_7654_3210_u64.to_le_bytes());
    assert_eq!(hash.kind(), 7);
}

#[test]
fn a_view_with_one_writer_is_fresh_at_every_moment_and_another_as_of_when_it_is_told() {
    let (now, second) = (Moment::now(), Duration::from_secs(1));
    let view = View::always_fresh();
    assert!(view.is_always_fresh());
    assert_eq!(view.age(now), Some(Duration::ZERO));
    let view = View::default();
    assert!(!view.is_always_fresh());
    assert_eq!(view.age(now), None);
    view.set_fresh_as_of(now);
    assert_eq!(view.age(now + second), Some(second));
}

#[test]
fn what_is_forgotten_is_not_there_any_more() {
    let view = View::default();
    let revoked = RevocationKey::new(KeyKind::TokenId, "shop", "1");
    view.put(revoked.hash(), held(Cutoff::All, LATER));
    assert!(!view.is_empty());
    assert!(view.forget(&revoked) && !view.forget(&revoked));
    assert!(view.is_empty());
}

#[test]
fn the_latest_un_revocation_is_told() {
    let view = View::default();
    view.unrevoke(key(1), Version::from_bits(7), LATER);
    assert_eq!(view.unrevoked(key(1)), Version::from_bits(7));
    assert_eq!(view.unrevoked(key(2)), Version::NONE);
}

#[test]
fn an_un_revocation_beside_a_key_takes_nothing_out_and_says_whether_the_key_was_read() {
    let view = View::default();
    let unrevoked = Version::from_bits(7);
    view.put(key(1), stated(Cutoff::All, 6));
    view.put(key(2), stated(Cutoff::All, 8));
    let beside = |n| view.unrevoke_restored(key(n), unrevoked, LATER);
    assert_eq!(
        [1, 2, 3].map(beside),
        [Beside::Read, Beside::Stands, Beside::Stands]
    );
    assert_eq!(view.unrevoked(key(3)), unrevoked);
    view.begin_round();
    assert_eq!(
        [1, 2, 3].map(beside),
        [Beside::NotRead, Beside::Stands, Beside::Stands]
    );
    for n in [1, 2] {
        assert_eq!(view.find(key(n), NOW), Some(Effect::REVOKES_ALL));
    }
}

#[test]
fn memory_is_that_of_entries_and_of_what_no_check_reads() {
    let view = View::default();
    assert_eq!(view.bytes(), 0);
    view.put(key(1), held(Cutoff::All, LATER));
    let entries = view.bytes();
    assert_eq!(entries, 16 * 32);
    view.unrevoke(key(2), Version::FIRST, LATER);
    assert!(view.bytes() > entries && view.bytes() < 2 * entries);
}

#[test]
fn what_has_expired_is_not_missed_by_a_round() {
    let view = View::default();
    view.put(key(1), held(Cutoff::All, NOW));
    view.begin_round();
    assert_eq!(view.unseen(NOW), []);
}

#[test]
fn a_cutoff_before_the_epoch_reads_back_as_it_is() {
    let view = View::default();
    for millis in [-1, -1_000_000_000_000] {
        let cutoff = Cutoff::IssuedUpTo(Timestamp::from_millis(millis));
        view.put(key(1), held(cutoff, LATER));
        assert_eq!(view.find(key(1), NOW), Some(cutoff.into()));
    }
    // A cutoff that is too long ago to be represented becomes a later one, and does not turn into "every
    // token".
    let cutoff = Cutoff::IssuedUpTo(Timestamp::from_millis(i64::MIN));
    view.put(key(1), held(cutoff, LATER));
    let found = view.find(key(1), NOW).unwrap();
    assert!(!found.refuses(Some(NOW)), "{found:?}");
}

#[test]
fn entries_that_are_changed_or_come_back_take_no_more_room() {
    // All in one shard, so that its table grows.
    let keys: Vec<_> = (0..)
        .map(key)
        .filter(|k| shard_of(*k) == 0)
        .take(60)
        .collect();
    let grown = |changes: usize| {
        let view = View::default();
        for key in &keys[..10] {
            for _ in 0..=changes {
                for end in [LATER, NOW, LATER] {
                    view.put(*key, held(Cutoff::All, end));
                }
                view.remove(*key);
            }
            view.put(*key, held(Cutoff::All, LATER));
        }
        for key in &keys[10..] {
            view.put(*key, held(Cutoff::All, LATER));
        }
        assert!(keys.iter().all(|key| view.find(*key, NOW).is_some()));
        let grown = view.bytes();
        view.retain(|_| true);
        assert_eq!(view.bytes(), grown, "nothing was dead");
        for key in &keys[1..] {
            view.remove(*key);
        }
        view.retain(|_| true);
        assert_eq!(view.find(keys[0], NOW), Some(Effect::REVOKES_ALL));
        (grown, view.bytes())
    };
    assert_eq!(grown(100), grown(0));
    let (full, nearly_empty) = grown(0);
    assert!(nearly_empty < full / 2, "{nearly_empty} of {full}");
}

#[test]
fn a_table_grows_seldom_and_by_half() {
    let keys = (0..).map(key).filter(|k| shard_of(*k) == 0).take(1000);
    let view = View::default();
    let mut sizes = Vec::new();
    for key in keys {
        view.put(key, held(Cutoff::All, LATER));
        sizes.push(view.bytes());
    }
    sizes.dedup();
    assert!((5..20).contains(&sizes.len()), "{sizes:?}");
}

#[test]
fn keys_that_share_half_of_their_bits_are_two() {
    let view = View::default();
    let digest = |low: u128| (7 << 64) | (low << 8);
    let [one, other] = [1, 2].map(|low| KeyHash::new(digest(low).rotate_left(64), 1));
    let [same, apart] = [1, 2].map(|low| KeyHash::new((7 << 64) | (low << 8), 1));
    for (one, other) in [(one, other), (same, apart)] {
        assert_eq!(shard_of(one), shard_of(other));
        view.put(one, held(Cutoff::All, LATER));
        assert_eq!(view.find(other, NOW), None);
        view.put(other, held(Cutoff::IssuedUpTo(NOW), LATER));
        assert_eq!(view.find(one, NOW), Some(Effect::REVOKES_ALL));
    }
}
