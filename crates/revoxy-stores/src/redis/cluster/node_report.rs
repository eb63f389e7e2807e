//! One node's report of its cluster.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult, Value};

use super::super::address::Address;

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeReport {
    /// The id of the node itself.
    pub id: String,
    /// Whether the node considers itself a primary.
    pub is_primary: bool,
    /// Whether the node reports that the cluster is up. A node that is cut off from the majority of primaries
    /// reports after a while that the cluster is down.
    pub works: bool,
    /// Every node that this one knows and has an address of, including itself.
    pub nodes: Vec<ReportedNode>,
}

/// One node, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReportedNode {
    pub id: String,
    pub at: Address,
    pub is_primary: bool,
    /// Whether a majority of primaries considers the node failed (the flag `fail`).
    pub has_failed: bool,
    /// The configuration epoch: of two nodes that claim a slot, the one with the greater epoch owns it.
    pub epoch: u64,
    /// Slot ranges, each with first and last slot.
    pub slots: Vec<(u16, u16)>,
}

impl NodeReport {
    /// Asks a node, which was reached at `at`, for its report.
    pub(super) async fn ask(
        connection: &mut MultiplexedConnection,
        at: &Address,
    ) -> RedisResult<Self> {
        let mut questions = redis::pipe();
        questions.cmd("CLUSTER").arg("NODES");
        questions.cmd("CLUSTER").arg("INFO");
        // Names the endpoint that each node prefers: IP address or hostname.
        questions.cmd("CLUSTER").arg("SLOTS");
        let (nodes, info, slots): (String, String, Value) =
            questions.query_async(connection).await?;
        Self::parse(&nodes, &info, &slots, at).ok_or_else(|| {
            let what = "CLUSTER NODES cannot be understood";
            RedisError::from((redis::ErrorKind::UnexpectedReturnType, what))
        })
    }

    fn parse(nodes: &str, info: &str, slots: &Value, asked: &Address) -> Option<Self> {
        let called = names(slots);
        let mut report = Self {
            works: info.lines().any(|l| l.trim_end() == "cluster_state:ok"),
            ..Self::default()
        };
        // Nodes without slots are not in `CLUSTER SLOTS`, but prefer the same kind of endpoint as the others.
        let by_name = nodes.lines().any(|line| {
            let Some((id, host)) = id_and_hostname(line) else {
                return false;
            };
            called.get(id).is_some_and(|(h, _)| h.as_str() == host)
        });
        for line in nodes.lines() {
            let Some((node, is_myself)) = parse_line(line, &called, by_name, asked) else {
                continue;
            };
            if is_myself {
                report.id.clone_from(&node.id);
                report.is_primary = node.is_primary;
            }
            report.nodes.push(node);
        }
        (!report.id.is_empty()).then_some(report)
    }
}

/// Parses one line:
///
/// `<id> <ip:port@bus[,hostname[,…]]> <flags> <primary> <ping> <pong> <epoch> <link> <slot> <slot> …`.
fn parse_line(
    line: &str,
    called: &BTreeMap<String, (String, u16)>,
    by_name: bool,
    asked: &Address,
) -> Option<(ReportedNode, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (id, address, flags) = (words.next()?, words.next()?, words.next()?);
    let epoch = words.nth(3)?.parse().ok()?;
    let has = |flag| flags.split(',').any(|f| f == flag);
    if has("handshake") || has("noaddr") {
        return None;
    }
    let mut address = address.split(',');
    let (ip_and_port, hostname) = (address.next()?, address.next().unwrap_or_default());
    let (ip, port) = ip_and_port.split('@').next()?.rsplit_once(':')?;
    let own = if by_name && !hostname.is_empty() {
        hostname
    } else {
        ip
    };
    let (host, port) = match called.get(id) {
        Some((host, port)) => (host.as_str(), *port),
        None => (own, port.parse().ok()?),
    };
    // A slot in migration is listed in brackets, in addition to the slots that the node owns, and is skipped here.
    let slots = words.skip(1).filter_map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let node = ReportedNode {
        id: id.to_owned(),
        at: address_of(host, port, asked),
        is_primary: has("master"),
        has_failed: has("fail"),
        epoch,
        slots: slots.collect(),
    };
    Some((node, has("myself")))
}

