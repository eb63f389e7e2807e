//! A child process: its output goes to a file, and it is killed when the test ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cleanup::ends_with_us;
use super::{Scratch, eventually};

pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(name: &'static str, command: &mut Command, scratch: &Scratch) -> Self {
        let log = scratch.unused(name);
        let file = File::create(&log).unwrap();
        let child = ends_with_us(command)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name, child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns all its output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Returns its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until `probe` succeeds. Returns `false` if the process has ended because its address was in use.
    pub async fn answers(&mut self, mut probe: impl AsyncFnMut(&Self) -> Option<()>) -> bool {
        let name = self.name;
        eventually(&format!("an answer of {name}"), async || {
            if let Some(status) = self.ended() {
                let output = self.output();
                let taken = output.contains("Address already in use");
                assert!(taken, "{name}: {status}\n{output}");
                return Some(false);
            }
            probe(self).await.map(|()| true)
        })
        .await
    }

    /// Waits until it ends, for at most `patience`. For destructors, which cannot await.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Panics if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGKILL, so that it cannot write or report anything.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends.
    pub async fn end(&mut self) -> ExitStatus {
        let name = self.name;
        eventually(&format!("the end of {name}"), async || self.ended()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let last = &lines[lines.len().saturating_sub(30)..];
            eprintln!("---- the end of what {} ({}) said", self.name, self.pid());
            eprintln!("{}", last.join("\n"));
        }
    }
}

/// Finds a program: the path in the environment variable, else the first of `places` or of the PATH that
/// exists. Without the program a test proves nothing, so it fails instead of being skipped.
pub fn program(name: &str, variable: &str, places: &[PathBuf]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join(name));
    let found = places.iter().cloned().chain(in_path).find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not installed: run `scripts/setup test`, or say where it is in {variable}"
        )
    })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
