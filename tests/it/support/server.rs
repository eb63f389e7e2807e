//! Revoxy as a process of its own, and its configuration.

use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;

use super::tokens::{AUDIENCE, ISSUER};
use super::{Checks, Process, Scratch, SigningKey, eventually};

/// A working configuration, section by section.
#[derive(Clone)]
pub struct Config {
    pub check: String,
    pub shutdown: String,
    pub keys: String,
    pub algorithms: String,
    /// Additional lines of the issuer.
    pub issuer: String,
    pub store: String,
    /// Additional lines of the section `revocation`.
    pub revocation: String,
    /// Additional sections.
    pub more: String,
}

impl Config {
    /// A configuration that trusts this key and keeps revocations in memory.
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
    /// The address of the check service.
    pub check: String,
    /// The address of the operations port.
    pub operations: String,
    /// The address of the API.
    pub api: String,
    http: reqwest::Client,
}

impl Revoxy {
    /// Starts Revoxy and waits until it is ready.
    pub async fn start(scratch: &Scratch, config: &Config) -> Self {
        let mut serve = with_config(scratch, &["serve"], &config.yaml());
        Self::start_as(&mut serve, scratch).await
    }

    /// Starts a program that serves like Revoxy, and waits until it is ready.
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
        let address =
            |listener| listens_at(&process, listener).expect("the log says where it listens");
        Self {
            check: address("check"),
            operations: address("operations"),
            api: address("api"),
            process,
            http: client(),
        }
    }

    /// Starts Revoxy where that must fail. Returns its status and its standard error.
    pub async fn refused(scratch: &Scratch, yaml: &str) -> (ExitStatus, String) {
        run_with(scratch, &["serve"], yaml).await
    }

    /// Returns the log, with everything that was logged before the call: a thread of its own writes it, in order, and
    /// SIGHUP makes a line.
    pub async fn log(&self) -> String {
        let marks = || self.process.output().matches("SIGHUP").count();
        let before = marks();
        self.process.signal(Signal::HUP);
        eventually("the end of the log", async || {
            (marks() > before).then_some(())
        })
        .await;
        self.process.output()
    }

    /// Connects a client of the check service.
    pub async fn checks(&self) -> Checks {
        Checks::connect(&self.check).await
    }

    /// Sends a request to the operations port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.operations);
        let answer = self.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Returns the value of one metric, named with its labels as in the exposition format.
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

    /// Sends `POST /oauth2/revoke` with this body.
    pub async fn post_revoke(&self, body: impl Into<String>) -> (u16, Value) {
        let url = format!("http://{}/oauth2/revoke", self.api);
        let request = self.http.post(url).body(body.into());
        let form = "application/x-www-form-urlencoded";
        let answer = request.header("content-type", form).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Revokes a token, which must succeed. Retries while the store is too slow, as on a busy machine.
    pub async fn revoke(&self, token: &str) {
        let (status, body) = eventually("a store that answers in time", async || {
            let answer = self.post_revoke(format!("token={token}")).await;
            (answer.0 != 503).then_some(answer)
        })
        .await;
        assert_eq!(status, 200, "{body}");
    }
}

/// Returns the address of a listener of a Revoxy according to its log; `None` if it does not listen yet.
pub fn listens_at(process: &Process, listener: &str) -> Option<String> {
    let output = process.output();
    let mut events = output.lines().filter_map(|l| serde_json::from_str(l).ok());
    let event = events.find(|e: &Value| e["message"] == "listening" && e["listener"] == listener);
    event?["address"].as_str().map(str::to_owned)
}

/// Runs a command with this configuration until it ends. Returns its status and output.
pub async fn run_with(scratch: &Scratch, command: &[&str], yaml: &str) -> (ExitStatus, String) {
    run(scratch, &mut with_config(scratch, command, yaml)).await
}

/// Runs a command until it ends. Returns its status and output.
pub async fn run(scratch: &Scratch, command: &mut Command) -> (ExitStatus, String) {
    // Files that are created by mistake end up there.
    command.current_dir(scratch.path());
    let mut process = Process::start("revoxy", command, scratch);
    let status = process.end().await;
    (status, process.output())
}

/// The command, without any environment variables that could change its behaviour.
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

/// The command, with this configuration in `revoxy.yaml`.
fn with_config(scratch: &Scratch, command: &[&str], yaml: &str) -> Command {
    let mut command = revoxy(command);
    command.arg("--config");
    command.arg(scratch.write("revoxy.yaml", yaml));
    command
}

/// A client that uses no connection twice: the server may close an idle one in the moment in which the next request is sent.
pub fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0);
    builder.build().unwrap()
}
