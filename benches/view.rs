//! What the view costs: a look, a whole decision, and memory, with nothing in it, a million and ten million entries.
//!
//! Every token is looked for under all of its six keys, as in a view that holds revocations of every kind; there are
//! so many tokens that neither they nor the slots that they look at stay in the cache of the processor.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and may fail in the shortest way there is"
)]

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod common;

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use revoxy::authz::{Authorizer, AuthzRequest, RequestHeaders, Step};
use revoxy::clock::{Clock as _, SystemClock, Timestamp};
use revoxy::config::Config;
use revoxy::jwt::{CachingVerifier, Issuer, KeyFile, TokenType, Verifier, install_crypto};
use revoxy::metrics::{CheckLabels, Metrics};
use revoxy::revocation::{
    CheckedTypes, Checker, CheckerSettings, Cutoff, Durability, KeyKind, Lookup, Page, Revocation,
    RevocationKey, RevocationStore, StoreError, TokenKeys, View,
};
use serde_json::json;

use common::{Spread, resident, setting};

const SECRET: &str = "a secret of thirty-two bytes and more";
const CONFIG: &str = "
issuers:
  - name: shop
    issuer: https://auth.shop.example
    audiences: [shop]
    algorithms: [HS256]
    keys: { secret_file: SECRET_FILE }
revocation: { store: { memory: {} } }
policies: { default: { token: required, token_type: access } }
";

/// A store that is nothing but its view.
struct ViewOnly(View);

#[async_trait]
impl RevocationStore for ViewOnly {
    fn view(&self) -> Option<&View> {
        Some(&self.0)
    }

    async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
        let now = SystemClock.now();
        Ok(keys.iter().map(|key| self.0.lookup(key, now)).collect())
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
        self.0.record(revocation);
        Ok(Durability::default())
    }

    async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
        Ok(self.0.forget(key))
    }

    async fn get(&self, _key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
        Ok(None)
    }

    async fn list(&self, _after: Option<&str>, _limit: usize) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
}

/// An authorizer over a view of some size.
struct Subject {
    entries: usize,
    checker: Checker,
    authorizer: Authorizer,
    headers: Vec<String>,
    keys: Vec<TokenKeys>,
    per_entry: f64,
    grown: f64,
}

impl Subject {
    fn new(entries: usize, config: &Config, secret: &Path, tokens: &[String]) -> Self {
        let before = resident(std::process::id());
        let view = filled(entries);
        let grown = resident(std::process::id()).saturating_sub(before);
        let share = |bytes: usize| bytes as f64 / entries.max(1) as f64;
        let (per_entry, grown) = (share(view.bytes()), share(grown));
        let store: Arc<dyn RevocationStore> = Arc::new(ViewOnly(view));
        let checker = || {
            let labels = CheckLabels {
                outcomes: &[],
                policies: &[],
            };
            let metrics = Metrics::new(&labels, &StoreError::LABELS).unwrap();
            let settings = CheckerSettings {
                types: CheckedTypes {
                    access: true,
                    refresh: true,
                },
                deadline: Duration::from_millis(50),
                max_staleness: Duration::from_secs(1),
            };
            Checker::new(Arc::clone(&store), settings, metrics.store)
        };
        let verifier = Arc::new(verifier(config, secret));
        let keys = tokens
            .iter()
            .map(|header| {
                let token = header.trim_start_matches("Bearer ");
                TokenKeys::of(&verifier.verify(token, SystemClock.now()).unwrap())
            })
            .collect();
        let authorizer = Authorizer::new(
            config.policies.clone(),
            CachingVerifier::new(verifier, tokens.len() * 2, |claims, _| {
                TokenKeys::of(claims)
            }),
            Some(checker()),
            Arc::new(SystemClock),
        );
        Self {
            entries,
            checker: checker(),
            authorizer,
            headers: tokens.to_vec(),
            keys,
            per_entry,
            grown,
        }
    }

    /// Nanoseconds of a look for all keys of a token.
    fn look(&self) -> f64 {
        let now = SystemClock.now();
        let started = Instant::now();
        for keys in &self.keys {
            let found = self.checker.check(TokenType::Access, black_box(keys), now);
            assert_eq!(found, Lookup::Clear);
        }
        started.elapsed().as_nanos() as f64 / self.keys.len() as f64
    }

