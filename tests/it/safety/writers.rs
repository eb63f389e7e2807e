//! Writers, which make statements: directly in the store, or through the API of a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};

use super::backing::Writer;
use super::cast::{self, Cast, LIFE};
use super::faults::Random;
use super::history::{History, Making};
use super::judging::{Key, Origin, Says, Token};
use crate::support::admin::KEY;
use crate::support::tokens::now;

/// The timeout of a request to the API: longer than a replica is paused.
const PATIENCE: Duration = Duration::from_secs(6);
/// The pause between two statements of an API user.
const PACE: Duration = Duration::from_millis(20);
/// The life of a revocation that is to be extended later.
const SHORT: Duration = Duration::from_secs(30);

/// Whether writers have to pause, and how many of them are active.
pub struct Rest {
    pub rest: watch::Receiver<bool>,
    pub writing: Arc<AtomicUsize>,
}

impl Rest {
    /// Does the work, unless writers have to pause.
    async fn unless(&mut self, work: impl Future<Output = ()>) {
        if *self.rest.borrow_and_update() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            return;
        }
        self.writing.fetch_add(1, Ordering::SeqCst);
        // Whoever requested the pause in the meantime has seen the count, or will see it.
        if !*self.rest.borrow() {
            work.await;
        }
        self.writing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Revokes token after token by direct writes, and records each acknowledgement.
pub async fn write_by_hand(
    (mut writer, pace): (impl Writer, Duration),
    cast: Arc<Cast>,
    history: Arc<History>,
    mut rest: Rest,
    over: Arc<AtomicBool>,
) {
    while !over.load(Ordering::SeqCst) {
        rest.unless(async {
            if !writer.is_connected().await {
                return;
            }
            let Some(token @ Token::Device(n)) = cast.next_by_hand() else {
                return;
            };
            let until = history.until(LIFE);
            let making = history.begins(Key::Device(n), Says::Revoked { until }, Origin::Hand);
            match writer.revoke(&cast::jti(token)).await {
                true => history.acknowledged(&making),
                false => history.is_unknown(&making),
            }
        })
        .await;
        tokio::time::sleep(pace).await;
    }
}

/// A user of the replicas' API.
pub struct ApiUser {
    pub http: reqwest::Client,
    /// The addresses of the replicas' APIs.
    pub apis: Arc<RwLock<Vec<String>>>,
    pub cast: Arc<Cast>,
    pub history: Arc<History>,
    pub random: Random,
    /// Whether sessions have to be registered.
    pub registers: bool,
}

impl ApiUser {
    pub async fn write(mut self, mut rest: Rest, over: Arc<AtomicBool>) {
        while !over.load(Ordering::SeqCst) {
            rest.unless(self.state_something()).await;
            tokio::time::sleep(PACE).await;
        }
    }

    /// Revokes or un-revokes a token or the sessions of a subject. Others may make statements about the same
    /// key concurrently.
    async fn state_something(&mut self) {
        let replica = self.random.index(self.apis.read().await.len());
        let draw = self.random.index(usize::MAX);
        let (device, subject) = (self.cast.by_api(draw), draw % cast::SUBJECTS);
        match self.random.index(10) {
            0..=2 => self.hand_in(replica, device).await,
            3 => self.revoke(replica, device, SHORT).await,
            4 => self.revoke(replica, device, LIFE).await,
            5..=7 => self.take_back(replica, device).await,
            8 => self.end_sessions(replica, subject).await,
            _ => self.take_back_sessions(replica, subject).await,
        }
    }

    /// Revokes a token by possession.
    async fn hand_in(&self, replica: usize, device: Token) {
        let making = self.begins(
            device,
            Says::Revoked {
                until: self.history.until(LIFE - SHORT),
            },
            replica,
        );
        let token = self.cast.token(device, &self.history);
        let form = "application/x-www-form-urlencoded";
        let body = format!("token={token}");
        let answer = self.post(replica, "/oauth2/revoke", form, body).await;
        self.note(&making, answer.is_some());
    }

