//! A request as the decision sees it, borrowed from whatever the front door received.

/// What is asked about.
pub struct AuthzRequest<'r> {
    /// The policy that the proxy names for the route, if it does.
    pub policy: Option<&'r str>,
    /// The method, as in the request line.
    pub method: &'r str,
    /// `Host` or `:authority`.
    pub host: &'r str,
    /// Path and query, as in the request line.
    pub path: &'r str,
    /// The headers.
    pub headers: &'r dyn RequestHeaders,
}

/// The headers of a request, however the front door holds them.
pub trait RequestHeaders: Sync {
    /// Calls `visit` with every value of the header `name` (in lower case), in order.
    ///
    /// A proxy may have joined repeated headers to one value with commas before they came here.
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8]));
}
