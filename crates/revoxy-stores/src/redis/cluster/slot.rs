//! The slot of a key, out of the 16384 slots of a cluster: CRC16 (XMODEM) of the hash tag in braces, or of the
//! whole key.

/// The number of slots.
pub(super) const SLOTS: u16 = 16384;

/// Returns the slot of a key.
pub(in super::super) fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed(key)) % SLOTS
}

/// Returns the hash tag: the part between the first opening brace and the next closing brace. Returns the whole key
/// if there is no hash tag, or if it is empty.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|b| *b == b'{') else {
        return key;
    };
    let rest = &key[open + 1..];
    match rest.iter().position(|b| *b == b'}') {
        Some(length @ 1..) => &rest[..length],
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let [high, low] = u16::to_be_bytes(crc);
        TABLE[usize::from(high ^ byte)] ^ (u16::from(low) << 8)
    })
}

const TABLE: [u16; 256] = {
    let mut table: [u16; 256] = [0; 256];
    let mut byte: usize = 0;
    let mut shifted: u16 = 0;
    while byte < 256 {
        let mut crc = shifted;
        let mut bit = 0;
        while bit < 8 {
            crc = match crc & 0x8000 {
                0 => crc << 1,
                _ => (crc << 1) ^ 0x1021,
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
        shifted = shifted.wrapping_add(1 << 8);
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // The results of `CLUSTER KEYSLOT`.
        for (key, slot) in [("foo", 12182), ("hello", 866), ("revoxy:jti:shop:a", 5465)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn only_the_first_braces_with_something_in_them_count() {
        let same = |a: &str, b: &str| slot_of(a.as_bytes()) == slot_of(b.as_bytes());
        assert!(same("{user1000}.following", "{user1000}.followers"));
        assert!(same("revoxy:restored:{ab}", "revoxy:unrevoked:{ab}"));
        assert!(same("foo{{bar}}zap", "{bar"));
        assert!(same("foo{bar}{zap}", "bar"));
        assert!(!same("foo{}{bar}", "bar"));
        assert!(!same("foo{bar", "bar"));
    }
}
