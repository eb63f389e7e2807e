//! The core of Revoxy: verifies JWTs, and decides whether they are revoked, from data in memory.
//!
//! There is no network, no database and no server here. The only I/O is in [`jwt::KeyFile`], which reads a
//! key file. Metrics are reported through traits. The modules are listed in the order in which a check passes
//! through them:
//!
//! 1. [`authz`] selects the policy, finds the token, and decides;
//! 2. [`jwt`] turns the token into verified claims;
//! 3. [`revocation`] looks up whether the token is revoked.
//!
//! The stores are in the crate `revoxy-stores`, and the service in the crate `revoxy`. See `ARCHITECTURE.md`.
//!
//! # Example
//!
//! A token is verified, and accepted until it is revoked:
//!
//! ```
//! use std::sync::Arc;
//!
//! use jsonwebtoken::{EncodingKey, Header, encode};
//! use revoxy_core::clock::{Clock as _, SystemClock};
//! use revoxy_core::jwt::{Algorithm, Issuer, IssuerProfile, Verifier, install_crypto, parse_set};
//! use revoxy_core::revocation::{Cutoff, Revocation, RevocationKey, TokenKeys, View};
//!
//! install_crypto()?;
//! let profile = IssuerProfile {
//!     name: "shop".into(),
//!     issuer: Some("https://auth.shop.example".to_owned()),
//!     audiences: vec!["api".to_owned()],
//!     algorithms: vec![Algorithm::HS256],
//!     ..IssuerProfile::default()
//! };
//! // The issuer's key set (RFC 7517), with a secret of 32 bytes.
//! let keys = br#"{"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}]}"#;
//! let (keys, _skipped) = parse_set(keys, &profile.algorithms)?;
//! let verifier = Verifier::new([Arc::new(Issuer::new(profile, keys))]);
//!
//! let now = SystemClock.now();
//! let claims = serde_json::json!({
//!     "iss": "https://auth.shop.example", "aud": "api", "sub": "alice", "jti": "t1",
//!     "exp": now.millis() / 1000 + 600,
//! });
//! let secret = EncodingKey::from_secret(b"01234567890123456789012345678901");
//! let token = encode(&Header::default(), &claims, &secret)?;
//!
//! let claims = verifier.verify(&token, now).map_err(|refused| format!("{refused:?}"))?;
//! assert_eq!(claims.subject(), Some("alice"));
//!
//! // What is revoked, in memory. A store keeps such a view in line with Redis, for example.
//! let view = View::always_fresh();
//! let is_revoked = || TokenKeys::of(&claims).keys().iter().any(|key| view.lookup(key, now).is_some());
//! assert!(!is_revoked());
//! view.record(&Revocation {
//!     key: RevocationKey::of_token(&claims),
//!     cutoff: Cutoff::All,
//!     expires_at: claims.expires_at(),
//!     reason: Some("logged out".to_owned()),
//!     actor: None,
//!     revoked_at: now,
//! });
//! assert!(is_revoked());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod authz;
pub mod clock;
pub mod digest;
pub mod jwt;
pub mod revocation;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod spelling;
