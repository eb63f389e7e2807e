//! Queries keys in any slot: sends the commands to the slot owner, and follows redirects.
//!
//! `MOVED` and `ASK` name the node to query; they never mean that a key does not exist. A question that no node
//! could answer yet is distinguished from a question about a key that does not exist.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::join_all;
use redis::{Arg, Cmd, Pipeline, ServerError, ServerErrorKind, Value};

use super::super::address::Address;
use super::super::script;
use super::node_report::address_of;
use super::slot::slot_of;

/// The maximum number of times that a question is sent. In a stable cluster, once is enough.
const MOST_HOPS: usize = 5;

/// Commands about one key, or about several keys in one slot. They are sent together, but not necessarily
/// executed atomically.
#[derive(Clone, Debug)]
pub(in super::super) struct Question {
    pub slot: u16,
    pub commands: Vec<Cmd>,
}

impl Question {
    /// Builds a question from one command whose first argument is its key.
    pub(in super::super) fn of(command: Cmd) -> Self {
        let key = match command.args_iter().nth(1) {
            Some(Arg::Simple(key)) => key,
            _ => b"",
        };
        Self {
            slot: slot_of(key),
            commands: vec![command],
        }
    }

    /// Builds a question from one command about a key.
    pub(super) fn about(key: &str, command: Cmd) -> Self {
        Self {
            slot: slot_of(key.as_bytes()),
            commands: vec![command],
        }
    }

    /// Builds a question for the remaining life and the value of a key, atomically.
    pub(super) fn reading(key: &str) -> Self {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script::READ).arg(1).arg(key);
        Self::about(key, eval)
    }
}

/// One value per command; or the error that the last node returned instead of an answer.
pub(in super::super) type Answer = Result<Vec<Value>, ServerError>;

/// The nodes that can be queried.
pub(super) trait Nodes: Sync {
    type Error: Send;

    /// Returns the owner of a slot.
    fn owner(&self, slot: u16) -> Option<usize>;

    /// Returns the node at an address.
    fn at(&self, address: &Address) -> Option<usize>;

    /// Returns the address of a node.
    fn address(&self, node: usize) -> &Address;

    /// Called when a slot turns out to have a new owner (`MOVED`).
    fn has_moved(&self) {}

    /// Sends commands to one node in one pipeline. Errors that the node answers with are among the values.
    fn send(
        &self,
        node: usize,
        pipeline: Pipeline,
    ) -> impl Future<Output = Result<Vec<Value>, Self::Error>> + Send;
}

/// The next hop of a question.
#[derive(Clone, Copy)]
struct Way {
    question: usize,
    /// Whether to send `ASKING`, so that the node answers although it does not own the slot yet.
    asking: bool,
}

