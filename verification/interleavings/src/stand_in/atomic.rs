//! Loom's atomics, with a remedy for interleavings that loom 0.7.3 leaves out.
//!
//! Loom runs two operations in both orders if one of them is the last access that the other depends on. Of the loads since the last
//! store it remembers the latest only. So where a writer loads a word before it stores to it, as every writer of the view does, the
//! writer's own load hides the load of a reader, and loom never runs that load after the store (issues 166 and 392 of tokio-rs/loom).
//!
//! Each atomic here therefore has a second one, its gate, to which every operation first stores. Two stores always depend on each
//! other, so every order of the operations is run. A relaxed store to a word that nobody reads makes nothing visible to anybody.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

macro_rules! atomics {
    ($($name:ident of $number:ty;)*) => {
        $(
            #[derive(Debug, Default)]
            pub(crate) struct $name {
                word: atomic::$name,
                gate: atomic::AtomicUsize,
            }

            // Not every width is used in every way.
            #[allow(dead_code, reason = "one set of operations for all widths")]
            impl $name {
                pub(crate) fn new(number: $number) -> Self {
                    Self {
                        word: atomic::$name::new(number),
                        gate: atomic::AtomicUsize::new(0),
                    }
                }

                /// Makes this operation depend on every other of the same word.
                fn word(&self) -> &atomic::$name {
                    self.gate.store(0, Ordering::Relaxed);
                    &self.word
                }

                pub(crate) fn load(&self, order: Ordering) -> $number {
                    self.word().load(order)
                }

                pub(crate) fn store(&self, number: $number, order: Ordering) {
                    self.word().store(number, order);
                }

                pub(crate) fn swap(&self, number: $number, order: Ordering) -> $number {
                    self.word().swap(number, order)
                }

                pub(crate) fn fetch_add(&self, number: $number, order: Ordering) -> $number {
                    self.word().fetch_add(number, order)
                }

                pub(crate) fn fetch_sub(&self, number: $number, order: Ordering) -> $number {
                    self.word().fetch_sub(number, order)
                }

                pub(crate) fn fetch_max(&self, number: $number, order: Ordering) -> $number {
                    self.word().fetch_max(number, order)
                }
            }
        )*
    };
}

atomics! {
    AtomicU16 of u16;
    AtomicU64 of u64;
    AtomicI64 of i64;
    AtomicUsize of usize;
}
