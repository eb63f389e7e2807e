//! One script of commands, and what a server makes of it: the model and real servers must answer alike.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::hand::Session;
use crate::redis::sha1;
use crate::resp::Reply;

/// The commands.
pub const SCRIPT: &str = include_str!("conformance.txt");
/// The file that holds the scripts that Revoxy runs on the server.
const SOURCE: &str = include_str!("../../../src/revocation/redis/script.rs");

/// A command of the script.
struct Line {
    speaker: char,
    words: Vec<Vec<u8>>,
    text: String,
}

/// The text of a script of Revoxy's.
pub fn script_of(name: &str) -> Option<&'static str> {
    let (_, rest) = SOURCE.split_once(&format!("const {name}: &str = r\""))?;
    rest.split_once("\";").map(|(text, _)| text)
}

fn lines() -> impl Iterator<Item = Line> {
    let lines = SCRIPT.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| Line {
        speaker: line.chars().next().unwrap_or(' '),
        words: words(&line[1..]),
        text: line.to_owned(),
    })
}

fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut letters) = (Vec::new(), line.trim().chars().peekable());
    while let Some(first) = letters.next() {
        let mut word = String::new();
        match first {
            ' ' => continue,
            '"' => {
                while let Some(letter) = letters.next() {
                    match letter {
                        '"' => break,
                        '\\' => word.extend(letters.next()),
                        other => word.push(other),
                    }
                }
            }
            '<' => {
                word.extend(letters.by_ref().take_while(|letter| *letter != '>'));
                let (is_sha, name) = match word.strip_prefix("sha ") {
                    Some(name) => (true, name),
                    None => (false, word.as_str()),
                };
                let text = script_of(name).unwrap_or_default();
                word = if is_sha {
                    sha1(text.as_bytes())
                } else {
                    text.to_owned()
                };
            }
            other => {
                word.push(other);
                while let Some(letter) = letters.next_if(|letter| *letter != ' ') {
                    word.push(letter);
                }
            }
        }
        words.push(word.into_bytes());
    }
    words
}

/// What a server answers, line by line, and what it tells whoever tracks.
pub async fn play<S, O>(mut open: impl FnMut() -> O) -> io::Result<Vec<String>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: Future<Output = io::Result<S>>,
{
    let mut tracker = Session::over(open().await?);
    let mut writer = Session::over(open().await?);
    let mut reader = Session::over(open().await?);
    let mut transcript = Vec::new();
    for line in lines() {
        let mut pushed = Vec::new();
        let reply = match line.speaker {
            'w' => writer.ask(&line.words).await?,
            'r' => reader.ask(&line.words).await?,
            _ => {
                tracker.send(&line.words).await?;
                answer(&mut tracker, &mut pushed).await?
            }
        };
        tracker.send(&["PING"]).await?;
        answer(&mut tracker, &mut pushed).await?;
        let name = String::from_utf8_lossy(&line.words[0]).to_uppercase();
        let mut said = format!("{}\n    {}", line.text, shown(&name, &reply));
        for push in pushed {
            said.push_str(&format!("\n    told: {}", shown("", &push)));
        }
        transcript.push(said);
    }
    Ok(transcript)
}

/// The next that is no push.
async fn answer<S>(session: &mut Session<S>, pushed: &mut Vec<Reply>) -> io::Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match session.hear().await? {
            push @ Reply::Push(_) => pushed.push(push),
            reply => return Ok(reply),
        }
    }
}

/// A reply as it is compared: without what differs between servers and runs and is nothing to us.
fn shown(command: &str, reply: &Reply) -> String {
    match (command, reply) {
        ("HELLO", Reply::Map(pairs)) => {
            let known = pairs.iter().filter(|(name, _)| is_of_interest(name));
            let known = known.map(|(name, value)| (name.clone(), value.clone()));
            format!("{:?}", Reply::Map(known.collect()))
        }
        ("HELLO", Reply::Array(items)) => {
            let known = items.chunks(2).filter(|pair| is_of_interest(&pair[0]));
            format!("{:?}", known.collect::<Vec<_>>())
        }
        ("INFO", Reply::Bulk(text)) => fields(&String::from_utf8_lossy(text)),
        ("INFO", Reply::Verbatim(text)) => fields(text),
        // To the second: it goes on.
        ("PTTL", Reply::Int(left)) if *left > 0 => format!("about {} s", (left + 500) / 1000),
        ("EVAL" | "TTL" | "EXEC", Reply::Int(left)) if *left > 1000 => {
            format!("about {} s", (left + 500) / 1000)
        }
        ("SCAN", Reply::Array(items)) => match items.as_slice() {
            [cursor, Reply::Array(names)] => {
                let mut names: Vec<String> = names.iter().map(|n| format!("{n:?}")).collect();
                names.sort();
                format!("{cursor:?} {names:?}")
            }
            _ => format!("{items:?}"),
        },
        (_, Reply::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown("EXEC", item)).collect();
            format!("[{}]", items.join(", "))
        }
        (_, Reply::Error(text)) => {
            format!("error {}", text.split(' ').next().unwrap_or_default())
        }
        (_, Reply::Bulk(text)) => format!("{:?}", String::from_utf8_lossy(text)),
        (_, Reply::Push(items)) => match items.as_slice() {
            [kind, Reply::Array(names)] => {
                let mut names: Vec<String> = names.iter().map(|n| shown("", n)).collect();
                names.sort();
                format!("{} {}", shown("", kind), names.join(" "))
            }
            _ => format!("{items:?}"),
        },
        (_, other) => format!("{other:?}"),
    }
}

fn is_of_interest(name: &Reply) -> bool {
    matches!(name, Reply::Bulk(name) if [&b"proto"[..], b"mode", b"role"].contains(&name.as_slice()))
}

/// The fields of `INFO` that are read somewhere: which there are, and what the plain ones say.
fn fields(text: &str) -> String {
    const NAMES: [&str; 8] = [
        "run_id",
        "master_replid",
        "second_repl_offset",
        "uptime_in_seconds",
        "evicted_keys",
        "aof_enabled",
        "maxmemory_policy",
        "server_time_usec",
    ];
    const VALUES: [&str; 3] = ["role", "cluster_enabled", "loading"];
    let value = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    let there = NAMES.map(|name| format!("{name}: {}", value(name).is_some()));
    let plain = VALUES.map(|name| format!("{name}: {:?}", value(name)));
    format!("{} {}", there.join(", "), plain.join(", "))
}
