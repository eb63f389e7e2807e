//! A directory of a test's own: removed when the test passes, kept and reported when it fails.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::cleanup::{KEPT, directory};

pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(directory().expect("a temporary directory can be made"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file with this name, which need not exist.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The path as text, to be used in a configuration.
    pub fn name(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A path that is not in use.
    pub fn unused(&self, stem: &str) -> PathBuf {
        let candidates = (1..).map(|n| self.file(&format!("{stem}-{n}")));
        candidates.into_iter().find(|p| !p.exists()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            let _ = std::fs::write(self.file(KEPT), "This test has failed.\n");
            eprintln!("the files of this test are in {}", self.path().display());
        }
    }
}
