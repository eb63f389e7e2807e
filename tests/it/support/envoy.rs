//! A real Envoy with the repository's `envoy.yaml`.

use std::net::SocketAddr;
use std::process::Command;

use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use super::process::{program, root};
use super::{Process, Scratch, eventually};

pub struct Envoy {
    process: Process,
    edge: SocketAddr,
    admin: String,
    http: reqwest::Client,
}

/// A response as the client sees it.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub challenge: Option<String>,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Envoy {
    pub async fn start(scratch: &Scratch, revoxy: &str, app: SocketAddr) -> Self {
        Self::start_edited(scratch, revoxy, app, &[]).await
    }

    /// Starts Envoy with replacements in `envoy.yaml`; each text to replace must occur exactly once.
    pub async fn start_edited(
        scratch: &Scratch,
        revoxy: &str,
        app: SocketAddr,
        edits: &[(&str, &str)],
    ) -> Self {
        let mut yaml = std::fs::read_to_string(root().join("envoy.yaml")).unwrap();
        let revoxy: SocketAddr = revoxy.parse().unwrap();
        // Port 0: Envoy chooses a port, and reports it.
        for (port, ours) in [
            (9901, 0),
            (10000, 0),
            (5000, app.port()),
            (9001, revoxy.port()),
        ] {
            let from = format!("port_value: {port}\n");
            replace_once(&mut yaml, &from, &format!("port_value: {ours}\n"));
        }
        for (from, to) in edits {
            replace_once(&mut yaml, from, to);
        }
        let admin_file = scratch.unused("admin");
        let in_venv = root().join(".venv/bin/envoy");
        let mut command = Command::new(program("envoy", "ENVOY_BIN", &[in_venv]));
        command.arg("-c").arg(scratch.write("envoy.yaml", yaml));
        command.arg("--admin-address-path").arg(&admin_file);
        command.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--file-flush-interval-msec",
            "50",
            "-l",
            "warning",
        ]);
        let mut process = Process::start("envoy", &mut command, scratch);
        let http = reqwest::Client::new();
        let (edge, admin) = eventually("a listening Envoy", async || {
            process.must_run();
            let admin = std::fs::read_to_string(&admin_file).ok()?;
            if get(&http, &format!("http://{admin}/ready")).await? != "LIVE\n" {
                return None;
            }
            let listeners = get(&http, &format!("http://{admin}/listeners?format=json")).await?;
            let listeners: Value = serde_json::from_str(&listeners).ok()?;
            let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
            let (host, port) = (
                address["address"].as_str()?,
                address["port_value"].as_u64()?,
            );
            Some((format!("{host}:{port}").parse().ok()?, admin))
        })
        .await;
        Self {
            process,
            edge,
            admin,
            http,
        }
    }

    /// Sends `GET path` with these `Authorization` headers, in this order.
    pub async fn get(&self, path: &str, authorization: &[&str]) -> Seen {
        let headers: Vec<_> = authorization
            .iter()
            .map(|v| ("authorization", *v))
            .collect();
        self.send(path, &headers).await
    }

    /// Sends `GET path` with these headers, in this order.
    pub async fn send(&self, path: &str, headers: &[(&str, &str)]) -> Seen {
        self.call(reqwest::Method::GET, path, headers).await
    }

    /// Sends a request with any method, and these headers, in this order.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Seen {
        let url = format!("http://{}{path}", self.edge);
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        seen(request.send().await.unwrap()).await
    }

    /// Sends a request over HTTP/2 with exactly this method: client libraries for HTTP/1.1 write `post` in
    /// upper case.
    pub async fn call_over_http2(&self, method: &str, path: &str, token: Option<&str>) -> Seen {
        let stream = TcpStream::connect(self.edge).await.unwrap();
        let connected = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut client, connection) = connected.await.unwrap();
        let connection = tokio::spawn(connection);
        let url = format!("http://{}{path}", self.edge);
        let mut request = hyper::Request::builder().method(method).uri(url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = client.send_request(request.body(String::new()).unwrap());
        let (head, body) = answer.await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        seen(hyper::Response::from_parts(head, body).into()).await
    }

    /// Sends `GET path` with a bearer token.
    pub async fn bearer(&self, path: &str, token: &str) -> Seen {
        self.get(path, &[&format!("Bearer {token}")]).await
    }

    /// Sends raw bytes, which a client library would normalize. Returns the status of the answer.
    pub async fn raw(&self, request: &str) -> u16 {
        use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
        let mut stream = BufStream::new(TcpStream::connect(self.edge).await.unwrap());
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns a counter or gauge of Envoy.
    pub async fn stat(&self, name: &str) -> u64 {
        let url = format!("http://{}/stats?filter=^{name}$", self.admin);
        let text = get(&self.http, &url).await.unwrap();
        let value = text.trim().rsplit(": ").next();
        value
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("no {name}: {text:?}"))
    }

    /// Returns everything that it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

async fn get(http: &reqwest::Client, url: &str) -> Option<String> {
    http.get(url).send().await.ok()?.text().await.ok()
}

async fn seen(response: reqwest::Response) -> Seen {
    let header = |name| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    Seen {
        status: response.status().as_u16(),
        challenge: header("www-authenticate"),
        retry_after: header("retry-after"),
        body: serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
    }
}

fn replace_once(text: &mut String, from: &str, to: &str) {
    let times = text.matches(from).count();
    assert_eq!(times, 1, "envoy.yaml says {from:?} {times} times");
    *text = text.replace(from, to);
}

impl Seen {
    /// Whether the application has answered.
    pub fn passed(&self) -> bool {
        self.status == 200 && self.body["application"] == true
    }

    /// The reason why Revoxy has refused the request.
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}
