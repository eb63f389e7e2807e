//! Real applications with their own logout, in other languages: `tests/apps`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use super::process::{program, root};
use super::{Process, Scratch, eventually};

/// The kind of application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// flask-jwt-extended 4.
    Flask4,
    /// flask-jwt-extended 3.
    Flask3,
    /// Express and jsonwebtoken.
    Node,
}

pub struct Application {
    pub address: SocketAddr,
    _process: Process,
    http: reqwest::Client,
}

impl Application {
    /// Starts an application that signs with this secret (HS256) and keeps its list in the Redis database at
    /// `redis`.
    pub async fn start(kind: Kind, secret: &str, redis: &str, scratch: &Scratch) -> Self {
        let mut command = command(kind);
        command
            .env("JWT_SECRET_KEY", secret)
            .env("JWT_SECRET", secret)
            .env("REDIS_URL", redis)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start("application", &mut command, scratch);
        let address = eventually("a listening application", async || {
            process.must_run();
            let output = process.output();
            let line = output.lines().find_map(|l| l.strip_prefix("listening on "));
            line?.parse().ok()
        })
        .await;
        Self {
            address,
            _process: process,
            http: reqwest::Client::new(),
        }
    }

    /// Returns how many requests for this path have reached it.
    pub async fn served(&self, path: &str) -> u64 {
        let counts = self.call(Method::GET, "/served", None).await;
        counts[path].as_u64().unwrap_or_default()
    }

    /// Sends a request that bypasses Envoy and Revoxy, which must succeed. Returns the answer.
    pub async fn call(&self, method: Method, path: &str, token: Option<&str>) -> Value {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.unwrap()
    }
}

fn command(kind: Kind) -> Command {
    let apps = root().join("tests/apps");
    let (venv, directory) = match kind {
        Kind::Flask4 => (".venv", "flask4"),
        Kind::Flask3 => (".venv-flask3", "flask3"),
        Kind::Node => {
            let installed = apps.join("node/node_modules");
            assert!(
                installed.is_dir(),
                "{installed:?} is missing: run `scripts/setup test`"
            );
            let mut command = Command::new(program("node", "NODE_BIN", &[]));
            command.arg(apps.join("node/app.js"));
            return command;
        }
    };
    let python: PathBuf = root().join(venv).join("bin/python");
    assert!(
        python.is_file(),
        "{python:?} is missing: run `scripts/setup test`"
    );
    let mut command = Command::new(python);
    command.arg(apps.join("serve.py")).arg(apps.join(directory));
    command
}
