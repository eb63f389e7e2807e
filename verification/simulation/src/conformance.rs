//! Scripts of commands, and what servers make of them: the model and real ones must answer alike.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::hand::Session;
use crate::redis::sha1;
use crate::resp::Reply;

/// The commands for one server.
pub const SCRIPT: &str = include_str!("conformance.txt");
/// The commands for two nodes of a cluster.
pub const IN_CLUSTER: &str = include_str!("conformance-cluster.txt");

/// One of two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The one that most lines are for.
    This,
    /// The other node of the cluster.
    Other,
}

/// A command of the script.
struct Line {
    speaker: char,
    words: Vec<Vec<u8>>,
    text: String,
}

fn lines(script: &str, ids: &[String]) -> Vec<Line> {
    let lines = script.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = |line: &str| Line {
        speaker: line.chars().next().unwrap_or(' '),
        words: words(&line[1..], ids),
        text: line.to_owned(),
    };
    lines.map(line).collect()
}

fn words(line: &str, ids: &[String]) -> Vec<Vec<u8>> {
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
                word = named(&word, ids);
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

/// What a word in angle brackets stands for: a script of Revoxy's, its hash, or the id of a node.
fn named(name: &str, ids: &[String]) -> String {
    let script = |name: &str| {
        let text = revoxy::revocation::script_text(name);
        text.unwrap_or_else(|| panic!("no script {name}"))
    };
    match name.split_once(' ') {
        Some(("sha", of)) => sha1(script(of).as_bytes()),
        Some(("id", "A")) => ids[0].clone(),
        Some(("id", _)) => ids[1].clone(),
        _ => script(name).to_owned(),
    }
}

/// What servers answer, line by line, and what one tells whoever tracks.
pub async fn play<S, O>(script: &str, mut open: impl FnMut(At) -> O) -> io::Result<Vec<String>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: Future<Output = io::Result<S>>,
{
    let mut tracker = Session::over(open(At::This).await?);
    let mut writer = Session::over(open(At::This).await?);
    let mut reader = Session::over(open(At::This).await?);
    let mut other = Session::over(open(At::Other).await?);
    let mut ids = Vec::new();
    for node in [&mut writer, &mut other] {
        if let Reply::Bulk(id) = node.ask(&["CLUSTER", "MYID"]).await? {
            ids.push(String::from_utf8_lossy(&id).into_owned());
        }
    }
    let mut transcript = Vec::new();
    for line in lines(script, &ids) {
        let mut pushed = Vec::new();
        let reply = match line.speaker {
            'w' => writer.ask(&line.words).await?,
            'r' => reader.ask(&line.words).await?,
            'o' => other.ask(&line.words).await?,
            _ => {
                tracker.send(&line.words).await?;
                answer(&mut tracker, &mut pushed).await?
            }
        };
        tracker.send(&["PING"]).await?;
        answer(&mut tracker, &mut pushed).await?;
        let name = String::from_utf8_lossy(&line.words[0]).to_uppercase();
        let of = line.words.get(1).map(|word| String::from_utf8_lossy(word));
        let shown = match (name.as_str(), of.as_deref(), &reply) {
            ("CLUSTER", Some(of), reply) => about_cluster(of, reply, &ids),
            (name, _, reply) => shown(name, reply),
        };
        let mut said = format!("{}\n    {shown}", line.text);
        for push in pushed {
            said.push_str(&format!("\n    told: {}", self::shown("", &push)));
        }
        transcript.push(said);
    }
    Ok(transcript)
}

/// What a node says of its cluster, with the names of the script for its nodes, and without those that own nothing.
fn about_cluster(of: &str, reply: &Reply, ids: &[String]) -> String {
    let text = match reply {
        Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        Reply::Verbatim(text) => text.clone(),
        other if of == "SLOTS" => return ranges(other),
        other => return shown("", other),
    };
    match of {
        "INFO" => {
            let known = ["cluster_state", "cluster_size"];
            let lines = text.lines();
            let lines = lines.filter(|l| known.iter().any(|known| l.starts_with(known)));
            lines.collect::<Vec<_>>().join(", ")
        }
        "NODES" => {
            let named = text.replace(&ids[0], "A").replace(&ids[1], "B");
            let owners = named.lines().filter(|line| line.contains("master"));
            let line = |line: &str| {
                let words: Vec<&str> = line.split(' ').collect();
                let slots = words.get(8..).unwrap_or_default().join(" ");
                format!("{} {} {slots}", words[0], words[2])
            };
            let mut lines: Vec<String> = owners.map(line).collect();
            lines.sort();
            lines.join("; ")
        }
        _ => format!("{text:?}"),
    }
}

fn ranges(slots: &Reply) -> String {
    let Reply::Array(ranges) = slots else {
        return shown("", slots);
    };
    let first_and_last = |range: &Reply| match range {
        Reply::Array(range) => format!("{:?}", &range[..2]),
        other => format!("{other:?}"),
    };
    ranges
        .iter()
        .map(first_and_last)
        .collect::<Vec<_>>()
        .join(" ")
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
        ("EVAL" | "EVALSHA" | "TTL" | "EXEC", Reply::Int(left)) if *left > 1000 => {
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
            let mut words = text.split(' ');
            let code = words.next().unwrap_or_default();
            match code {
                "MOVED" | "ASK" => format!("error {code} {}", words.next().unwrap_or_default()),
                _ => format!("error {code}"),
            }
        }
        ("GET" | "HGET", Reply::Bulk(text)) if text.starts_with(b"{") => {
            // The order of the members says nothing.
            match serde_json::from_slice::<serde_json::Value>(text) {
                Ok(value) => value.to_string(),
                Err(_) => format!("{:?}", String::from_utf8_lossy(text)),
            }
        }
        // The time in microseconds.
        ("EXEC", Reply::Bulk(text)) if text.len() > 15 && text.iter().all(u8::is_ascii_digit) => {
            "a time".to_owned()
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
