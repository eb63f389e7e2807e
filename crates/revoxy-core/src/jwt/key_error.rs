//! Why key material cannot be used.

use std::path::PathBuf;

/// Why key material cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is larger than any key file can be.
    #[error("{path} is larger than {limit} bytes, which no key file is", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content does not match the configured option.
    #[error("{path}: {problem}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        problem: String,
    },
}
