//! `RUST_LOG`: what it says is used, and what it cannot mean is told in the log.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::support::server::revoxy as revoxy_command;
use crate::support::{Config, Revoxy, Scratch, SigningKey};

/// The warning about `RUST_LOG` in the log of a Revoxy that is ready.
fn warning(revoxy: &Revoxy) -> Option<Value> {
    let output = revoxy.process.output();
    let mut events = output.lines().filter_map(|l| serde_json::from_str(l).ok());
    events.find(|event: &Value| {
        let message = event["message"].as_str();
        event["level"] == "WARN" && message.is_some_and(|m| m.contains("RUST_LOG"))
    })
}

async fn start(scratch: &Scratch, rust_log: &str) -> Revoxy {
    let key = SigningKey::generate(Algorithm::ES256);
    let path = scratch.write("revoxy.yaml", Config::trusting(&key, scratch).yaml());
    let mut command = revoxy_command(&["serve", "--config", path.to_str().unwrap()]);
    command.env("RUST_LOG", rust_log);
    Revoxy::start_as(&mut command, scratch).await
}

#[tokio::test]
async fn a_directive_that_cannot_be_used_is_named_with_what_is_used_instead() {
    for (rust_log, left_out, used) in [
        ("debgu", "debgu", "info"),
        ("revoxy=inf", "revoxy=inf", "info"),
        ("info,revoxy=inf", "revoxy=inf", "info"),
        ("tower=debug,verbose", "verbose", "tower=debug,info"),
    ] {
        let scratch = Scratch::new();
        let revoxy = start(&scratch, rust_log).await;
        let warning = warning(&revoxy).unwrap_or_else(|| panic!("no warning of {rust_log}"));
        assert_eq!(warning["left_out"], left_out, "{warning}");
        assert_eq!(warning["used"], used, "{warning}");
    }
}

#[tokio::test]
async fn what_can_be_used_is_used_without_a_warning() {
    for rust_log in ["", "info,revoxy::ext_authz=debug", "INFO, tower=off"] {
        let scratch = Scratch::new();
        let revoxy = start(&scratch, rust_log).await;
        assert_eq!(warning(&revoxy), None, "{rust_log}");
    }
}
