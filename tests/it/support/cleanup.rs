//! Cleans up after a test run that ends before its tests do: Ctrl-C, a time limit and SIGKILL run no
//! destructors.
//!
//! A shell outlives the run. It ends the servers, which are all in one process group, and removes the
//! directories, whose names all have the same prefix.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// A file whose presence keeps its directory.
pub const KEPT: &str = "kept";

static CLEANUP: LazyLock<Cleanup> = LazyLock::new(Cleanup::start);

struct Cleanup {
    prefix: String,
    /// The leader of the servers' process group, which exists as long as it has a member.
    leader: Child,
    _shell: Child,
}

impl Cleanup {
    fn start() -> Self {
        // Process ids are reused.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (us, moment) = (std::process::id(), now.as_micros() & 0xffff);
        let prefix = format!("revoxy-{us}-{moment:04x}-");
        let leader = lingering(&mut Command::new("cat"));
        let mut shell = Command::new("sh");
        shell.args(["-c", include_str!("cleanup.sh"), "cleanup"]);
        shell.arg(leader.id().to_string());
        let shell = lingering(shell.arg(std::env::temp_dir().join(&prefix)));
        Self {
            prefix,
            leader,
            _shell: shell,
        }
    }
}

/// Starts a command that reads its standard input to the end, which comes when this process ends. Signals for
/// this process do not reach it.
fn lingering(command: &mut Command) -> Child {
    // Its output would keep a pipe open from which somebody reads ours.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.stdin(Stdio::piped()).process_group(0);
    command.spawn().expect("a shell can be started")
}

/// Makes the command end with this run at the latest.
pub fn ends_with_us(command: &mut Command) -> &mut Command {
    let group = i32::try_from(CLEANUP.leader.id()).unwrap();
    command.process_group(group)
}

/// Makes a directory that is removed at the latest after this run, unless it contains [`KEPT`].
pub fn directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix(&CLEANUP.prefix).tempdir()
}
