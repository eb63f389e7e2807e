//! Of two statements about the same token the later one wins: on every replica, and in the store for those that start
//! afterwards, although the server has lost the later one and kept the earlier.
//!
//! A server loses writes in three ways: it starts from an older snapshot, a replica of it that lacks them takes its place, or
//! it takes over the data of another server that lacks them.

mod failover;
mod older_copy;
mod restart;
mod woken;

use std::time::{Duration, Instant};

use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::support::tokens::now;
use crate::support::{
    Admin, Answer, Checks, Config, Revoxy, Scratch, SigningKey, Token, admin, eventually,
};

const MAX_STALENESS: Duration = Duration::from_millis(600);
/// How long the answers are watched after a server has lost something: longer than replicas are given to write back.
const WATCH: Duration = Duration::from_secs(3);

/// Who may start replicas of Revoxy, and sign tokens for them.
struct Scene {
    scratch: Scratch,
    key: SigningKey,
    config: Config,
}

struct Replica {
    revoxy: Revoxy,
    checks: Checks,
    admin: Admin,
}

/// Two tokens, each with what is said about it: `device` is revoked by itself, `session` by a cutoff of its subject.
struct Tokens {
    device: String,
    session: String,
}

impl Scene {
    fn over(store: &str, max_staleness: Duration, lines: &[&str]) -> Self {
        let (scratch, key) = (Scratch::new(), SigningKey::generate(Algorithm::ES256));
        let config = Config::trusting(&key, &scratch)
            .store(store)
            .revocation(&format!("max_staleness: {}ms", max_staleness.as_millis()))
            .section(&admin::section(&scratch));
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        Self {
            scratch,
            key,
            config,
        }
    }

    async fn replica(&self) -> Replica {
        let revoxy = Revoxy::start(&self.scratch, &self.config).await;
        Replica {
            checks: revoxy.checks().await,
            admin: Admin::of(&revoxy),
            revoxy,
        }
    }

    async fn replicas(&self) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for _ in 0..3 {
            replicas.push(self.replica().await);
        }
        replicas
    }

    fn tokens(&self) -> Tokens {
        let session = Token::access("session").with("sub", "bob");
        Tokens {
            device: Token::access("device").sign(&self.key),
            session: session.sign(&self.key),
        }
    }
}

impl Replica {
    /// Revokes both tokens, which must be acknowledged.
    async fn revoke(&self, tokens: &Tokens) {
        self.revoxy.revoke(&tokens.device).await;
        let until = now() + 3600;
        let all = json!({ "issuer": "shop", "sub": "bob", "all": true, "expires_at": until });
        self.admin.revoke(all).await;
    }

    /// Takes both revocations back, which must be acknowledged.
    async fn unrevoke(&self) {
        let device = json!({ "issuer": "shop", "id": "device" });
        let session = json!({ "issuer": "shop", "sub": "bob", "all": true });
        for revocation in [device, session] {
            self.admin.unrevoke(revocation).await;
        }
    }

    async fn answers(&self, tokens: &Tokens) -> [Answer; 2] {
        let device = self.checks.bearer(&tokens.device).await;
        [device, self.checks.bearer(&tokens.session).await]
    }

    async fn becomes(&self, tokens: &Tokens, reason: &str) {
        eventually(&format!("{reason} as both answers"), async || {
            let answers = self.answers(tokens).await;
            answers.iter().all(|a| a.reason() == reason).then_some(())
        })
        .await;
    }
}

async fn all_become(replicas: &[Replica], tokens: &Tokens, reason: &str) {
    for replica in replicas {
        replica.becomes(tokens, reason).await;
    }
}

/// From now on no replica gives the answer `wrong`, whatever it hears of the server, and all give the answer `right` in
/// the end. So does a replica that is started then, of what it finds in the store.
async fn all_keep_saying(
    scene: &Scene,
    replicas: &[Replica],
    tokens: &Tokens,
    (right, wrong): (&str, &str),
) {
    let start = Instant::now();
    while start.elapsed() < WATCH {
        for (index, replica) in replicas.iter().enumerate() {
            for answer in replica.answers(tokens).await {
                let after = start.elapsed();
                let said = answer.reason();
                assert_ne!(
                    said, wrong,
                    "replica {index}, {after:?} after the server had lost the later word"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all_become(replicas, tokens, right).await;
    let newcomer = scene.replica().await;
    for answer in newcomer.answers(tokens).await {
        assert_ne!(
            answer.reason(),
            wrong,
            "a replica that was started afterwards"
        );
    }
    newcomer.becomes(tokens, right).await;
}

const REVOKED: (&str, &str) = ("revoked", "ok");
const ALLOWED: (&str, &str) = ("ok", "revoked");
