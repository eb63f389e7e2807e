//! Diagnoses a cluster before it is used.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use super::super::super::{Diagnosis, StoreError};
use super::super::connector::Connector;
use super::super::dialer::Protocol;
use super::super::inventory::Inventory;
use super::super::server::{self, ServerInfo, Servers};
use super::discovery::{discover, not_found};
use super::topology::Topology;

/// The maximum number of primaries to list by name.
const MOST_NAMED: usize = 16;

/// Reports why one of the primaries could lose a revocation list.
pub(in super::super) async fn diagnose(
    connector: &Connector,
    issuers: &[String],
) -> Result<Diagnosis, StoreError> {
    let topology = discover(connector).await.map_err(not_found)?;
    let asked = topology.primaries.iter().map(async |primary| {
        let made = connector.to(primary.at.clone(), Protocol::Resp2).await;
        let mut made = made.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let reading = async {
            let info = ServerInfo::read(&mut made.connection).await?;
            let software = server::software(&info, &mut made.connection).await;
            Ok((info, software))
        };
        let reading = tokio::time::timeout(connector.connect_timeout(), reading).await;
        let (info, software) = match reading {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Err(StoreError::Unavailable(made.describe(&error))),
            Err(_) => return Err(StoreError::Timeout),
        };
        let info = info.of_several(format!("{}: ", primary.at), true);
        let counted = Inventory::take(&mut made.connection, issuers).await;
        let counted = counted.map_err(|error| StoreError::Unavailable(made.describe(&error)))?;
        Ok(((info, counted), software))
    });
    let asked = try_join_all(asked).await?.into_iter();
    let ((servers, counted), software): ((Vec<_>, Vec<_>), BTreeSet<_>) = asked.unzip();
    let mut diagnosis = Servers(servers).diagnosis();
    diagnosis.notes.push(reached(&software, &topology));
    let all = counted.iter().fold(Inventory::default(), Inventory::with);
    diagnosis.notes.extend(all.notes("the cluster"));
    diagnosis.mistaken_keys = all.mistaken_keys();
    if !topology.is_whole() {
        diagnosis.warnings.push(
            "some slots of the cluster belong to no node: with them every check fails".to_owned(),
        );
    }
    Ok(diagnosis)
}

/// Describes the cluster that was reached.
fn reached(software: &BTreeSet<String>, topology: &Topology) -> String {
    let software: Vec<_> = software.iter().map(String::as_str).collect();
    let primaries = &topology.primaries;
    let named = primaries.iter().take(MOST_NAMED).map(|p| p.at.to_string());
    let named: Vec<_> = named.collect();
    let more = if named.len() < primaries.len() {
        ", …"
    } else {
        ""
    };
    format!(
        "connected to {}, a cluster of {} primaries: {}{more}",
        software.join(" and "),
        primaries.len(),
        named.join(", ")
    )
}
