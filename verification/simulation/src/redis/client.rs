//! One connection as the server sees it.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::net::Socket;
use crate::resp::{Buffer, Command, Reply, Version};

use super::commands::{self, Run};
use super::process::{DATABASES, Process, Touch};
use super::{clustered, info, scripts};

/// A connection.
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) socket: Socket,
    pub(super) buffer: Buffer,
    /// What is sent when the loop comes to its end.
    pub(super) out: Vec<u8>,
    version: Version,
    database: usize,
    /// The prefixes whose changes are pushed, each with the names that are to be.
    tracks: Vec<(Vec<u8>, BTreeSet<Vec<u8>>)>,
    queued: Option<Vec<Command>>,
    /// A command of the transaction was refused.
    spoiled: bool,
    /// The command before was `ASKING`.
    asking: bool,
    /// Until when and for what it is kept waiting.
    pub(super) waits: Option<Wait>,
    /// A write that waits until writes go on.
    pub(super) held_up: Option<Command>,
}

/// What `WAIT` waits for.
pub(super) struct Wait {
    pub(super) replicas: usize,
    pub(super) offset: u64,
    pub(super) until: Option<Instant>,
    /// `WAITAOF` says first whether the server itself has written it down.
    pub(super) with_file: bool,
}

/// What is needed of the server beside its data.
pub(super) struct Around<'p> {
    pub(super) process: &'p mut Process,
    pub(super) now: i64,
    /// Up to where each replica has everything.
    pub(super) replicas: Vec<u64>,
}

impl Client {
    pub(super) fn new(id: u64, socket: Socket) -> Self {
        Self {
            id,
            socket,
            buffer: Buffer::default(),
            out: Vec::new(),
            version: Version::Two,
            database: 0,
            tracks: Vec::new(),
            queued: None,
            spoiled: false,
            asking: false,
            waits: None,
            held_up: None,
        }
    }

    /// Notes what has changed, if it is tracked.
    pub(super) fn hear(&mut self, touch: &Touch) {
        match touch {
            Touch::Key(key) => {
                for (prefix, names) in &mut self.tracks {
                    if key.starts_with(prefix) {
                        names.insert(key.clone());
                    }
                }
            }
            // At once: what was noted before comes after it.
            Touch::Everything if !self.tracks.is_empty() => self.push(Reply::Nil),
            Touch::Everything => {}
        }
    }

    /// Tells what has been noted.
    pub(super) fn tell(&mut self) {
        for at in 0..self.tracks.len() {
            let names = std::mem::take(&mut self.tracks[at].1);
            if !names.is_empty() {
                self.push(Reply::Array(names.into_iter().map(Reply::Bulk).collect()));
            }
        }
    }

    fn push(&mut self, what: Reply) {
        // With RESP2 it would go to a connection of its own, which nobody names here.
        if self.version == Version::Two {
            return;
        }
        let push = Reply::Push(vec![Reply::bulk("invalidate"), what]);
        push.write(self.version, &mut self.out);
    }

    /// Answers a command, or has the client wait.
    pub(super) fn answer(&mut self, command: &Command, around: &mut Around<'_>) {
        let reply = self.reply(command, around);
        if let Some(reply) = reply {
            reply.write(self.version, &mut self.out);
        }
    }

    fn reply(&mut self, command: &Command, around: &mut Around<'_>) -> Option<Reply> {
        let name = commands::name(command);
        let is_loading = around.process.loads_until > around.now;
        if is_loading && !["HELLO", "CLIENT", "SELECT", "INFO"].contains(&name.as_str()) {
            return Some(Reply::error(
                "LOADING Redis is loading the dataset in memory",
            ));
        }
        match name.as_str() {
            "MULTI" => {
                self.spoiled = false;
                self.queued = Some(Vec::new());
                Some(Reply::ok())
            }
            "DISCARD" => {
                self.queued = None;
                Some(Reply::ok())
            }
            "EXEC" => Some(self.execute(around)),
            _ => match &mut self.queued {
                Some(queued) => {
                    queued.push(command.clone());
                    Some(Reply::Simple("QUEUED".to_owned()))
                }
                None => self.carry_out(&name, command, around),
            },
        }
    }