    /// Nanoseconds of a whole decision about a token that was seen before.
    fn decide(&self) -> f64 {
        let requests: Vec<_> = self.headers.iter().map(Bearer).collect();
        let started = Instant::now();
        for headers in &requests {
            let request = AuthzRequest {
                policy: None,
                method: "GET",
                host: "shop.example",
                path: "/protected",
                headers: black_box(headers),
                proxy: None,
            };
            match self.authorizer.decide(&request, SystemClock.now()) {
                Step::Done(verdict) => assert_eq!(verdict.outcome.decision(), "allow"),
                Step::AskStore { .. } | Step::AwaitKeys { .. } => {
                    unreachable!("the view is always fresh, the key is there")
                }
            }
        }
        started.elapsed().as_nanos() as f64 / requests.len() as f64
    }
}

struct Bearer<'t>(&'t String);

impl RequestHeaders for Bearer<'_> {
    fn visit<'h>(&'h self, name: &str, visit: &mut dyn FnMut(&'h [u8])) {
        if name == "authorization" {
            visit(self.0.as_bytes());
        }
    }
}

/// A view that holds so many revoked tokens, and one in a thousand of every other kind.
fn filled(entries: usize) -> View {
    let view = View::always_fresh();
    let now = SystemClock.now();
    let others = KeyKind::ALL.iter().skip(1).cycle();
    for (n, other) in (0..entries).zip(others) {
        let kind = if n % 1000 == 0 {
            *other
        } else {
            KeyKind::TokenId
        };
        view.record(&Revocation {
            key: RevocationKey::new(kind, "shop", &format!("revoked-{n}")),
            cutoff: Cutoff::All,
            expires_at: now.plus(Duration::from_secs(86_400)),
            reason: None,
            actor: None,
            revoked_at: now,
        });
    }
    assert_eq!(view.len(), entries);
    view
}

fn verifier(config: &Config, secret: &Path) -> Verifier {
    let profile = config.issuers[0].profile.clone();
    let file = KeyFile::Secret(secret.to_owned().into());
    let (keys, _) = file.load(&profile.algorithms).unwrap();
    Verifier::new([Arc::new(Issuer::new(profile, keys))])
}

/// Headers of requests with tokens that all say something else.
fn tokens(count: usize, now: Timestamp) -> Vec<String> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("bench-1".to_owned());
    let sign = |n| {
        let claims = json!({
            "iss": "https://auth.shop.example", "aud": "shop", "type": "access",
            "iat": now.secs(), "exp": now.secs() + 3600,
            "jti": format!("good-{n}"), "sub": format!("subject-{n}"), "sid": format!("session-{n}"), "azp": "web",
        });
        format!("Bearer {}", encode(&header, &claims, &key).unwrap())
    };
    (0..count).map(sign).collect()
}

fn main() {
    install_crypto().unwrap();
    let largest = setting("BENCH_LARGEST", 10_000_000);
    let rounds = setting("BENCH_ROUNDS", 15);
    let scratch = tempfile::tempdir().unwrap();
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let yaml = CONFIG.replace("SECRET_FILE", secret.to_str().unwrap());
    let config = Config::parse("bench", &yaml, HashMap::new()).unwrap();
    let tokens = tokens(20_000, SystemClock.now());

    let sizes = [0, largest / 10, largest];
    let subjects = sizes.map(|entries| Subject::new(entries, &config, &secret, &tokens));
    let mut looks = sizes.map(|_| Vec::new());
    let mut decisions = sizes.map(|_| Vec::new());
    // In turns, so that whatever else this machine does meets all sizes alike. The first round fills the caches.
    for round in 0..=rounds {
        for (at, subject) in subjects.iter().enumerate() {
            let (look, decision) = (subject.look(), subject.decide());
            if round > 0 {
                looks[at].push(look);
                decisions[at].push(decision);
            }
        }
    }

    println!(
        "view: {rounds} rounds in turns over {} tokens; median (least–greatest)",
        tokens.len()
    );
    let ratio = |of: &[f64], to: &[f64]| Spread::of(of.iter().zip(to).map(|(a, b)| a / b)).show(2);
    for (at, subject) in subjects.iter().enumerate() {
        println!("  {} entries", subject.entries);
        println!(
            "    look for six keys  {} ns",
            Spread::of(looks[at].clone()).show(0)
        );
        println!(
            "    whole decision     {} ns, {} × that with none",
            Spread::of(decisions[at].clone()).show(0),
            ratio(&decisions[at], &decisions[0])
        );
        if subject.entries > 0 {
            println!(
                "    memory             {:.1} bytes an entry; the process grew by {:.1}",
                subject.per_entry, subject.grown
            );
        }
    }
}
