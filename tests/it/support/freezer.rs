//! A control group in which a process can be frozen, as container runtimes do (`docker pause`).

use std::path::{Path, PathBuf};

/// The file that lists the processes of a group, and moves a process that is written to it into the group.
const PROCESSES: &str = "cgroup.procs";

/// The file that freezes a group, and the words to write.
struct Words {
    file: &'static str,
    frozen: &'static str,
    thawed: &'static str,
}

const VERSION_2: Words = Words {
    file: "cgroup.freeze",
    frozen: "1",
    thawed: "0",
};
const VERSION_1: Words = Words {
    file: "freezer.state",
    frozen: "FROZEN",
    thawed: "THAWED",
};

pub struct Freezer {
    root: PathBuf,
    group: PathBuf,
    words: Words,
    pid: String,
}

impl Freezer {
    /// Moves this process into a group of its own; `None` if that is not possible on this machine.
    pub fn of(pid: u32) -> Option<Self> {
        let roots = [
            ("/sys/fs/cgroup", VERSION_2),
            ("/sys/fs/cgroup/unified", VERSION_2),
            ("/sys/fs/cgroup/freezer", VERSION_1),
        ];
        let mut freezers = roots.into_iter().filter_map(|(root, words)| {
            let root = PathBuf::from(root);
            // Otherwise, it is not a hierarchy of groups.
            std::fs::metadata(root.join(PROCESSES)).ok()?;
            let group = root.join(format!("revoxy-test-{pid}"));
            let pid = pid.to_string();
            std::fs::create_dir(&group).ok()?;
            let freezer = Self {
                root,
                group,
                words,
                pid,
            };
            let exists = freezer.group.join(freezer.words.file).is_file();
            let enters = exists && freezer.moves_to(&freezer.group);
            enters.then_some(freezer)
        });
        freezers.next()
    }

    fn moves_to(&self, group: &Path) -> bool {
        std::fs::write(group.join(PROCESSES), &self.pid).is_ok()
    }

    fn says(&self, state: &str) {
        std::fs::write(self.group.join(self.words.file), state).unwrap();
    }

    pub fn freeze(&self) {
        self.says(self.words.frozen);
    }

    pub fn thaw(&self) {
        self.says(self.words.thawed);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let state = self.group.join(self.words.file);
        if state.is_file() {
            let _ = std::fs::write(state, self.words.thawed);
        }
        self.moves_to(&self.root);
        let _ = std::fs::remove_dir(&self.group);
    }
}
