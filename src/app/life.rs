//! The life of the process: it becomes ready, and runs until a signal ends it or a part of it ends by itself.

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::ShutdownConfig;
use crate::engine::keys_loaded::KeysLoaded;
use crate::operations::Readiness;

use super::shutdown::{self, ShutdownStage};
use super::{StartError, other};

/// Announces the stages in the life of the process.
pub(super) struct Life {
    pub stage: watch::Sender<ShutdownStage>,
    pub readiness: Readiness,
    pub shutdown: ShutdownConfig,
}

impl Life {
    /// Becomes ready when the keys are loaded, and waits for a signal. A task that ends by itself is an
    /// error.
    pub async fn until_the_end(
        self,
        keys: &mut KeysLoaded,
        servers: &mut JoinSet<()>,
        upkeep: &mut JoinSet<()>,
    ) -> Result<(), StartError> {
        let (stage, readiness) = (&self.stage, &self.readiness);
        let ready = async {
            keys.wait().await;
            readiness.set(true);
            stage.send_replace(ShutdownStage::Running);
            tracing::info!("ready");
            std::future::pending::<()>().await;
        };
        let (what, ended) = tokio::select! {
            // Dropped at the signal, so that nothing becomes ready after it.
            () = ready => return Ok(()),
            () = shutdown::signalled(stage, self.shutdown, readiness) => return Ok(()),
            // A server ends only if its listener is permanently broken.
            ended = servers.join_next() => ("a server", ended),
            // Without this task, keys that the issuer has withdrawn would be trusted for ever.
            Some(ended) = upkeep.join_next() => ("a task that keeps an issuer's keys current", Some(ended)),
        };
        Err(other(anyhow::anyhow!(
            "{what} ended unexpectedly: {ended:?}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_task_of_keys_that_ends_by_a_defect_is_an_error_and_makes_nothing_ready() {
        let (stage, stages) = shutdown::stages();
        let shutdown = ShutdownConfig {
            delay: Duration::ZERO,
            drain: Duration::ZERO,
        };
        let life = Life {
            stage,
            readiness: Readiness::default(),
            shutdown,
        };
        let (loaded, mut keys) = KeysLoaded::of(1);
        let (mut servers, mut upkeep) = (JoinSet::new(), JoinSet::new());
        servers.spawn(std::future::pending());
        upkeep.spawn(async move {
            let _never_told = loaded;
            unreachable!("a defect");
        });
        let ended = life
            .until_the_end(&mut keys, &mut servers, &mut upkeep)
            .await;
        let error = ended.unwrap_err().to_string();
        assert!(
            error.starts_with("a task that keeps an issuer's keys current ended"),
            "{error}"
        );
        assert_eq!(*stages.borrow(), ShutdownStage::Starting);
    }
}
