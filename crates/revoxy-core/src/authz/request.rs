//! A request as the decision sees it, borrowed from whatever the front end has received.

use serde_json::{Map, Value};

/// The request to decide about.
pub struct AuthzRequest<'r> {
    /// The policy that the proxy names for the route, if any.
    pub policy: Option<&'r str>,
    /// The method, as in the request line.
    pub method: &'r str,
    /// `Host` or `:authority`.
    pub host: &'r str,
    /// Path and query, as in the request line.
    pub path: &'r str,
    /// The headers.
    pub headers: &'r dyn RequestHeaders,
    /// Claims that the proxy reports as verified, if the front end supports that.
    pub proxy: Option<&'r dyn ProxyClaims>,
}

/// Claims that the proxy reports as verified. They are only used for issuers whose tokens the proxy is
/// configured to verify.
pub trait ProxyClaims: Sync {
    /// Returns the claims under this key.
    fn payload(&self, key: &str) -> Option<Map<String, Value>>;
}

/// The headers of a request, however the front end stores them.
pub trait RequestHeaders: Sync {
    /// Calls `visit` with every value of the header `name` (in lower case), in order.
    ///
    /// A proxy may have joined repeated headers with commas.
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8]));
}
