//! Parses addresses and URLs of servers, as they are configured.

use redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};

use super::super::options::OptionsError;
use super::address::Address;

pub(super) fn mistake(key: impl Into<String>, why: impl Into<String>) -> OptionsError {
    OptionsError {
        key: key.into(),
        why: why.into(),
    }
}

/// Parses the address of a node in the section `of`. An invalid text is not quoted in the error: it may contain
/// a password.
pub(super) fn parse_node(of: &str, at: usize, node: &str) -> Result<Address, OptionsError> {
    let key = format!("{of}.nodes.{at}");
    Address::parse(node).ok_or_else(|| mistake(key, "not host:port, such as redis-1.example:6379"))
}

/// The URL schemes of a server on the network.
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
const UNIX_SCHEMES: [&str; 3] = ["unix", "redis+unix", "valkey+unix"];

/// Parses a URL into the address, whether TLS is used, and the other settings. Errors quote nothing of the URL:
/// it may contain a password.
pub(super) fn parse(url: &str) -> Result<(Address, bool, RedisConnectionInfo), OptionsError> {
    let bad = |why: &str| mistake("url", why);
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let scheme = scheme.to_ascii_lowercase();
    let is_network = SCHEMES.contains(&&*scheme) && rest.starts_with("//");
    if !is_network && !UNIX_SCHEMES.contains(&&*scheme) {
        return Err(bad(
            "must begin with redis://, with rediss:// for TLS, or with unix://, as in redis://redis.example:6379/0",
        ));
    }
    let info = url.into_connection_info().map_err(|error| {
        // The library's message can quote the URL.
        let said = error.to_string();
        let is_about = |word| said.contains(word);
        if is_about("hostname") {
            bad(NO_HOST)
        } else if is_about("database") {
            bad("what stands after the last `/` must be the number of a database, such as 0")
        } else if is_about("wildcard") {
            bad("0.0.0.0 and [::] are where a server listens, and not where it is: name the server")
        } else {
            bad(
                "cannot be read: write it as redis://user@redis.example:6379/0; in user and password, characters such as / ? # [ ] and % \
                 must be percent-encoded",
            )
        }
    })?;
    let settings = info.redis_settings().clone();
    match info.addr() {
        ConnectionAddr::Tcp(host, _) if host.is_empty() => Err(bad(NO_HOST)),
        ConnectionAddr::TcpTls { host, .. } if host.is_empty() => Err(bad(NO_HOST)),
        ConnectionAddr::Tcp(host, port) => Ok((Address::Tcp(host.clone(), *port), false, settings)),
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(mistake(
            "url",
            "`#insecure` would take anybody for the server: name its certificate authority in tls.ca_file",
        )),
        ConnectionAddr::TcpTls { host, port, .. } => {
            Ok((Address::Tcp(host.clone(), *port), true, settings))
        }
        ConnectionAddr::Unix(path) => Ok((Address::Unix(path.clone()), false, settings)),
        _ => Err(bad("this kind of address is not supported")),
    }
}

const NO_HOST: &str = "the name of the server is missing, as in redis://redis.example:6379/0";
