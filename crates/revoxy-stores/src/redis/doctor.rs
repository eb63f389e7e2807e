//! Diagnoses a Redis server before it is used.

use super::super::options::{OptionsError, RedisOptions};
use super::super::{Diagnosis, StoreError};
use super::IN_A_CLUSTER;
use super::cluster;
use super::connector::Connector;
use super::dialer::Protocol;
use super::inventory::Inventory;
use super::server::{self, ServerInfo, Servers};
use super::write_rights;

impl RedisOptions {
    /// Checks whether the options can be used, without connecting. Reads the files that they name.
    pub fn validate(&self) -> Result<(), OptionsError> {
        Connector::new(self)?.check_files()
    }

    /// Connects and reports which server it is, why a revocation list would not be safe with it, and which keys it
    /// holds. `records` says whether tokens are recorded; `issuers` are the configured names.
    pub async fn diagnose(
        &self,
        records: bool,
        issuers: &[String],
    ) -> Result<Diagnosis, StoreError> {
        let connector = Connector::new(self)?;
        let mut diagnosis = match connector.seeds() {
            Some(_) => cluster::diagnose(&connector, issuers).await?,
            None => self.diagnose_one(&connector, issuers).await?,
        };
        let may_not = write_rights::missing(&connector, records).await?;
        diagnosis.warnings.extend(may_not);
        Ok(diagnosis)
    }

    /// Returns which permissions to grant if the user may not write; `None` if the user may write. `records` says
    /// whether tokens are recorded.
    pub async fn missing_rights(&self, records: bool) -> Result<Option<String>, StoreError> {
        write_rights::missing(&Connector::new(self)?, records).await
    }

    async fn diagnose_one(
        &self,
        connector: &Connector,
        issuers: &[String],
    ) -> Result<Diagnosis, StoreError> {
        let asked = async {
            let mut server = connector
                .connect(Protocol::Resp2)
                .await
                .map_err(|e| StoreError::Unavailable(e.to_string()))?;
            let read = ServerInfo::read(&mut server.connection).await;
            let info = read.map_err(|e| StoreError::Unavailable(server.describe(&e)))?;
            let software = server::software(&info, &mut server.connection).await;
            Ok((server, info, software))
        };
        let asked = tokio::time::timeout(self.connect_timeout * 3, asked).await;
        let (mut server, info, software) = asked.unwrap_or(Err(StoreError::Timeout))?;
        if info.is_in_cluster() {
            return Err(StoreError::Failed(IN_A_CLUSTER.to_owned()));
        }
        let mut diagnosis = Servers(vec![info]).diagnosis();
        let reached = connector.reached(&software, &server.at);
        diagnosis.notes.push(reached);
        match Inventory::take(&mut server.connection, issuers).await {
            Ok(inventory) => {
                diagnosis.notes.extend(inventory.notes("the server"));
                diagnosis.mistaken_keys = inventory.mistaken_keys();
            }
            Err(error) => diagnosis.notes.push(format!(
                "cannot count the keys: {}",
                server.describe(&error)
            )),
        }
        Ok(diagnosis)
    }
}
