//! The configuration: one YAML file, overridden by `REVOXY__SECTION__KEY` environment variables.
//!
//! It is read in two steps. `document.rs` turns text and environment into a tree that knows the source of
//! each value; the other files turn that tree into plain data, one file per section. Neither step stops at
//! the first mistake: every [`Problem`] is reported, with its line.

mod demands;
mod document;
mod issuer_claims;
mod issuers;
mod keys;
mod limits;
mod lookups;
mod messages;
mod mode;
mod policies;
mod postgres;
mod problem;
mod raw;
mod raw_claims;
mod redis;
mod relaxed;
mod revocation;
mod server;
#[cfg(test)]
mod tests;
mod token_sources;
mod upstream;
mod variables;
mod verification;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::Document;
pub use issuers::IssuerConfig;
pub use mode::Mode;
pub use problem::{Problem, Problems};
pub use revocation::{RevocationConfig, StoreConfig};
pub use server::{HttpCheckConfig, Listen, ServerConfig, ShutdownConfig};
pub use upstream::UpstreamConfig;
pub use variables::ENV_PREFIX;
pub use verification::VerificationConfig;

use crate::authz::{Policies, TokenSource};
use crate::ext_authz::Answers;
use crate::jwt::{ClaimPath, MissingExp, TokenType};
use crate::revocation::{CheckedTypes, FeedSettings};

/// The whole configuration, without any mistakes that can be found without opening what it names.
#[derive(Debug)]
pub struct Config {
    /// Listeners and shutdown.
    pub server: ServerConfig,
    /// How denials are worded.
    pub answers: Answers,
    /// The token issuers; at least one.
    pub issuers: Vec<IssuerConfig>,
    /// Settings for the tokens of all issuers.
    pub verification: VerificationConfig,
    /// The places of tokens in requests.
    pub token_sources: Vec<TokenSource>,
    /// The settings of the revocation list.
    pub revocation: RevocationConfig,
    /// The file with the key of the API's administrator.
    pub admin_key_file: Option<PathBuf>,
    /// The policies and routes.
    pub policies: Policies,
    /// What the application gets to know about the token.
    pub upstream: UpstreamConfig,
    /// The source of each value, for problems that are found later.
    pub document: Document,
}

impl Config {
    /// Returns the settings of a feed.
    pub fn feed_settings(&self) -> FeedSettings {
        FeedSettings {
            max_staleness: self.revocation.max_staleness,
            deletions: self.revocation.deletions,
            compare_every: self.revocation.compare_every,
            lookups: self.revocation.lookups.clone(),
            issuers: self.issuer_names(),
        }
    }

    /// Returns the names of the issuers.
    pub fn issuer_names(&self) -> Vec<String> {
        let name = |issuer: &IssuerConfig| issuer.profile.name.to_string();
        self.issuers.iter().map(name).collect()
    }

    /// Returns whether records of single tokens are written to the store.
    pub fn records_tokens(&self) -> bool {
        self.revocation.note_tokens || self.revocation.mode == Mode::AllowList
    }

    /// Reads the file at `path` and the environment.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Problems::one(Problem::of_file(path, format!("cannot be read: {e}"))))?;
        Self::parse(&path.display().to_string(), &text, environment)
    }

    /// Reads the text of a file called `name`, and the environment.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let document = Document::parse(name, text, environment)?;
        let mut problems = Problems::default();
        let (mut raw, spoiled) = document.decode(&mut problems);
        let found = problems.len();
        let server = server::read(raw.server, &document, &mut problems);
        let answers = server::read_answers(raw.responses, &document, &mut problems);
        let mut issuers = issuers::read(raw.issuers, &document, &mut problems);
        let on_unavailable = raw.revocation.on_unavailable;
        let verification = verification::read(&raw.verification, &document, &mut problems);
        let token_sources = token_sources::read(raw.token_sources, &document, &mut problems);
        let lookups = std::mem::take(&mut raw.revocation.lookups);
        let mut revocation = revocation::read(raw.revocation, &document, &mut problems);
        revocation.lookups = lookups::read(
            lookups,
            &revocation.store,
            &mut issuers,
            &document,
            &mut problems,
        );
        judge_exp_exactly(&mut issuers, revocation.types);
        let note_tokens = revocation.note_tokens;
        if note_tokens
            && issuers
                .iter()
                .any(|i| i.profile.missing_exp == Some(MissingExp::Never))
        {
            problems.push(document.problem("revocation.note_tokens", ENDLESS_NOTES));
        }
        let upstream = upstream::read(raw.upstream, &document, &mut problems);
        let policies = policies::read(
            raw.policies,
            raw.routes,
            on_unavailable,
            &issuers,
            revocation.types,
            &document,
            &mut problems,
        );
        if let Some(policies) = &policies {
            keep_claims(&mut issuers, policies, &upstream);
        }
        problems.forget_consequences(found, &spoiled);
        match (problems.is_empty(), policies) {
            (true, Some(policies)) => Ok(Self {
                server,
                answers,
                issuers,
                verification,
                token_sources,
                revocation,
                admin_key_file: raw.api.admin_key_file,
                policies,
                upstream,
                document,
            }),
            _ => Err(problems.with_warnings(document.stray_variables())),
        }
    }

    /// Returns the environment variables that look as if they override a value, but do not, each with what to
    /// write instead.
    pub fn variable_warnings(&self) -> &[Problem] {
        self.document.stray_variables()
    }
}

const ENDLESS_NOTES: &str = "an issuer has `allow_missing_exp` without `max_lifetime`: notes of tokens that never expire would \
                             never go; say `max_lifetime`, or leave this out";

/// Keeps the claims of verified tokens that policies make demands on, and that are forwarded.
fn keep_claims(issuers: &mut [IssuerConfig], policies: &Policies, upstream: &UpstreamConfig) {
    let mut claims = policies.claims();
    for claim in upstream.claims() {
        if !claims.contains(claim) {
            claims.push(claim.clone());
        }
    }
    let claims: Arc<[ClaimPath]> = claims.into();
    for issuer in issuers {
        issuer.profile.kept_values = Arc::clone(&claims);
    }
}

/// Excludes `exp` from the leeway wherever revocations are looked up: a revocation may end together with its
/// token, and afterwards it is unknown that the token was revoked.
fn judge_exp_exactly(issuers: &mut [IssuerConfig], looked_up: CheckedTypes) {
    for issuer in issuers {
        let types = TokenType::ALL.into_iter();
        issuer.profile.exact_exp = types.filter(|t| looked_up.includes(*t)).collect();
    }
}
