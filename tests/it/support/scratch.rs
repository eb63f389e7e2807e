//! A directory of a test's own: removed when the test passes, kept and named when it fails.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a file of this name is or will be.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The same as text, to be written into a configuration.
    pub fn name(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A path that nothing uses yet.
    pub fn unused(&self, stem: &str) -> PathBuf {
        let candidates = (1..).map(|n| self.file(&format!("{stem}-{n}")));
        candidates.into_iter().find(|p| !p.exists()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("the files of this test are in {}", self.path().display());
        }
    }
}
