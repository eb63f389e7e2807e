//! Discovers the primaries of a cluster.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::super::super::StoreError;
use super::super::address::Address;
use super::super::connector::Connector;
use super::super::dialer::{Connected, Protocol};
use super::super::error;
use super::node_report::NodeReport;
use super::topology::Topology;

/// The error for a server that is not part of a cluster.
pub(in super::super) const NOT_A_CLUSTER: &str =
    "the server is not part of a cluster: name it with `url` instead";

/// Asks the known nodes for the primaries. The error is that of the last node that failed.
pub(in super::super) async fn discover(connector: &Connector) -> Result<Topology, String> {
    let reports = reports(connector).await?;
    let topology = Topology::merge(reports.iter());
    if topology.primaries.is_empty() {
        return Err("no node knows a primary".to_owned());
    }
    Ok(topology)
}

/// Returns the reports of the known nodes that answer within the grace period (see `Seeds::grace`) and belong to
/// our cluster.
pub(super) async fn reports(connector: &Connector) -> Result<Vec<NodeReport>, String> {
    let Some(seeds) = connector.seeds() else {
        return Err("no nodes of a cluster are configured".to_owned());
    };
    let asked = seeds.all().into_iter().map(async |at| {
        let report = ask(connector, at.clone()).await?;
        Ok::<_, String>((at, report))
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut reports, mut why) = (Vec::new(), "no answer".to_owned());
    let mut until = None::<Instant>;
    loop {
        let end = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            answer = asked.next() => match answer {
                Some(Ok(answer)) => {
                    reports.push(answer);
                    let end = Instant::now() + seeds.grace(&reports);
                    until = Some(until.map_or(end, |until| until.min(end)));
                }
                Some(Err(error)) => why = error,
                None => break,
            },
            () = sleep_until(end), if until.is_some() => break,
        }
    }
    drop(asked);
    if reports.is_empty() {
        return Err(why);
    }
    seeds.ours(reports)
}

async fn ask(connector: &Connector, at: Address) -> Result<NodeReport, String> {
    let made = connector.to(at.clone(), Protocol::Resp2).await;
    let mut made = made.map_err(|e| e.to_string())?;
    let report = NodeReport::ask(&mut made.connection, &at);
    match tokio::time::timeout(connector.connect_timeout(), report).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(match error::server_code(&error).as_deref() {
            Some("ERR") => NOT_A_CLUSTER.to_owned(),
            _ => format!("{at}: {}", made.describe(&error)),
        }),
        Err(_) => Err(format!("{at}: no answer in time")),
    }
}

/// Connects to each primary.
pub(in super::super) async fn primaries(
    connector: &Connector,
) -> Result<Vec<Connected>, StoreError> {
    let topology = discover(connector).await.map_err(not_found)?;
    let made = topology.primaries.iter().map(async |primary| {
        let made = connector.to(primary.at.clone(), Protocol::Resp2).await;
        made.map_err(|e| StoreError::Unavailable(e.to_string()))
    });
    try_join_all(made).await
}

pub(super) fn not_found(why: String) -> StoreError {
    match why == NOT_A_CLUSTER {
        true => StoreError::Failed(why),
        false => StoreError::Unavailable(why),
    }
}
