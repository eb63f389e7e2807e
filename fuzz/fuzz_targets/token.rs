//! The verifier against tokens of any form, and against well signed ones of any content.
//!
//! The first byte of the input says what the rest is (a good token begins with `e`):
//!
//! | byte | the rest |
//! |---|---|
//! | `1`, `2`, `3` | header, line end, payload: signed with HS256, HS512, EdDSA |
//! | `4` | two bytes of place, one of change, then as with `1`; the signed token is changed there |
//! | another | with that byte, the token as it comes |
//!
//! What must hold: no panic; what is accepted has the signature of one of our keys by a second opinion, and its claims
//! are in order; a changed token is refused; the three ways to verify agree; memory is bounded.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use libfuzzer_sys::{Corpus, fuzz_target};
use revoxy::jwt::{CachingVerifier, Verifier};
use revoxy::revocation::TokenKeys;
use revoxy_fuzz::{is_genuine, now, signed, verifier};

/// The most memory that one token may take while it is verified. Of its 16 KiB at most, 12 KiB are JSON, and objects
/// with one member cost most: a node of a tree, some 600 bytes, for every seven.
const MAX_MEMORY: usize = 2 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(verifier);
static CACHING: LazyLock<CachingVerifier<TokenKeys>> = LazyLock::new(|| {
    CachingVerifier::new(verifier().into(), 64, |claims, _| TokenKeys::of(claims))
});

fuzz_target!(|data: &[u8]| -> Corpus {
    match run(data) {
        Some(()) => Corpus::Keep,
        None => Corpus::Reject,
    }
});

fn run(data: &[u8]) -> Option<()> {
    match data {
        [b'1', rest @ ..] => judge(&parts("HS256", rest)?),
        [b'2', rest @ ..] => judge(&parts("HS512", rest)?),
        [b'3', rest @ ..] => judge(&parts("EdDSA", rest)?),
        [b'4', high, low, change, rest @ ..] => {
            let good = parts("HS256", rest)?;
            let at = usize::from(u16::from_be_bytes([*high, *low])) % good.len();
            let mut changed = good.clone().into_bytes();
            changed[at] ^= change;
            let changed = String::from_utf8(changed).ok()?;
            let accepted = judge(&changed);
            assert!(changed == good || !accepted, "{good} became {changed}");
            accepted
        }
        _ => judge(str::from_utf8(data).ok()?),
    };
    Some(())
}

fn parts(algorithm: &str, data: &[u8]) -> Option<String> {
    let end = data.iter().position(|b| *b == b'\n')?;
    Some(signed(algorithm, &data[..end], &data[end + 1..]))
}

fn judge(token: &str) -> bool {
    LazyLock::force(&VERIFIER);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let verdict = VERIFIER.verify(token, now());
    let taken = PEAK.load(Relaxed) - before;
    assert!(taken <= MAX_MEMORY, "{taken} bytes for {}", token.len());

    let verdict = verdict.map(|claims| claims.digest().to_vec());
    let (explained, _) = VERIFIER.explain(token, now());
    assert_eq!(explained.map(|c| c.digest().to_vec()), verdict);
    // The second time it may come from the cache.
    for _ in 0..2 {
        let cached = CACHING.verify(token, now());
        assert_eq!(cached.map(|t| t.claims().digest().to_vec()), verdict);
    }
    assert!(verdict.is_err() || is_genuine(token), "accepted: {token}");
    verdict.is_ok()
}
