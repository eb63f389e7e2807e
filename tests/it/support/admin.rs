//! The administrator of a Revoxy: what an application's back end would send to `/v1`.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Revoxy, Scratch};

/// The key of every administrator in these tests.
pub const KEY: &str = "correct-horse-battery-staple";

/// The section of a configuration that lets the administrator in.
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
            http: reqwest::Client::new(),
        }
    }

    /// Sends what the administrator does not: with these `Authorization` headers, and with a body POST.
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

    /// Registers a token, which must work.
    pub async fn register(&self, token: &str) -> Value {
        let said = self.post("/tokens", json!({ "token": token })).await;
        assert_eq!(said.status, 201, "{said:?}");
        said.body
    }

    /// Revokes, which must work.
    pub async fn revoke(&self, body: Value) -> Value {
        let said = self.post("/tokens/revoke", body).await;
        assert_eq!(said.status, 200, "{said:?}");
        said.body
    }

    /// Takes back, which must work; tells whether there was something.
    pub async fn unrevoke(&self, body: Value) -> bool {
        let said = self.post("/tokens/unrevoke", body).await;
        assert_eq!(said.status, 200, "{said:?}");
        said.body["unrevoked"].as_bool().unwrap()
    }

    /// The ids of a subject's tokens with whether they are revoked, sorted by id; `limit` a page.
    pub async fn list(&self, query: &str) -> Vec<(String, bool)> {
        let (mut tokens, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/tokens?issuer=shop&limit=2&{query}{after}");
            let page = self.get(&path).await;
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
