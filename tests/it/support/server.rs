//! Revoxy as a process of its own, and its configuration.

use std::process::{Command, ExitStatus};

use serde_json::Value;

use super::tokens::{AUDIENCE, ISSUER};
use super::{Checks, Process, Scratch, SigningKey, eventually};

/// A configuration that works, section by section.
#[derive(Clone)]
pub struct Config {
    pub check: String,
    pub shutdown: String,
    pub keys: String,
    pub algorithms: String,
    /// More lines of the issuer.
    pub issuer: String,
    pub store: String,
    /// More lines of the section `revocation`.
    pub revocation: String,
    /// More sections.
    pub more: String,
}

impl Config {
    /// One that trusts this key and keeps revocations in memory.
    pub fn trusting(key: &SigningKey, scratch: &Scratch) -> Self {
        Self {
            check: "127.0.0.1:0".to_owned(),
            shutdown: "{ delay: 0s, drain: 2s }".to_owned(),
            keys: key.write(scratch),
            algorithms: key.name(),
            issuer: String::new(),
            store: "memory: {}".to_owned(),
            revocation: String::new(),
            more: String::new(),
        }
    }

    pub fn store(self, store: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            ..self
        }
    }

    pub fn revocation(self, line: &str) -> Self {
        Self {
            revocation: format!("{}  {line}\n", self.revocation),
            ..self
        }
    }

    pub fn issuer(self, line: &str) -> Self {
        Self {
            issuer: format!("{}    {line}\n", self.issuer),
            ..self
        }
    }

    pub fn section(self, text: &str) -> Self {
        Self {
            more: format!("{}{text}\n", self.more),
            ..self
        }
    }

    pub fn yaml(&self) -> String {
        let Self {
            check,
            shutdown,
            keys,
            algorithms,
            issuer,
            store,
            revocation,
            more,
        } = self;
        format!(
            "server:
  check: {check:?}
  operations: \"127.0.0.1:0\"
  api: \"127.0.0.1:0\"
  shutdown: {shutdown}
issuers:
  - name: shop
    issuer: {ISSUER}
    audiences: [{AUDIENCE}]
    algorithms: [{algorithms}]
    keys: {keys}
{issuer}revocation:
  store: {{ {store} }}
{revocation}policies:
  default: {{ token: required, token_type: access }}
  refresh: {{ token: required, token_type: refresh }}
  any: {{ token: required, token_type: any }}
  optional: {{ token: optional }}
  public: {{ token: none }}
{more}"
        )
    }
}

pub struct Revoxy {
    pub process: Process,
    /// Where the check service listens.
    pub check: String,
    /// Where the operations port listens.
    pub operations: String,
    /// Where the API listens.
    pub api: String,
    http: reqwest::Client,
}

impl Revoxy {
    /// Starts it and waits until it is ready.
    pub async fn start(scratch: &Scratch, config: &Config) -> Self {
        Self::start_as(&mut serve(scratch, &config.yaml()), scratch).await
    }

    /// Starts a program that serves as Revoxy does, and waits until it is ready.
    pub async fn start_as(command: &mut Command, scratch: &Scratch) -> Self {
        let mut process = Process::start("revoxy", command, scratch);
        eventually("a ready Revoxy", async || {
            process.must_run();
            process
                .output()
                .contains("\"message\":\"ready\"")
                .then_some(())
        })
        .await;
        let listening = |listener: &str| {
            let output = process.output();
            let mut events = output.lines().filter_map(|l| serde_json::from_str(l).ok());
            let event =
                events.find(|e: &Value| e["message"] == "listening" && e["listener"] == listener);
            let address = &event.expect("the log says where it listens")["address"];
            address.as_str().unwrap().to_owned()
        };
        Self {
            check: listening("check"),
            operations: listening("operations"),
            api: listening("api"),
            process,
            http: reqwest::Client::new(),
        }
    }

    /// Starts it where that must fail: its status and what it said on standard error.
    pub async fn refused(scratch: &Scratch, yaml: &str) -> (ExitStatus, String) {
        run(scratch, &mut serve(scratch, yaml)).await
    }

    /// A client of the check service.
    pub async fn checks(&self) -> Checks {
        Checks::connect(&self.check).await
    }

    /// Asks the operations port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.operations);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The value of one metric, named with its labels as in the exposition.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// `POST /oauth2/revoke` with this body.
    pub async fn post_revoke(&self, body: impl Into<String>) -> (u16, Value) {
        let url = format!("http://{}/oauth2/revoke", self.api);
        let request = self.http.post(url).body(body.into());
        let form = "application/x-www-form-urlencoded";
        let answer = request.header("content-type", form).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Revokes a token, which must work.
    pub async fn revoke(&self, token: &str) {
        let (status, body) = self.post_revoke(format!("token={token}")).await;
        assert_eq!(status, 200, "{body}");
    }
}

/// Runs a command to its end.
pub async fn run(scratch: &Scratch, command: &mut Command) -> (ExitStatus, String) {
    // Where a file is made by mistake, it is made there.
    command.current_dir(scratch.path());
    let mut process = Process::start("revoxy", command, scratch);
    let status = process.end().await;
    (status, process.output())
}

/// The command, with nothing of the environment's that could change what it does.
pub fn revoxy(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revoxy"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("REVOXY_") || name == "RUST_LOG" || name == "LOG_FORMAT" {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

fn serve(scratch: &Scratch, yaml: &str) -> Command {
    let path = scratch.write("revoxy.yaml", yaml);
    revoxy(&["serve", "--config", path.to_str().unwrap()])
}
