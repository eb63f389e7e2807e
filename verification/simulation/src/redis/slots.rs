//! The slots of a cluster: which keys a command names, and in which slot each is.

use crate::resp::Command;

use super::commands;

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// The slot of a key: CRC16 (XMODEM) of what is between its first braces, or of all of it (Redis Cluster specification).
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed(key)) % SLOTS
}

fn hashed(key: &[u8]) -> &[u8] {
    let inner = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|byte| *byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    inner.unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// The keys that a command names.
pub(super) fn keys_of<'c>(name: &str, arguments: &'c [Vec<u8>]) -> &'c [Vec<u8>] {
    match name {
        "MGET" | "DEL" | "UNLINK" | "EXISTS" => arguments,
        "EVAL" | "EVALSHA" => {
            let count = arguments.get(1).and_then(|count| commands::number(count));
            let count = count.and_then(|count| usize::try_from(count).ok());
            let keys = count.and_then(|count| arguments.get(2..2 + count));
            keys.unwrap_or_default()
        }
        "GET" | "SET" | "TYPE" | "PTTL" | "TTL" | "PEXPIRE" | "EXPIRE" | "PEXPIREAT"
        | "PERSIST" | "SADD" | "HSET" | "HDEL" | "HGET" | "HMGET" | "ZADD" | "ZREM" | "ZSCORE"
        | "ZRANGE" | "ZRANGEBYSCORE" => arguments.get(..1).unwrap_or_default(),
        _ => &[],
    }
}

/// The slot of what a whole command names first.
pub fn slot_of_command(command: &Command) -> Option<u16> {
    let keys = keys_of(&commands::name(command), &command[1..]);
    keys.first().map(|key| slot_of(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
    }
}
