//! One load: h2load, as many checks as the server answers, and what they cost it.

use std::path::PathBuf;
use std::process::Command;

use crate::common::cpu_time;

/// What is loaded.
pub struct Server {
    pub name: String,
    pub address: String,
    pub pid: u32,
}

/// How it is loaded.
pub struct Load {
    pub core: &'static str,
    /// The request, framed for gRPC.
    pub frame: PathBuf,
    pub seconds: usize,
}

/// What came of it.
pub struct Sample {
    pub per_second: f64,
    /// Time on the core, of server and kernel on its behalf, that one check took.
    pub cpu_micros: f64,
}

impl Load {
    pub fn run(&self, server: &Server) -> Sample {
        let url = format!(
            "http://{}/envoy.service.auth.v3.Authorization/Check",
            server.address
        );
        let before = cpu_time(server.pid);
        let output = Command::new("taskset")
            .args(["-c", self.core, "h2load", "-c", "2", "-m", "50"])
            .args(["-D", &self.seconds.to_string()])
            .args([
                "-H",
                "content-type: application/grpc",
                "-H",
                "te: trailers",
                "-d",
            ])
            .arg(&self.frame)
            .arg(url)
            .output()
            .expect("h2load is installed: scripts/setup bench");
        let spent = cpu_time(server.pid) - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // "requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout"
        let line = text.lines().find_map(|l| l.strip_prefix("requests: "));
        let line = line.unwrap_or_else(|| panic!("h2load said:\n{text}"));
        let count = |what: &str| {
            let part = line.split(", ").find_map(|part| part.strip_suffix(what));
            part.unwrap().trim().parse::<f64>().unwrap()
        };
        let (done, failed) = (count("succeeded"), count("failed"));
        assert!(done > 0.0 && failed == 0.0, "{}: {line}", server.name);
        Sample {
            per_second: done / self.seconds as f64,
            cpu_micros: spent.as_secs_f64() * 1e6 / done,
        }
    }
}
