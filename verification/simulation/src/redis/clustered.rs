//! The commands of a node of a cluster, and what a node says of keys that are elsewhere.

use crate::resp::Reply;

use super::commands;
use super::node::Node;
use super::process::Process;
use super::slots::slot_of;

/// The answer to what has to do with the cluster: to a command about it, or to one that is refused or sent on because of it.
pub(super) fn answer(
    process: &mut Process,
    (name, arguments): (&str, &[Vec<u8>]),
    asking: bool,
    (asks, now): (&str, i64),
) -> Option<Reply> {
    let disabled = || {
        Some(Reply::error(
            "ERR This instance has cluster support disabled",
        ))
    };
    let Some(mut node) = process.cluster.take() else {
        return match name {
            "CLUSTER" | "ASKING" => disabled(),
            _ => None,
        };
    };
    let first = arguments.first().map(Vec::as_slice);
    let reply = match (name, first) {
        ("ASKING", None) => Some(Reply::ok()),
        ("CLUSTER", Some(_)) => Some(about(&mut node, process, arguments, (asks, now))),
        ("SELECT", Some(number)) if number != b"0" => {
            Some(Reply::error("ERR SELECT is not allowed in cluster mode"))
        }
        ("SWAPDB", _) => Some(Reply::error("ERR SWAPDB is not allowed in cluster mode")),
        _ => node.refusal(process, (name, arguments), asking, (asks, now)),
    };
    process.cluster = Some(node);
    reply
}

/// `CLUSTER …`
fn about(
    node: &mut Node,
    process: &Process,
    arguments: &[Vec<u8>],
    (asks, now): (&str, i64),
) -> Reply {
    let word = |at: usize| arguments.get(at).map(|word| word.to_ascii_uppercase());
    let slot = |at: usize| {
        let slot = arguments.get(at).and_then(|text| commands::number(text))?;
        u16::try_from(slot).ok()
    };
    match word(0).as_deref() {
        Some(b"INFO") => Reply::Verbatim(node.info(now)),
        Some(b"NODES") => Reply::Verbatim(node.nodes(asks)),
        Some(b"SLOTS") => node.slots(asks),
        Some(b"MYID") => Reply::bulk(&node.peers[node.me].id),
        Some(b"KEYSLOT") => match arguments.get(1) {
            Some(key) => Reply::Int(slot_of(key).into()),
            None => Reply::error("ERR wrong number of arguments for 'cluster|keyslot' command"),
        },
        Some(b"COUNTKEYSINSLOT") => match slot(1) {
            Some(slot) => Reply::Int(process.keys_in(&[slot]).len() as i64),
            None => Reply::error("ERR Invalid slot"),
        },
        Some(b"GETKEYSINSLOT") => match slot(1) {
            Some(slot) => {
                let keys = process.keys_in(&[slot]).into_iter();
                Reply::Array(keys.map(Reply::Bulk).collect())
            }
            None => Reply::error("ERR Invalid slot"),
        },
        Some(b"SETSLOT") => match slot(1) {
            Some(slot) => set(node, process, slot, word(2).as_deref(), arguments.get(3)),
            None => Reply::error("ERR Invalid or out of range slot"),
        },
        _ => Reply::error("ERR unknown subcommand"),
    }
}

/// `CLUSTER SETSLOT …`
fn set(
    node: &mut Node,
    process: &Process,
    slot: u16,
    action: Option<&[u8]>,
    id: Option<&Vec<u8>>,
) -> Reply {
    let unknown = || Reply::error("ERR I don't know about node");
    let of = id.map(|id| node.of_id(id));
    let is_own = node.owner(slot) == Some(node.me);
    match (action, of) {
        (Some(b"STABLE"), None) => {
            node.migrating.remove(&slot);
            node.importing.remove(&slot);
        }
        (Some(b"MIGRATING"), Some(_)) if !is_own => {
            return Reply::error("ERR I'm not the owner of hash slot");
        }
        (Some(b"IMPORTING"), Some(_)) if is_own => {
            return Reply::error("ERR I'm already the owner of hash slot");
        }
        (Some(b"MIGRATING" | b"IMPORTING" | b"NODE"), Some(None)) => return unknown(),
        (Some(b"MIGRATING"), Some(Some(to))) => drop(node.migrating.insert(slot, to)),
        (Some(b"IMPORTING"), Some(Some(from))) => drop(node.importing.insert(slot, from)),
        (Some(b"NODE"), Some(Some(to))) => {
            if is_own && to != node.me && !process.keys_in(&[slot]).is_empty() {
                return Reply::error(
                    "ERR Can't assign hashslot to a different node while I still hold keys for this hash slot.",
                );
            }
            node.give(slot, to);
        }
        _ => return Reply::error("ERR Invalid CLUSTER SETSLOT action or number of arguments"),
    }
    Reply::ok()
}
