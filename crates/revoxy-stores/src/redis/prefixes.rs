//! The prefixes of all keys that the feed follows.

use std::sync::Arc;

use redis::Cmd;

use super::super::lookups::Lookups;

/// No prefix is a prefix of another: Redis does not track two overlapping prefixes.
#[derive(Clone, Debug)]
pub(super) struct Prefixes(Arc<[Vec<u8>]>);

impl Prefixes {
    /// Returns the prefixes of our own keys, and of the applications' keys.
    pub(super) fn of(lookups: &Lookups) -> Self {
        Self(lookups.prefixes().into())
    }

    /// Returns the command that enables tracking of all keys with these prefixes.
    pub(super) fn tracking(&self) -> Cmd {
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        // Without a prefix, the changes of all keys are pushed.
        for prefix in self.0.iter().filter(|prefix| !prefix.is_empty()) {
            tracking.arg("PREFIX").arg(prefix);
        }
        tracking
    }

    /// Returns the number of patterns.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the `SCAN` pattern of the keys with the prefix at this index.
    pub(super) fn pattern(&self, at: usize) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.0.get(at).into_iter().flatten() {
            if b"*?[]\\".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.push(b'*');
        pattern
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lookups::{KeyRule, Match};
    use super::*;

    fn prefixes(keys: &[&str]) -> Prefixes {
        let rule = |key: &&str| KeyRule::named(key, Match::Exists).unwrap();
        Prefixes::of(&Lookups::new(keys.iter().map(rule).collect()))
    }

    fn tracking(keys: &[&str]) -> String {
        let command = prefixes(keys).tracking().get_packed_command();
        String::from_utf8(command).unwrap()
    }

    #[test]
    fn each_prefix_is_tracked_and_an_empty_one_means_all_keys() {
        let command = tracking(&["bl:{jti}"]);
        assert_eq!(command.matches("PREFIX").count(), 2);
        assert!(command.contains("bl:") && command.contains("revoxy:"));
        assert_eq!(
            tracking(&["bl:{jti}", "{sub}"]).matches("PREFIX").count(),
            0
        );
    }

    #[test]
    fn a_pattern_means_what_it_says() {
        let prefixes = prefixes(&["a*[b]?\\{jti}"]);
        assert_eq!(prefixes.pattern(0), br"a\*\[b\]\?\\*");
        assert_eq!(prefixes.pattern(1), b"revoxy:*");
    }
}
