//! What tests leave behind on the machine: no server, no shared memory and no directory, however they end.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::postgres::shared_memory;
use crate::support::{Postgres, Process, Scratch, eventually};

/// Tells the test that is to be interrupted where to say what it has started.
const REPORT: &str = "INTERRUPTED_TEST_REPORT";

fn exists(segment: &str) -> bool {
    let list = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    list.lines()
        .any(|l| l.split_whitespace().nth(1) == Some(segment))
}

#[tokio::test]
async fn a_postgresql_gives_back_its_shared_memory_however_it_has_ended() {
    for state in ["running", "paused", "killed"] {
        let scratch = Scratch::new();
        let mut postgres = Postgres::start(&scratch).await;
        let segment = shared_memory(postgres.data()).unwrap();
        assert!(exists(&segment), "{state}");
        match state {
            "paused" => postgres.pause(),
            "killed" => postgres.kill(),
            _ => {}
        }
        drop(postgres);
        // Processes that were killed hold the segment until the kernel has ended them.
        eventually("a machine without the segment", async || {
            (!exists(&segment)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_run_that_is_killed_leaves_no_server_no_shared_memory_and_no_directory() {
    for how in ["running", "paused", "killed"] {
        let scratch = Scratch::new();
        let report = scratch.file("report");
        let mut run = Command::new(std::env::current_exe().unwrap());
        run.args(["leftovers::is_interrupted", "--exact", "--ignored"]);
        run.env(REPORT, &report).env("INTERRUPTED_TEST_STATE", how);
        let mut run = Process::start("run", &mut run, &scratch);
        let said = eventually("a server of another run", async || {
            run.must_run();
            std::fs::read_to_string(&report).ok()
        })
        .await;
        let [pid, segment, directory] = said.lines().collect::<Vec<_>>()[..] else {
            panic!("{said}");
        };
        let server = PathBuf::from("/proc").join(pid);
        assert!(exists(segment) && Path::new(directory).exists(), "{how}");
        assert_eq!(server.exists(), how != "killed", "{how}");
        run.kill();
        eventually("a machine without leftovers", async || {
            let is_left = server.exists() || exists(segment) || Path::new(directory).exists();
            (!is_left).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "another test starts this one to kill it"]
async fn is_interrupted() {
    let Some(report) = std::env::var_os(REPORT) else {
        return;
    };
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(&scratch).await;
    let data = postgres.data();
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = lock.lines().next().unwrap();
    let (segment, directory) = (shared_memory(data).unwrap(), scratch.path().display());
    let said = format!("{pid}\n{segment}\n{directory}\n");
    match std::env::var("INTERRUPTED_TEST_STATE").as_deref() {
        Ok("paused") => postgres.pause(),
        Ok("killed") => postgres.kill(),
        _ => {}
    }
    // Whole as soon as it is there.
    let whole = scratch.write("report", said);
    std::fs::copy(&whole, Path::new(&report).with_extension("new")).unwrap();
    std::fs::rename(Path::new(&report).with_extension("new"), report).unwrap();
    std::future::pending::<()>().await;
}
