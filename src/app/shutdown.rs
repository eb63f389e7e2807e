//! Orderly shutdown: report "not ready", keep serving until proxies stop sending requests, then let what is
//! in flight finish, within a time limit.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::ShutdownConfig;
use crate::operations::Readiness;

/// The stages in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShutdownStage {
    /// Listening, but not ready yet.
    Starting,
    /// Serving.
    Running,
    /// Still serving, but health checks report "not ready".
    Unready,
    /// Listeners are closed, and clients are told to close their connections (HTTP/2 GOAWAY).
    Ending,
}

/// Creates the channel that announces the stages.
pub(super) fn stages() -> (watch::Sender<ShutdownStage>, watch::Receiver<ShutdownStage>) {
    watch::channel(ShutdownStage::Starting)
}

/// Resolves when the process has reached `stage`.
pub(super) fn reached(
    stages: &watch::Receiver<ShutdownStage>,
    stage: ShutdownStage,
) -> impl Future<Output = ()> + Send + 'static {
    let mut stages = stages.clone();
    async move {
        // An error means that the sender is gone, and with it everything else.
        let _ = stages.wait_for(|s| *s >= stage).await;
    }
}

/// Waits for SIGTERM or SIGINT, then announces the stages. A second signal skips the delay.
pub(super) async fn signalled(
    stage: &watch::Sender<ShutdownStage>,
    config: ShutdownConfig,
    readiness: &Readiness,
) {
    let first = next_signal().await;
    tracing::info!(signal = first, delay = ?config.delay, "ending: not ready any more");
    readiness.set(false);
    stage.send_replace(ShutdownStage::Unready);
    // Ctrl-C comes from a person at a terminal; there is no load balancer that needs time to stop sending
    // requests.
    if first != "SIGINT" {
        let _ = tokio::time::timeout(config.delay, next_signal()).await;
    }
    stage.send_replace(ShutdownStage::Ending);
}

async fn next_signal() -> &'static str {
    let (terminate, interrupt) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        _ => std::future::pending().await,
    }
}

/// Handles SIGHUP from now on, which by default would end the process at once.
pub(super) fn report_sighup() {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return;
    };
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::warn!(
                "SIGHUP changes nothing: restart to read the configuration anew; key files, password files and certificates \
                 are read anew by themselves"
            );
        }
    });
}

/// Waits until the servers have ended, for at most `drain`.
pub(super) async fn drained(mut servers: JoinSet<()>, drain: Duration) {
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, all).await.is_err() {
        tracing::warn!(
            ?drain,
            "connections were still open after the drain time; closing them"
        );
    }
}