    fn execute(&mut self, around: &mut Around<'_>) -> Reply {
        let Some(queued) = self.queued.take() else {
            return Reply::error("ERR EXEC without MULTI");
        };
        if self.spoiled {
            return Reply::error("EXECABORT Transaction discarded because of previous errors.");
        }
        let answers = queued.iter().map(|command| {
            let reply = self.carry_out(&commands::name(command), command, around);
            reply.unwrap_or(Reply::Nil)
        });
        Reply::Array(answers.collect())
    }

    fn carry_out(
        &mut self,
        name: &str,
        command: &Command,
        around: &mut Around<'_>,
    ) -> Option<Reply> {
        let arguments = &command[1..];
        let asking = std::mem::replace(&mut self.asking, name == "ASKING");
        let asks = (self.socket.peer.as_str(), around.now);
        if let Some(reply) = clustered::answer(around.process, (name, arguments), asking, asks) {
            return Some(reply);
        }
        let reply = match name {
            "PING" => Reply::Simple("PONG".to_owned()),
            "HELLO" => self.hello(arguments, around),
            "SELECT" => self.select(arguments),
            "CLIENT" => self.client(arguments),
            "INFO" => Reply::Verbatim(info::info(
                around.process,
                around.now,
                around.replicas.len(),
            )),
            "SCRIPT" => script(arguments, around),
            "EVAL" | "EVALSHA" => self.evaluate(name, arguments, around),
            "WAIT" | "WAITAOF" => return self.wait(name, arguments, around),
            _ => {
                let mut run = Run {
                    process: around.process,
                    database: self.database,
                    now: around.now,
                };
                commands::run(&mut run, name, arguments)
                    .unwrap_or_else(|| Reply::Error(format!("ERR unknown command '{name}'")))
            }
        };
        Some(reply)
    }

    fn hello(&mut self, arguments: &[Vec<u8>], around: &Around<'_>) -> Reply {
        match arguments.first().map(Vec::as_slice) {
            None => {}
            Some(b"2") => self.version = Version::Two,
            Some(b"3") => self.version = Version::Three,
            Some(_) => return Reply::error("NOPROTO unsupported protocol version"),
        }
        info::hello(around.process, self.version, self.id)
    }

    fn select(&mut self, arguments: &[Vec<u8>]) -> Reply {
        let number = arguments.first().and_then(|text| commands::number(text));
        match number.and_then(|n| usize::try_from(n).ok()) {
            Some(database) if database < DATABASES => {
                self.database = database;
                Reply::ok()
            }
            _ => Reply::error("ERR DB index is out of range"),
        }
    }

