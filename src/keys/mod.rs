//! The sources of issuers' keys, and how keys are kept current: fetched by URL, or read again when a file
//! changes.
//!
//! There is one task per issuer, so that a slow or unavailable issuer does not delay another. A task replaces
//! the keys of its [`Issuer`](crate::jwt::Issuer) as a whole, and only by a set that has a usable key: the
//! current keys remain until there are better ones, or until they are too old to be trusted.

mod fetch;
mod remote;
#[cfg(test)]
mod tests;
mod watch;

pub use fetch::{FetchError, Fetcher, MAX_BODY_BYTES};
pub use remote::{Location, Refresher, RemoteKeys, Timing};
pub use watch::watch_file;

/// The source of an issuer's keys.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file, read again when it changes.
    File(crate::jwt::KeyFile),
    /// A URL.
    Remote(RemoteKeys),
    /// No keys: the proxy verifies the tokens, and puts their claims in the metadata under this key.
    Proxy(String),
}
