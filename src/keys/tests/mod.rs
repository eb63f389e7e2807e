//! Tests of keys with a server that misbehaves, and with files that change.

mod fetching;
mod files;
mod rotation;
mod server;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use crate::clock::{Clock, ManualClock};
use crate::jwt::testing::{self, Signer};
use crate::jwt::{Issuer, Verifier, VerifyError};
use crate::metrics::{CheckLabels, Metrics};

use super::fetch::{FetchError, Fetcher};
use super::remote::{Location, Refresher, RemoteKeys, Timing};
use server::{Answer, Server};

const COOLDOWN: Duration = Duration::from_millis(400);

/// The path of every test's key set.
const JWKS: &str = "/jwks";

fn url(server: &Server, scheme: &str, path: &str) -> Url {
    Url::parse(&format!("{scheme}://{}{path}", server.address)).unwrap()
}

fn jwks(keys: &[(&Signer, &str)]) -> String {
    let keys: Vec<Value> = keys.iter().map(|(key, kid)| key.jwk(Some(kid))).collect();
    json!({ "keys": keys }).to_string()
}

/// A valid token that is signed with this key and names this kid.
fn token(key: &Signer, kid: &str) -> String {
    testing::token_of(key, "ES256", kid)
}

fn remote(location: Location, timing: Timing) -> RemoteKeys {
    RemoteKeys {
        location,
        timing,
        timeout: Duration::from_millis(500),
        allow_http: false,
        ca_file: None,
        redirect_hosts: Vec::new(),
    }
}

fn timing() -> Timing {
    Timing {
        refresh: Some(Duration::from_secs(3600)),
        cooldown: COOLDOWN,
        patience: Duration::from_secs(2),
        max_age: Duration::from_secs(3600),
    }
}

/// An issuer whose keys are fetched for as long as this value lives.
struct Fetched {
    issuer: Arc<Issuer>,
    verifier: Verifier,
    metrics: Metrics,
    loaded: tokio::sync::mpsc::Receiver<()>,
    _task: JoinSet<()>,
}

impl Fetched {
    fn start(keys: &RemoteKeys) -> Self {
        crate::jwt::install_crypto().unwrap();
        let issuer = Arc::new(Issuer::fetched(testing::profile(), keys.timing.demand()));
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        let metrics = Metrics::new(&labels, &[]).unwrap();
        let of_issuer = metrics.issuer_keys("shop", &FetchError::LABELS);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(testing::now()));
        let fetcher = keys.fetcher().unwrap();
        let refresher = Refresher::new(Arc::clone(&issuer), keys, fetcher, clock, of_issuer);
        let (sender, loaded) = tokio::sync::mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(refresher.run(move || drop(sender)));
        Self {
            verifier: Verifier::new([Arc::clone(&issuer)]),
            issuer,
            metrics,
            loaded,
            _task: task,
        }
    }

    async fn loaded(&mut self) {
        let loaded = tokio::time::timeout(Duration::from_secs(10), self.loaded.recv());
        assert_eq!(loaded.await, Ok(None), "no keys");
    }

    fn is_loaded(&self) -> bool {
        self.loaded.is_closed()
    }

    /// Verifies a token like a check that may wait for keys.
    async fn verify(&self, token: &str) -> Result<(), VerifyError> {
        testing::await_keys(&self.verifier, token).await.map(|_| ())
    }

    /// Returns the value of a metric of the issuer.
    fn metric(&self, name: &str) -> i64 {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.rsplit(' ').next()?.parse().ok())
            .unwrap_or(-1)
    }

    fn refreshes(&self, result: &str) -> i64 {
        self.metric(&format!(
            "revoxy_jwks_refreshes_total{{issuer=\"shop\",result=\"{result}\"}}"
        ))
    }
}

/// Waits until the condition holds.
async fn eventually(mut what: impl FnMut() -> bool) {
    eventually_so(async || what()).await;
}

/// Waits until the asynchronous condition holds.
async fn eventually_so(mut what: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("it never came true");
}
