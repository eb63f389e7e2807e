//! The wire format of Redis: commands as clients send them, replies in both versions of the protocol.

/// A command: its name and arguments.
pub type Command = Vec<Vec<u8>>;

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Int(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// A text that says of which kind it is, in RESP3.
    Verbatim(String),
    /// A floating-point number, which is a string in RESP2.
    Double(f64),
    /// Nothing where a string is asked for.
    Nil,
    /// Nothing where an array is asked for.
    NilArray,
    /// An array.
    Array(Vec<Reply>),
    /// A map, which is an array in RESP2.
    Map(Vec<(Reply, Reply)>),
    /// What nobody has asked for: RESP3 only.
    Push(Vec<Reply>),
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RESP2.
    Two,
    /// RESP3.
    Three,
}

impl Reply {
    /// `+OK`
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// An error.
    pub fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    /// A string.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Appends what goes over the wire.
    pub fn write(&self, version: Version, out: &mut Vec<u8>) {
        let head = |out: &mut Vec<u8>, kind: char, number: usize| {
            out.extend_from_slice(format!("{kind}{number}\r\n").as_bytes());
        };
        let bulk = |out: &mut Vec<u8>, bytes: &[u8]| {
            head(out, '$', bytes.len());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        };
        let is_three = version == Version::Three;
        match self {
            Self::Simple(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Self::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Self::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Self::Bulk(bytes) => bulk(out, bytes),
            Self::Verbatim(text) if is_three => {
                let text = format!("={}\r\ntxt:{text}\r\n", text.len() + 4);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Verbatim(text) => bulk(out, text.as_bytes()),
            Self::Double(number) if is_three => {
                out.extend_from_slice(format!(",{number}\r\n").as_bytes());
            }
            Self::Double(number) => bulk(out, number.to_string().as_bytes()),
            Self::Nil | Self::NilArray if is_three => out.extend_from_slice(b"_\r\n"),
            Self::Nil => out.extend_from_slice(b"$-1\r\n"),
            Self::NilArray => out.extend_from_slice(b"*-1\r\n"),
            Self::Array(items) => {
                head(out, '*', items.len());
                items.iter().for_each(|item| item.write(version, out));
            }
            Self::Push(items) => {
                head(out, '>', items.len());
                items.iter().for_each(|item| item.write(version, out));
            }
            Self::Map(pairs) => {
                match is_three {
                    true => head(out, '%', pairs.len()),
                    false => head(out, '*', pairs.len() * 2),
                }
                for (name, value) in pairs {
                    name.write(version, out);
                    value.write(version, out);
                }
            }
        }
    }
}

/// The command as it goes over the wire.
pub fn encode<A: AsRef<[u8]>>(command: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command {
        let argument = argument.as_ref();
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Bytes that have arrived, and how many of them have been read.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    read: usize,
}

/// What is wrong with what has arrived.
#[derive(Debug)]
pub struct Malformed;

impl Buffer {
    /// Takes in what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next command, if all of it is here.
    pub fn command(&mut self) -> Result<Option<Command>, Malformed> {
        match self.reply()? {
            Some(Reply::Array(items)) => {
                let argument = |item| match item {
                    Reply::Bulk(bytes) => Ok(bytes),
                    _ => Err(Malformed),
                };
                items
                    .into_iter()
                    .map(argument)
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            Some(_) => Err(Malformed),
            None => Ok(None),
        }
    }

    /// The next reply, if all of it is here.
    pub fn reply(&mut self) -> Result<Option<Reply>, Malformed> {
        let mut cursor = Cursor {
            bytes: &self.bytes,
            at: self.read,
        };
        let reply = cursor.reply()?;
        let at = cursor.at;
        if reply.is_some() {
            self.read = at;
        }
        Ok(reply)
    }
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Cursor<'_> {
    fn line(&mut self) -> Option<&str> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        str::from_utf8(&rest[..end]).ok()
    }

    fn bulk(&mut self, length: usize) -> Option<Vec<u8>> {
        let bytes = self.bytes.get(self.at..self.at + length)?.to_vec();
        let end = self.at + length + 2;
        (self.bytes.len() >= end).then(|| self.at = end)?;
        Some(bytes)
    }

    fn items(&mut self, count: usize) -> Result<Option<Vec<Reply>>, Malformed> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(item) = self.reply()? else {
                return Ok(None);
            };
            items.push(item);
        }
        Ok(Some(items))
    }

    fn reply(&mut self) -> Result<Option<Reply>, Malformed> {
        let Some(line) = self.line() else {
            return Ok(None);
        };
        let mut letters = line.chars();
        let (kind, rest) = (
            letters.next().ok_or(Malformed)?,
            letters.as_str().to_owned(),
        );
        let number = || rest.parse::<i64>().map_err(|_| Malformed);
        let length = || usize::try_from(number()?).map_err(|_| Malformed);
        Ok(match kind {
            '+' => Some(Reply::Simple(rest)),
            '-' => Some(Reply::Error(rest)),
            ':' => Some(Reply::Int(number()?)),
            '_' => Some(Reply::Nil),
            ',' => Some(Reply::Double(rest.parse().map_err(|_| Malformed)?)),
            '$' if rest == "-1" => Some(Reply::Nil),
            '*' if rest == "-1" => Some(Reply::NilArray),
            '$' => self.bulk(length()?).map(Reply::Bulk),
            '=' => {
                let text = self.bulk(length()?);
                text.map(|t| Reply::Verbatim(String::from_utf8_lossy(&t[4..]).into_owned()))
            }
            '*' => self.items(length()?)?.map(Reply::Array),
            '>' => self.items(length()?)?.map(Reply::Push),
            '%' => self.items(length()? * 2)?.map(|items| {
                let mut items = items.into_iter();
                let mut pairs = Vec::new();
                while let (Some(name), Some(value)) = (items.next(), items.next()) {
                    pairs.push((name, value));
                }
                Reply::Map(pairs)
            }),
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_written_reads_back_and_half_of_it_is_waited_for() {
        let reply = Reply::Array(vec![
            Reply::Int(-2),
            Reply::bulk("a\r\nb"),
            Reply::Nil,
            Reply::Map(vec![(Reply::bulk("role"), Reply::bulk("master"))]),
            Reply::Push(vec![Reply::bulk("invalidate"), Reply::Nil]),
        ]);
        let mut wire = Vec::new();
        reply.write(Version::Three, &mut wire);
        let mut buffer = Buffer::default();
        let (last, most) = wire.split_last().unwrap();
        buffer.push(most);
        assert_eq!(buffer.reply().unwrap(), None);
        buffer.push(&[*last]);
        assert_eq!(buffer.reply().unwrap(), Some(reply));
        assert_eq!(buffer.reply().unwrap(), None);
    }
}