/// Returns the address of a node. If the answer leaves the host out (empty or `?`), it is the host of the node that
/// was asked.
pub(super) fn address_of(host: &str, port: u16, asked: &Address) -> Address {
    match asked {
        Address::Tcp(own, _) if host.is_empty() || host == "?" => Address::Tcp(own.clone(), port),
        _ => Address::Tcp(host.to_owned(), port),
    }
}

fn id_and_hostname(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.split_once(' ')?;
    let hostname = rest.split(' ').next()?.split(',').nth(1)?;
    (!hostname.is_empty()).then_some((id, hostname))
}

/// Parses `CLUSTER SLOTS`: for each node id, its preferred endpoint.
fn names(slots: &Value) -> BTreeMap<String, (String, u16)> {
    let mut names = BTreeMap::new();
    let Value::Array(ranges) = slots else {
        return names;
    };
    for range in ranges {
        let Value::Array(range) = range else { continue };
        for node in range.iter().skip(2) {
            let Value::Array(node) = node else { continue };
            let [host, Value::Int(port), id, ..] = node.as_slice() else {
                continue;
            };
            if let (Ok(port), Some(id)) = (u16::try_from(*port), text(id)) {
                names.insert(id, (text(host).unwrap_or_default(), port));
            }
        }
    }
    names
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn a_table_with_everything_in_it_is_read() {
        let nodes = "\
            aa 10.0.0.1:7000@17000,n1.example,shard-id=x myself,master - 0 0 3 connected 0-99 101 [102->-bb]\n\
            bb 10.0.0.2:7000@17000,n2.example master - 0 1 4 connected\n\
            cc 10.0.0.3:7000@17000 master,fail - 0 1 1 disconnected\n\
            dd 10.0.0.4:7000@17000 slave,fail? aa 0 1 3 connected\n\
            ee :0@0 master,noaddr - 0 1 1 disconnected\n\
            ff 10.0.0.9:7000@17000 handshake - 0 1 1 connected\n";
        let report = NodeReport::parse(
            nodes,
            "cluster_state:ok\r\n",
            &Value::Array(vec![]),
            &tcp("s", 1),
        );
        let report = report.unwrap();
        assert!(report.is_primary && report.works && report.id == "aa");
        let short: Vec<_> = report
            .nodes
            .iter()
            .map(|n| (&*n.id, n.at.clone()))
            .collect();
        assert_eq!(
            short,
            [
                ("aa", tcp("10.0.0.1", 7000)),
                ("bb", tcp("10.0.0.2", 7000)),
                ("cc", tcp("10.0.0.3", 7000)),
                ("dd", tcp("10.0.0.4", 7000)),
            ]
        );
        assert_eq!(report.nodes[0].slots, [(0, 99), (101, 101)]);
        let primaries = report.nodes.iter().map(|n| (n.is_primary, n.has_failed));
        assert_eq!(
            primaries.collect::<Vec<_>>(),
            [(true, false), (true, false), (true, true), (false, false)]
        );
    }

    #[test]
    fn nodes_are_called_as_they_want_to_be() {
        let nodes = "\
            aa :7000@17000,n1.example myself,master - 0 0 3 connected 0-99\n\
            bb 10.0.0.2:7000@17000,n2.example master - 0 1 4 connected\n\
            cc 10.0.0.3:7001@17001 master - 0 1 4 connected 100\n";
        let node = |host: Value, port, id: &str| {
            Value::Array(vec![
                host,
                Value::Int(port),
                Value::BulkString(id.as_bytes().to_vec()),
            ])
        };
        let range = |node| Value::Array(vec![Value::Int(0), Value::Int(1), node]);
        let slots = Value::Array(vec![
            range(node(Value::BulkString(b"n1.example".to_vec()), 7000, "aa")),
            range(node(Value::Nil, 7001, "cc")),
        ]);
        let report =
            NodeReport::parse(nodes, "cluster_state:fail", &slots, &tcp("seed", 1)).unwrap();
        assert!(!report.works);
        let at: Vec<_> = report.nodes.into_iter().map(|n| n.at).collect();
        assert_eq!(
            at,
            [
                tcp("n1.example", 7000),
                tcp("n2.example", 7000),
                tcp("seed", 7001)
            ]
        );
    }
}
