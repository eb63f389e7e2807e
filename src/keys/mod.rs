//! Where issuers' keys come from, and how they are kept current: fetched by URL, or read again when a file changes.
//!
//! One task an issuer, so that an issuer that is slow or down delays no other. A task replaces the keys of its
//! [`Issuer`](crate::jwt::Issuer) as a whole, and only with a set that has a usable key: what is there stays until there is
//! something better, or until it is too old to be believed.

mod fetch;
mod remote;
#[cfg(test)]
mod tests;
mod watch;

pub use fetch::{FetchError, Fetcher, MAX_BODY_BYTES};
pub use remote::{Location, Refresher, RemoteKeys, Timing};
pub use watch::watch_file;

/// Where the keys of an issuer come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file, read again when it changes.
    File(crate::jwt::KeyFile),
    /// A URL.
    Remote(RemoteKeys),
    /// Nowhere: the proxy verifies, and leaves the claims in its metadata under this key.
    Proxy(String),
}