    async fn revoke(&self, replica: usize, device: Token, life: Duration) {
        let making = self.begins(
            device,
            Says::Revoked {
                until: self.history.until(life),
            },
            replica,
        );
        let until = now() + 1 + i64::try_from(life.as_secs()).unwrap();
        let body = json!({ "issuer": "shop", "id": cast::jti(device), "expires_at": until });
        let answer = self.administer(replica, "/v1/tokens/revoke", &body).await;
        self.note(&making, answer.is_some());
    }

    async fn take_back(&self, replica: usize, device: Token) {
        let making = self.begins(device, Says::NotRevoked, replica);
        let body = json!({ "issuer": "shop", "id": cast::jti(device) });
        let answer = self.administer(replica, "/v1/tokens/unrevoke", &body).await;
        self.note(&making, answer.is_some());
    }

    /// Ends all sessions of a subject, who logs in again.
    async fn end_sessions(&self, replica: usize, subject: usize) {
        let life = LIFE - SHORT;
        let says = self.history.up_to_about_now(life);
        let making = self
            .history
            .begins(Key::Subject(subject), says, Origin::Api(replica));
        let until = now() + 1 + i64::try_from(life.as_secs()).unwrap();
        let name = cast::subject(subject);
        let body = json!({ "issuer": "shop", "sub": name, "all": true, "expires_at": until });
        let answer = self.administer(replica, "/v1/tokens/revoke", &body).await;
        let Some(answer) = answer else {
            return self.history.is_unknown(&making);
        };
        #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        let up_to = answer["revoked_up_to"].as_f64().expect("a time") as i64;
        let second = self.history.second_of(up_to);
        let (from, to, until) = (second, second, self.history.until(life));
        let says = Says::RevokedUpTo { from, to, until };
        self.history.acknowledged_as(&making, says);
        self.log_in(replica, subject, second + 1).await;
    }

    async fn log_in(&self, replica: usize, subject: usize, issued: u64) {
        let session = Token::Session { subject, issued };
        if self.registers {
            let key = Key::Registration(session);
            let making = self
                .history
                .begins(key, Says::Registered, Origin::Api(replica));
            let body = json!({ "token": self.cast.token(session, &self.history) });
            let answer = self.administer(replica, "/v1/tokens", &body).await;
            self.note(&making, answer.is_some());
        }
        self.cast.session_began(subject, issued);
    }

    async fn take_back_sessions(&self, replica: usize, subject: usize) {
        let key = Key::Subject(subject);
        let making = self
            .history
            .begins(key, Says::NotRevoked, Origin::Api(replica));
        let body = json!({ "issuer": "shop", "sub": cast::subject(subject), "all": true });
        let answer = self.administer(replica, "/v1/tokens/unrevoke", &body).await;
        self.note(&making, answer.is_some());
    }

    fn begins(&self, device: Token, says: Says, replica: usize) -> Making {
        let Token::Device(n) = device else {
            panic!("{device:?} is no device");
        };
        self.history
            .begins(Key::Device(n), says, Origin::Api(replica))
    }

    fn note(&self, making: &Making, acknowledged: bool) {
        match acknowledged {
            true => self.history.acknowledged(making),
            false => self.history.is_unknown(making),
        }
    }

    async fn administer(&self, replica: usize, path: &str, body: &Value) -> Option<Value> {
        self.post(replica, path, "application/json", body.to_string())
            .await
    }

    /// Returns the answer to a request that was carried out; `None` if nobody knows whether it was.
    async fn post(&self, replica: usize, path: &str, kind: &str, body: String) -> Option<Value> {
        let url = format!("http://{}{path}", self.apis.read().await[replica]);
        let request = self.http.post(url).body(body).timeout(PATIENCE);
        let request = request.header("content-type", kind).bearer_auth(KEY);
        let answer = request.send().await.ok()?;
        let (status, text) = (answer.status().as_u16(), answer.text().await.ok()?);
        assert!(matches!(status, 200 | 201 | 503), "{path}: {status} {text}");
        (status != 503).then(|| serde_json::from_str(&text).unwrap_or_default())
    }
}
