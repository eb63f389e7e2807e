//! Tokens that are known by themselves: registered at issue, or noted when they are seen.

mod access;
mod allow_list;
mod inventory;
mod outage;
mod over_cluster;
mod over_postgres;

use std::sync::Arc;

use jsonwebtoken::Algorithm;

use crate::support::{
    Admin, Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token, admin, eventually,
};

/// A Redis, and replicas over it that their administrator can reach.
struct Scene {
    scratch: Scratch,
    key: Arc<SigningKey>,
    redis: Redis,
    /// More lines of the section `revocation`.
    lines: &'static [&'static str],
}

struct Replica {
    revoxy: Revoxy,
    checks: Checks,
    admin: Admin,
}

impl Scene {
    async fn set(lines: &'static [&'static str]) -> Self {
        let scratch = Scratch::new();
        Self {
            redis: Redis::start(&scratch).await,
            key: Arc::new(SigningKey::generate(Algorithm::ES256)),
            scratch,
            lines,
        }
    }

    fn config(&self, store: String) -> Config {
        let config = Config::trusting(&self.key, &self.scratch)
            .store(store)
            .section(&admin::section(&self.scratch));
        self.lines.iter().fold(config, |c, line| c.revocation(line))
    }

    async fn replica(&self) -> Replica {
        self.replica_of(&self.config(self.redis.store())).await
    }

    async fn replica_of(&self, config: &Config) -> Replica {
        let revoxy = Revoxy::start(&self.scratch, config).await;
        Replica {
            checks: revoxy.checks().await,
            admin: Admin::of(&revoxy),
            revoxy,
        }
    }

    fn token(&self, jti: &str) -> String {
        Token::access(jti).sign(&self.key)
    }
}

impl Replica {
    /// The token gets this answer at once. Where the store had to be asked and was too slow, on a busy machine, it is asked again.
    async fn is(&self, token: &str, reason: &str) {
        let answer = eventually("a store that answers in time", async || {
            let answer = self.checks.bearer(token).await;
            (answer.reason() != "revocation_unavailable").then_some(answer)
        })
        .await;
        assert_eq!(answer.reason(), reason);
    }

    async fn becomes(&self, token: &str, reason: &str) {
        eventually(&format!("{reason} as the answer"), async || {
            (self.checks.bearer(token).await.reason() == reason).then_some(())
        })
        .await;
    }
}
