//! The JDK's serialization of a `String`, which Spring's `RedisTemplate` uses for keys and values by default:
//! stream magic and version, `TC_STRING`, the length in two bytes, and "modified UTF-8" (Java Object
//! Serialization Specification §6.4, `java.io.DataInput`), in which characters beyond U+FFFF are written as
//! surrogates of three bytes each.

/// The bytes that every serialized string begins with, before its length.
pub(super) const HEAD: [u8; 5] = [0xac, 0xed, 0x00, 0x05, 0x74];

/// Serializes a text; `None` if it is too long for `TC_STRING`.
pub(super) fn serialize(text: &str) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let low = |shift: u32| (unit >> shift).to_be_bytes()[1];
        let continued = |shift| 0x80 | (low(shift) & 0x3f);
        match unit {
            0x01..=0x7f => body.push(low(0)),
            0 | 0x80..=0x7ff => body.extend([0xc0 | low(6), continued(0)]),
            _ => body.extend([0xe0 | low(12), continued(6), continued(0)]),
        }
    }
    let length = u16::try_from(body.len()).ok()?;
    Some([&HEAD[..], &length.to_be_bytes(), &body].concat())
}

/// Reads what [`serialize`] has written; `None` for anything else.
pub(super) fn deserialize(bytes: &[u8]) -> Option<String> {
    let (length, body) = bytes.strip_prefix(&HEAD)?.split_first_chunk::<2>()?;
    if body.len() != usize::from(u16::from_be_bytes(*length)) {
        return None;
    }
    let mut units = Vec::with_capacity(body.len());
    let mut rest = body.iter().copied();
    while let Some(first) = rest.next() {
        let mut next = || {
            let byte = rest.next()?;
            (byte & 0xc0 == 0x80).then_some(u16::from(byte & 0x3f))
        };
        let first_bits = u16::from(first);
        units.push(match first {
            0x01..=0x7f => first_bits,
            0xc0..=0xdf => (first_bits & 0x1f) << 6 | next()?,
            0xe0..=0xef => (first_bits & 0x0f) << 12 | next()? << 6 | next()?,
            _ => return None,
        });
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_serialized_as_the_jdk_does() {
        // The result of `ObjectOutputStream.writeObject("BL:1")`.
        let expected = b"\xac\xed\x00\x05t\x00\x04BL:1";
        assert_eq!(serialize("BL:1").unwrap(), expected);
        // DataInput: U+0000 is C0 80, and U+1F511 is the surrogates D83D and DD11.
        let expected = b"\xac\xed\x00\x05t\x00\x0a\xc0\x80\xc3\xbc\xed\xa0\xbd\xed\xb4\x91";
        assert_eq!(serialize("\0ü🔑").unwrap(), expected);
    }

    #[test]
    fn what_was_serialized_reads_back_and_nothing_else_does() {
        for text in ["", "BL:1", "\0ü🔑€", &"x".repeat(65_535)] {
            let bytes = serialize(text).unwrap();
            assert_eq!(deserialize(&bytes).as_deref(), Some(text));
            assert_eq!(deserialize(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(serialize(&"x".repeat(65_536)), None);
        for other in [
            &b""[..],
            b"BL:1",
            b"\xac\xed\x00\x05t\x00\x01",
            b"\xac\xed\x00\x05t\x00\x01\xff",
            b"\xac\xed\x00\x05t\x00\x03\xed\xa0\xbd",
        ] {
            assert_eq!(deserialize(other), None, "{other:?}");
        }
    }
}
