//! Claims that the proxy has verified: the proxy is trusted for the signature, and for nothing else.
//!
//! Times, audience and everything else are judged as usual. If the request also contains the token, its
//! claims must equal the claims that the proxy passes on, because the application may read the token.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::digest::sha256;

use super::claims::{Provenance, Times, UnverifiedClaims, VerifiedClaims};
use super::compact::CompactToken;
use super::error::VerifyError;
use super::header::Header;
use super::issuer::Issuer;
use super::rejection::Rejection;
use super::verifier::Verifier;

/// The claims of a request that the proxy has verified, and the token if the request contains it.
#[derive(Clone, Copy)]
pub struct Proxied<'r> {
    /// The claims that the proxy passes on.
    pub payload: &'r Map<String, Value>,
    /// The token, if it is in the request.
    pub token: Option<&'r str>,
}

impl Verifier {
    /// Returns the metadata keys under which the proxy puts claims that it has verified; empty if no issuer
    /// is configured so.
    pub fn proxy_keys(&self) -> impl Iterator<Item = &str> {
        self.proxy_keys.iter().map(String::as_str)
    }

    /// Returns whether these claims, found under `key`, belong to an issuer whose tokens the proxy verifies
    /// and whose claims the proxy puts under this key.
    pub fn is_proxied(&self, payload: &Map<String, Value>, key: &str) -> bool {
        let issuer = payload.get("iss").and_then(Value::as_str);
        let issuer = issuer.map(|iss| self.issuer(Some(iss)));
        matches!(issuer, Some(Ok(issuer)) if issuer.proxy_key() == Some(key))
    }

    /// Judges claims that the proxy has verified.
    pub(super) fn accept(
        &self,
        proxied: Proxied<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedClaims, Arc<Issuer>), VerifyError> {
        let claims = UnverifiedClaims(proxied.payload);
        let issuer = self.issuer(claims.issuer()?)?;
        if issuer.proxy_key().is_none() {
            return Err(Rejection::UnknownIssuer.into());
        }
        let profile = issuer.profile();
        let token = proxied.token.map(CompactToken::parse).transpose()?;
        let verified = match &token {
            // Without the token, only `jti` identifies it.
            None if !proxied.payload.contains_key("jti") => {
                return Err(Rejection::MissingClaim.because_of("jti").into());
            }
            None => {
                let provenance = Provenance {
                    digest: [0; 32],
                    kid: None,
                    key_thumbprint: None,
                    typ: None,
                    proxied: true,
                };
                claims.judge(profile, &provenance, now, Times::Judged)?
            }
            Some(token) => {
                let header = Header::read(&token.header)?;
                if !profile.form.accepts(header.typ.as_deref()) {
                    return Err(Rejection::Unsupported.into());
                }
                if !same_members(&token.payload, proxied.payload) {
                    return Err(Rejection::NotVerifiedByProxy.into());
                }
                let provenance = Provenance {
                    digest: sha256(token.signing_input.as_bytes()),
                    kid: header.kid,
                    key_thumbprint: None,
                    typ: header.typ.as_deref(),
                    proxied: true,
                };
                claims.judge(profile, &provenance, now, Times::Judged)?
            }
        };
        Ok((verified, Arc::clone(issuer)))
    }
}

fn same_members(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let in_other = |(name, value): (&String, &Value)| {
        let counterpart = other.get(name);
        counterpart.is_some_and(|v| same(value, v))
    };
    one.len() == other.len() && one.iter().all(in_other)
}

/// Compares JSON values in which every number has been converted to a double, as in the proxy's metadata.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        _ => one == other,
    }
}