    fn client(&mut self, arguments: &[Vec<u8>]) -> Reply {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["TRACKING", "OFF"] => self.tracks.clear(),
            ["TRACKING", "ON", "BCAST", prefixes @ ..] => {
                let named = prefixes.chunks(2).filter_map(|pair| pair.get(1));
                self.tracks = named
                    .map(|prefix| (prefix.as_bytes().to_vec(), BTreeSet::new()))
                    .collect();
                if self.tracks.is_empty() {
                    self.tracks.push((Vec::new(), BTreeSet::new()));
                }
            }
            ["ID"] => return Reply::Int(i64::try_from(self.id).unwrap_or_default()),
            _ => return Reply::error("ERR unknown subcommand"),
        }
        Reply::ok()
    }

    fn evaluate(&mut self, name: &str, arguments: &[Vec<u8>], around: &mut Around<'_>) -> Reply {
        let [script, count, rest @ ..] = arguments else {
            return Reply::error("ERR wrong number of arguments for 'eval' command");
        };
        let script = String::from_utf8_lossy(script).into_owned();
        let text = if name == "EVAL" {
            match scripts::compile(&script) {
                Ok(sha) => around.process.scripts.entry(sha).or_insert(script).clone(),
                Err(error) => return error,
            }
        } else {
            match around.process.scripts.get(&script.to_lowercase()) {
                Some(text) => text.clone(),
                None => {
                    return Reply::error("NOSCRIPT No matching script. Please use EVAL.");
                }
            }
        };
        let count = commands::number(count).and_then(|n| usize::try_from(n).ok());
        let Some(count) = count.filter(|count| *count <= rest.len()) else {
            return Reply::error("ERR Number of keys can't be greater than number of args");
        };
        let (keys, arguments) = rest.split_at(count);
        let mut run = Run {
            process: around.process,
            database: self.database,
            now: around.now,
        };
        scripts::run(&mut run, &text, keys, arguments)
    }

    fn wait(&mut self, name: &str, arguments: &[Vec<u8>], around: &Around<'_>) -> Option<Reply> {
        let numbers: Option<Vec<i64>> = arguments.iter().map(|a| commands::number(a)).collect();
        let with_file = name == "WAITAOF";
        let (replicas, patience) = match numbers.as_deref() {
            Some([replicas, patience]) if !with_file => (*replicas, *patience),
            Some([_, replicas, patience]) if with_file => (*replicas, *patience),
            _ => return Some(commands::not_an_integer()),
        };
        let wait = Wait {
            replicas: usize::try_from(replicas).unwrap_or_default(),
            offset: around.process.offset,
            until: u64::try_from(patience)
                .ok()
                .filter(|ms| *ms > 0)
                .map(|ms| Instant::now() + std::time::Duration::from_millis(ms)),
            with_file,
        };
        let reply = wait.answer(&around.replicas);
        if reply.is_none() {
            self.waits = Some(wait);
        }
        reply
    }

    /// Answers a client that was kept waiting, if it is time.
    pub(super) fn end_wait(&mut self, replicas: &[u64]) {
        let reply = self.waits.as_ref().and_then(|wait| wait.answer(replicas));
        if let Some(reply) = reply {
            self.waits = None;
            reply.write(self.version, &mut self.out);
        }
    }
}

impl Wait {
    fn answer(&self, replicas: &[u64]) -> Option<Reply> {
        let count = replicas.iter().filter(|has| **has >= self.offset).count();
        let is_over = self.until.is_some_and(|until| until <= Instant::now());
        let count_is_enough = count >= self.replicas;
        (count_is_enough || is_over).then(|| {
            let count = Reply::Int(i64::try_from(count).unwrap_or_default());
            match self.with_file {
                true => Reply::Array(vec![Reply::Int(1), count]),
                false => count,
            }
        })
    }
}

fn script(arguments: &[Vec<u8>], around: &mut Around<'_>) -> Reply {
    let word = |at: usize| arguments.get(at).map(|word| String::from_utf8_lossy(word));
    match (word(0).map(|w| w.to_uppercase()).as_deref(), word(1)) {
        (Some("LOAD"), Some(text)) => match scripts::compile(&text) {
            Ok(sha) => {
                let scripts = &mut around.process.scripts;
                scripts.insert(sha.clone(), text.into_owned());
                Reply::bulk(sha)
            }
            Err(error) => error,
        },
        (Some("FLUSH"), _) => {
            around.process.scripts.clear();
            Reply::ok()
        }
        (Some("EXISTS"), Some(_)) => {
            let known = |sha: &Vec<u8>| {
                let sha = String::from_utf8_lossy(sha).to_lowercase();
                Reply::Int(i64::from(around.process.scripts.contains_key(&sha)))
            };
            Reply::Array(arguments[1..].iter().map(known).collect())
        }
        _ => Reply::error("ERR unknown subcommand"),
    }
}
