//! A server of an issuer's JWK set. It can be made slow, and made to answer something else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{SigningKey, Token};

/// Answers every request with the same body, which can be changed.
pub struct KeyServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: JoinSet<()>,
}

struct State {
    status: u16,
    body: String,
    pause: Duration,
    requests: usize,
}

impl KeyServer {
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            status: 200,
            body: jwks(keys),
            pause: Duration::ZERO,
            requests: 0,
        }));
        let served = Arc::clone(&state);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let (status, body, pause) = {
                        let mut state = served.lock().unwrap();
                        state.requests += 1;
                        (state.status, state.body.clone(), state.pause)
                    };
                    tokio::time::sleep(pause).await;
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Self {
            address,
            state,
            _task: task,
        }
    }

    /// The `keys` section of a configuration, with more members.
    pub fn keys(&self, more: &str) -> String {
        format!("{{ jwks_url: \"http://{}/jwks\", {more} }}", self.address)
    }

    pub fn rotate(&self, keys: &[&SigningKey]) {
        self.state.lock().unwrap().body = jwks(keys);
    }

    /// Sets the answer to all requests.
    pub fn says(&self, status: u16, body: &str) {
        let mut state = self.state.lock().unwrap();
        (state.status, state.body) = (status, body.to_owned());
    }

    /// Sets how long an answer takes.
    pub fn pause(&self, pause: Duration) {
        self.state.lock().unwrap().pause = pause;
    }

    /// Returns how often the set has been requested.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

/// A key set of these keys.
pub fn jwks(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|k| k.jwk(&kid(k))).collect();
    json!({ "keys": keys }).to_string()
}

/// A unique name for a key.
fn kid(key: &SigningKey) -> String {
    let jwk = key.jwk("");
    jwk["x"].as_str().unwrap_or_default().to_owned()
}

/// A valid token that names its key.
pub fn signed(key: &SigningKey) -> String {
    signed_as(Token::access("a"), key)
}

/// This token, naming its key.
pub fn signed_as(token: Token, key: &SigningKey) -> String {
    token.header("kid", kid(key)).sign(key)
}