/// Sends all questions in parallel. Fails if a node cannot be reached.
pub(super) async fn ask<N: Nodes>(
    nodes: &N,
    questions: &[Question],
) -> Result<Vec<Answer>, N::Error> {
    let mut answers: Vec<Option<Answer>> = vec![None; questions.len()];
    let mut next: BTreeMap<usize, Vec<Way>> = BTreeMap::new();
    for (question, asked) in questions.iter().enumerate() {
        // If no owner of the slot is known, any node can redirect us.
        let node = nodes.owner(asked.slot).unwrap_or_default();
        let asking = false;
        next.entry(node).or_default().push(Way { question, asking });
    }
    for _ in 0..MOST_HOPS {
        let rounds = std::mem::take(&mut next)
            .into_iter()
            .map(async |(node, ways)| {
                let mut pipeline = redis::pipe();
                for way in &ways {
                    for command in &questions[way.question].commands {
                        if way.asking {
                            pipeline.cmd("ASKING");
                        }
                        pipeline.add_command(command.clone());
                    }
                }
                (node, ways, nodes.send(node, pipeline).await)
            });
        for (node, ways, values) in join_all(rounds).await {
            let mut values = values?.into_iter();
            for way in ways {
                let count = questions[way.question].commands.len();
                let mut answered = Vec::with_capacity(count);
                for _ in 0..count {
                    if way.asking {
                        values.next();
                    }
                    answered.push(values.next().unwrap_or(Value::Nil));
                }
                answers[way.question] = Some(match evasion(&answered) {
                    None => Ok(answered),
                    Some(error) => {
                        if let Some((to, asking)) = onward(nodes, node, &error) {
                            let way = Way { asking, ..way };
                            next.entry(to).or_default().push(way);
                        }
                        Err(error)
                    }
                });
            }
        }
        if next.is_empty() {
            break;
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Returns the first value that is not an answer: a redirect, or an error that means that the node cannot answer at
/// the moment.
fn evasion(values: &[Value]) -> Option<ServerError> {
    values.iter().find_map(|value| match value {
        Value::ServerError(error) if is_evasion(error) => Some(error.clone()),
        _ => None,
    })
}

fn is_evasion(error: &ServerError) -> bool {
    matches!(
        error.code(),
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING"
    )
}

/// Returns the node that a redirect names, and whether to send `ASKING` to it.
fn onward<N: Nodes>(nodes: &N, asked: usize, error: &ServerError) -> Option<(usize, bool)> {
    let asking = match error.kind()? {
        ServerErrorKind::Moved => {
            nodes.has_moved();
            false
        }
        ServerErrorKind::Ask => true,
        _ => return None,
    };
    let (_, to) = error.details()?.split_once(' ')?;
    let (host, port) = to.rsplit_once(':')?;
    let to = address_of(host, port.parse().ok()?, nodes.address(asked));
    Some((nodes.at(&to)?, asking))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use super::*;

    /// Nodes that answer from a script, and a record of what was sent to them.
    struct Scripted {
        addresses: Vec<Address>,
        answers: Mutex<Vec<Vec<Value>>>,
        sent: Mutex<Vec<(usize, usize)>>,
    }

    impl Nodes for Scripted {
        type Error = Infallible;

        fn owner(&self, _: u16) -> Option<usize> {
            Some(0)
        }

        fn at(&self, address: &Address) -> Option<usize> {
            self.addresses.iter().position(|a| a == address)
        }

        fn address(&self, node: usize) -> &Address {
            &self.addresses[node]
        }

        async fn send(&self, node: usize, pipeline: Pipeline) -> Result<Vec<Value>, Infallible> {
            self.sent.lock().unwrap().push((node, pipeline.len()));
            Ok(self.answers.lock().unwrap().remove(0))
        }
    }

    fn refusal(text: &str) -> Value {
        let bytes = format!("-{text}\r\n");
        match redis::parse_redis_value(bytes.as_bytes()) {
            Ok(value) => value,
            Err(error) => Value::ServerError(error.try_into().unwrap()),
        }
    }

    async fn asked(answers: Vec<Vec<Value>>) -> (Answer, Vec<(usize, usize)>) {
        let nodes = Scripted {
            addresses: [1, 2].map(|p| Address::Tcp("h".to_owned(), p)).to_vec(),
            answers: Mutex::new(answers),
            sent: Mutex::default(),
        };
        let question = Question {
            slot: 7,
            commands: vec![redis::cmd("MGET"), redis::cmd("PTTL")],
        };
        let answers = ask(&nodes, &[question]).await.unwrap();
        (
            answers.into_iter().next().unwrap(),
            nodes.sent.into_inner().unwrap(),
        )
    }

    #[tokio::test]
    async fn a_redirection_is_followed_and_asking_comes_before_each_command() {
        let (nil, ok) = (Value::Nil, Value::Okay);
        let answers = vec![
            vec![refusal("ASK 7 h:2"), refusal("ASK 7 h:2")],
            vec![ok.clone(), nil.clone(), ok, Value::Int(-2)],
        ];
        let (answer, sent) = asked(answers).await;
        assert_eq!(answer.unwrap(), [nil.clone(), Value::Int(-2)]);
        assert_eq!(sent, [(0, 2), (1, 4)]);
        // An empty host means the host of the node that answered. If one of two commands is redirected, both
        // are sent again.
        let answers = vec![
            vec![nil.clone(), refusal("MOVED 7 :2")],
            vec![nil, Value::Int(-1)],
        ];
        let (answer, sent) = asked(answers).await;
        assert_eq!(answer.unwrap(), [Value::Nil, Value::Int(-1)]);
        assert_eq!(sent, [(0, 2), (1, 2)]);
    }

    #[tokio::test]
    async fn what_nobody_answers_is_not_nothing() {
        for (text, code) in [
            ("MOVED 7 elsewhere:1", "MOVED"),
            ("ASK 7 elsewhere:1", "ASK"),
            ("TRYAGAIN not yet", "TRYAGAIN"),
            ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
        ] {
            let (answer, sent) = asked(vec![vec![refusal(text), Value::Int(-2)]]).await;
            assert_eq!(answer.unwrap_err().code(), code);
            assert_eq!(sent.len(), 1);
        }
        let around = |to: &str| vec![refusal(to), refusal(to)];
        let rounds = (0..MOST_HOPS).map(|_| around("MOVED 7 h:1")).collect();
        let (answer, sent) = asked(rounds).await;
        assert_eq!(
            (answer.unwrap_err().code(), sent.len()),
            ("MOVED", MOST_HOPS)
        );
    }
}
