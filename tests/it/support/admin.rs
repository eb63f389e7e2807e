//! The administrator of a Revoxy: sends what an application's back end would send to `/v1`.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Revoxy, Scratch, eventually};

/// The administrator's key in all tests.
pub const KEY: &str = "correct-horse-battery-staple";

/// The section of a configuration that admits the administrator.
pub fn section(scratch: &Scratch) -> String {
    let path = scratch.unused("admin-key");
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    format!("api: {{ admin_key_file: {path:?} }}")
}

pub struct Admin {
    base: String,
    http: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Admin {
    pub fn of(revoxy: &Revoxy) -> Self {
        Self {
            base: format!("http://{}/v1", revoxy.api),
            http: super::server::client(),
        }
    }

    /// Sends a request with these `Authorization` headers, which the administrator would not send; POST if
    /// there is a body.
    pub async fn send(&self, path: &str, authorization: &[&str], body: Option<String>) -> Said {
        let url = format!("{}{path}", self.base);
        let mut request = match body {
            Some(body) => {
                let request = self.http.post(url).body(body);
                request.header("content-type", "application/json")
            }
            None => self.http.get(url),
        };
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let answer = request.send().await.unwrap();
        Said {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default(),
        }
    }

    pub async fn get(&self, path: &str) -> Said {
        self.send(path, &[&format!("Bearer {KEY}")], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Said {
        let key = format!("Bearer {KEY}");
        self.send(path, &[&key], Some(body.to_string())).await
    }

    /// Sends a request, and repeats it while the store is too slow to answer, as on a busy machine. Also
    /// returns whether it was repeated: then nobody knows what the earlier attempts have done.
    async fn insist(&self, path: &str, body: Option<Value>) -> (Said, bool) {
        let mut times = 0;
        let said = eventually("an answer of a store in time", async || {
            times += 1;
            let said = match &body {
                Some(body) => self.post(path, body.clone()).await,
                None => self.get(path).await,
            };
            (said.status != 503).then_some(said)
        })
        .await;
        (said, times > 1)
    }

    /// Registers a token, which must succeed.
    pub async fn register(&self, token: &str) -> Value {
        let (said, _) = self
            .insist("/tokens", Some(json!({ "token": token })))
            .await;
        assert_eq!(said.status, 201, "{said:?}");
        said.body
    }

    /// Revokes, which must succeed.
    pub async fn revoke(&self, body: Value) -> Value {
        let (said, _) = self.insist("/tokens/revoke", Some(body)).await;
        assert_eq!(said.status, 200, "{said:?}");
        said.body
    }

    /// Un-revokes, where there must be a revocation.
    pub async fn unrevoke(&self, body: Value) {
        let (said, again) = self.insist("/tokens/unrevoke", Some(body)).await;
        assert_eq!(said.status, 200, "{said:?}");
        assert!(said.body["unrevoked"] == true || again, "{said:?}");
    }

    /// Un-revokes, where there must be no revocation.
    pub async fn unrevoke_nothing(&self, body: Value) {
        let (said, _) = self.insist("/tokens/unrevoke", Some(body)).await;
        assert_eq!(said.status, 200, "{said:?}");
        assert_eq!(said.body["unrevoked"], false);
    }

    /// Returns the ids of a subject's tokens and whether they are revoked, sorted by id; reads two per page.
    pub async fn list(&self, query: &str) -> Vec<(String, bool)> {
        let (mut tokens, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/tokens?issuer=shop&limit=2&{query}{after}");
            let (page, _) = self.insist(&path, None).await;
            assert_eq!(page.status, 200, "{page:?}");
            for token in page.body["tokens"].as_array().unwrap() {
                let id = token["id"].as_str().unwrap().to_owned();
                tokens.push((id, token["revoked"].as_bool().unwrap()));
            }
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        tokens.sort();
        tokens
    }
}
