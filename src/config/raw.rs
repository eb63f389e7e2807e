//! The configuration as written: every key is optional, so that missing values are reported together with all
//! other mistakes. The meaning of each key is described in `docs/configuration.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::authz::{Condition, HeaderFormat, OnAllow, OnUnavailable, TokenDemand, TypeDemand};
use crate::ext_authz::{BodyFormat, DescribedBy};
use crate::jwt::{Algorithm, ClaimPath, SecretEncoding, TokenForm};
use crate::revocation::{Deletions, KeyEncoding, TimeUnit, WithoutClaim};

use super::mode::Mode;
use super::raw_claims::{OneOrMany, RawRequired};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawConfig {
    pub server: RawServer,
    pub responses: RawResponses,
    pub issuers: Option<Vec<Option<RawIssuer>>>,
    pub verification: RawVerification,
    pub token_sources: Option<Vec<Option<RawTokenSource>>>,
    pub revocation: RawRevocation,
    pub api: RawApi,
    pub policies: BTreeMap<String, Option<RawPolicy>>,
    pub upstream: RawUpstream,
    pub routes: Vec<Option<RawRoute>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawServer {
    pub check: Option<String>,
    pub operations: Option<String>,
    pub api: Option<String>,
    pub http_check: Option<RawHttpCheck>,
    pub max_connections: Option<usize>,
    pub max_message_bytes: Option<usize>,
    pub shutdown: RawShutdown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHttpCheck {
    pub listen: Option<String>,
    pub described_by: Option<DescribedBy>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawShutdown {
    pub delay: Option<Span>,
    pub drain: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawResponses {
    pub realm: Option<String>,
    pub body: BodyFormat,
    pub error_response: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawIssuer {
    pub name: Option<String>,
    pub issuer: Option<OneOrMany<String>>,
    pub issuer_pattern: Option<OneOrMany<String>>,
    pub audiences: Option<Vec<String>>,
    pub algorithms: Option<Vec<Algorithm>>,
    pub leeway: Option<Span>,
    pub token_type: RawTokenType,
    pub required_claims: RawRequired,
    pub allow_missing_iss: bool,
    pub allow_missing_exp: bool,
    pub max_lifetime: Option<Span>,
    pub allow_numeric_ids: bool,
    pub sub_claim: Option<OneOrMany<ClaimPath>>,
    pub sid_claim: Option<OneOrMany<ClaimPath>>,
    pub client_claim: Option<OneOrMany<ClaimPath>>,
    pub profile: TokenForm,
    pub verification: RawWho,
    pub metadata_key: Option<String>,
    pub keys: RawKeys,
    pub refresh_keys: Option<RawKeys>,
}

/// Who verifies the signatures of an issuer.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawWho {
    #[default]
    Signature,
    EnvoyMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTokenSource {
    pub header: Option<String>,
    pub scheme: Option<String>,
    pub cookie: Option<String>,
    pub query: Option<String>,
    pub strip: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawVerification {
    pub cache_entries: Option<usize>,
    pub cache_bytes: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTokenType {
    pub claim: Option<String>,
    pub access: Option<Vec<String>>,
    pub refresh: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawKeys {
    pub jwks_file: Option<PathBuf>,
    pub pem_file: Option<PathBuf>,
    pub secret_file: Option<PathBuf>,
    pub secret_encoding: Option<SecretEncoding>,
    pub allow_short_secret: bool,
    pub jwks_url: Option<String>,
    pub discovery: bool,
    pub refresh: Option<Span>,
    pub cooldown: Option<Span>,
    pub wait: Option<Span>,
    pub max_age: Option<Span>,
    pub timeout: Option<Span>,
    pub allow_http: bool,
    pub ca_file: Option<PathBuf>,
    pub redirect_hosts: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawApi {
    pub admin_key_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRevocation {
    pub enabled: Option<bool>,
    pub mode: Mode,
    pub note_tokens: bool,
    pub token_types: Option<Vec<RawTokenTypeName>>,
    pub store: RawStore,
    pub read: RawRead,
    pub max_staleness: Option<Span>,
    pub deletions: Deletions,
    pub compare_every: Option<Span>,
    pub on_unavailable: RawOnUnavailable,
    pub lookups: Vec<Option<RawLookup>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLookup {
    pub preset: Option<String>,
    pub prefix: Option<String>,
    pub key: Option<String>,
    #[serde(rename = "match")]
    pub matching: Option<RawMatch>,
    pub missing: Option<RawMissing>,
    pub without_claim: WithoutClaim,
    pub key_encoding: Option<KeyEncoding>,
    pub issuers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawMatch {
    Exists,
    Never,
    Equals(Vec<String>),
    IssuedBefore(TimeUnit),
    Member(String),
}

/// What a missing key means for a token.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawMissing {
    NotRevoked,
    Revoked,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawRead {
    #[default]
    View,
    Store,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawTokenTypeName {
    Access,
    Refresh,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOnUnavailable {
    #[default]
    Deny,
    ServeStale(Span),
    Allow,
    Delegate,
}

impl From<RawOnUnavailable> for OnUnavailable {
    fn from(raw: RawOnUnavailable) -> Self {
        match raw {
            RawOnUnavailable::Deny => Self::Deny,
            RawOnUnavailable::ServeStale(age) => Self::ServeStale(age.0),
            RawOnUnavailable::Allow => Self::Allow,
            RawOnUnavailable::Delegate => Self::Delegate,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStore {
    pub memory: Option<RawMemory>,
    pub sqlite: Option<RawSqlite>,
    pub redis: Option<RawRedis>,
    pub postgres: Option<RawPostgres>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMemory {}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSqlite {
    pub path: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRedis {
    pub url: Option<String>,
    pub sentinel: Option<RawSentinel>,
    pub cluster: Option<RawCluster>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls: Option<RawTls>,
    pub durable: Option<RawDurable>,
    pub timeout: Option<Span>,
    pub connect_timeout: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawDurable {
    pub replicas: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSentinel {
    pub master: String,
    pub nodes: Vec<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls: Option<RawTls>,
    pub database: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCluster {
    pub nodes: Vec<String>,
    /// Exists for other ways to reach Redis, but not for a cluster.
    pub database: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Common in other programs, but not supported here.
    pub insecure: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPostgres {
    pub url: Option<String>,
    pub password_file: Option<PathBuf>,
    pub max_connections: Option<usize>,
    pub timeout: Option<Span>,
    pub connect_timeout: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPolicy {
    pub token: TokenDemand,
    pub token_type: TypeDemand,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub any_scope: Vec<String>,
    pub claims: BTreeMap<String, Condition>,
    pub fresh: bool,
    pub acr: Vec<String>,
    pub max_age: Option<Span>,
    pub check_revocation: Option<bool>,
    pub on_allow: OnAllow,
    pub on_unavailable: Option<RawOnUnavailable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawUpstream {
    pub headers: BTreeMap<String, RawClaimHeader>,
    pub metadata: BTreeMap<String, ClaimPath>,
}

/// The name of a claim, or a mapping with its format.
pub(super) struct RawClaimHeader {
    pub claim: String,
    pub format: HeaderFormat,
}

impl<'de> Deserialize<'de> for RawClaimHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            claim: String,
            #[serde(default)]
            format: HeaderFormat,
        }
        let (claim, format) = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(claim) => (claim, HeaderFormat::default()),
            other => {
                let whole: Whole = serde_json::from_value(other).map_err(|error| {
                    let form =
                        "must be a claim, or { claim: …, format: text, json or base64_json }";
                    serde::de::Error::custom(format!("{form}: {error}"))
                })?;
                (whole.claim, whole.format)
            }
        };
        Ok(Self { claim, format })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRoute {
    pub host: Option<String>,
    pub methods: Vec<String>,
    pub path: Option<String>,
    pub path_prefix: Option<String>,
    pub path_template: Option<String>,
    pub policy: Option<String>,
}

/// A duration: `50ms`, `1s`, `10m`.
#[derive(Clone, Copy)]
pub(super) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong =
            |_| serde::de::Error::custom("not a length of time such as `50ms`, `1s` or `10m`");
        let text = String::deserialize(deserializer).map_err(wrong)?;
        let wrong =
            |_| serde::de::Error::custom("not a length of time such as `50ms`, `1s` or `10m`");
        humantime::parse_duration(&text).map(Self).map_err(wrong)
    }
}
