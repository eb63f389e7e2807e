//! Somebody who reads the log stalls: checks go on, and lines are dropped and counted.

use std::process::Command;

use jsonwebtoken::Algorithm;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::support::server::revoxy as revoxy_command;
use crate::support::{Ask, Config, PATIENCE, Revoxy, Scratch, SigningKey, eventually};

const DROPPED: &str = "revoxy_log_lines_dropped_total";

/// Stands between Revoxy and its log, and can be stopped.
struct Reader(Pid);

impl Reader {
    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

async fn start(scratch: &Scratch, config: &Config) -> (Revoxy, Reader) {
    let yaml = scratch.write("revoxy.yaml", config.yaml());
    let pid = scratch.path().join("reader");
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg("exec \"${@:2}\" > >(echo $BASHPID > \"$1\"; exec cat)");
    command.arg("bash").arg(&pid);
    let serve = revoxy_command(&["serve", "--config", yaml.to_str().unwrap()]);
    command.arg(serve.get_program()).args(serve.get_args());
    command.env_remove("RUST_LOG");
    let revoxy = Revoxy::start_as(&mut command, scratch).await;
    let pid = std::fs::read_to_string(pid).unwrap();
    let reader = Reader(Pid::from_raw(pid.trim().parse().unwrap()).unwrap());
    (revoxy, reader)
}

#[tokio::test]
async fn checks_go_on_while_nobody_reads_the_log_and_lines_that_are_dropped_are_counted() {
    let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
    let (revoxy, reader) = start(&scratch, &Config::trusting(&key, &scratch)).await;
    let checks = revoxy.checks().await;
    assert!(revoxy.metric(DROPPED).await < 0.5);
    reader.signal(Signal::STOP);
    eventually("a log that is full", async || {
        for _ in 0..1_000 {
            let answer = timeout(PATIENCE, checks.bearer("not a token")).await;
            let answer = answer.expect("an answer although nobody reads the log");
            assert_eq!(answer.verdict(), (401, "malformed"));
        }
        (revoxy.metric(DROPPED).await > 0.5).then_some(())
    })
    .await;
    reader.signal(Signal::CONT);
    eventually("a line that is written again", async || {
        let ask = Ask::bearer("not a token").header("x-request-id", "after-the-stall");
        checks.ask(ask).await;
        revoxy
            .process
            .output()
            .contains("after-the-stall")
            .then_some(())
    })
    .await;
}
