//! Keys that applications write in Redis, looked up as they are: with a view and without.

mod ended;
mod followed;
mod matches;
mod mistakes;
mod presets;
mod scoped;
mod steered;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use crate::support::server::{revoxy, run};
use crate::support::{Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

const VIEW: &str = "read: view";
const STORE: &str = "read: store";

/// A Redis of an application, and a Revoxy that looks into it.
struct Scene {
    scratch: Scratch,
    redis: Redis,
    asking: Asking,
}

/// A Revoxy, and who asks it.
struct Asking {
    key: Arc<SigningKey>,
    revoxy: Revoxy,
    checks: Checks,
}

impl Deref for Scene {
    type Target = Asking;

    fn deref(&self) -> &Asking {
        &self.asking
    }
}

impl Scene {
    /// With these lookups, in YAML, and these lines of the section `revocation`.
    async fn set(lookups: &str, lines: &[&str]) -> Self {
        let scratch = Scratch::new();
        let redis = Redis::start(&scratch).await;
        Self::with(scratch, redis, lookups, lines).await
    }

    async fn with(scratch: Scratch, redis: Redis, lookups: &str, lines: &[&str]) -> Self {
        let asking = Asking::start(&scratch, &redis, "", lookups, lines).await;
        Self {
            scratch,
            redis,
            asking,
        }
    }

    /// One more Revoxy over the same Redis, for the same tokens.
    async fn another(&self, lookups: &str, lines: &[&str]) -> Asking {
        let key = Arc::clone(&self.key);
        Asking::of(key, &self.scratch, &self.redis, "", lookups, lines).await
    }

    /// What redis-cli would do.
    fn run(&self, command: &[&str]) {
        let _: redis::Value = self.redis.run(command);
    }
}

impl Asking {
    /// With more members of the section `redis`.
    async fn start(
        scratch: &Scratch,
        redis: &Redis,
        more: &str,
        lookups: &str,
        lines: &[&str],
    ) -> Self {
        // No algorithm whose signatures have a twin: some keys are made of signatures.
        let key = Arc::new(SigningKey::generate(Algorithm::EdDSA));
        Self::of(key, scratch, redis, more, lookups, lines).await
    }

    async fn of(
        key: Arc<SigningKey>,
        scratch: &Scratch,
        redis: &Redis,
        more: &str,
        lookups: &str,
        lines: &[&str],
    ) -> Self {
        // A busy machine must not look like a broken store.
        let store = format!("redis: {{ url: {:?}, timeout: 10s, {more} }}", redis.url());
        let config = Config::trusting(&key, scratch).store(store);
        let config = config.revocation(&format!("lookups: {lookups}"));
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        let revoxy = Revoxy::start(scratch, &config).await;
        let checks = revoxy.checks().await;
        Self {
            key,
            revoxy,
            checks,
        }
    }

    fn sign(&self, token: Token) -> String {
        token.sign(&self.key)
    }

    fn token(&self, jti: &str) -> String {
        self.sign(Token::access(jti))
    }

    /// The answer, at once.
    async fn is(&self, token: &str, reason: &str) {
        let answer = self.checks.bearer(token).await;
        assert_eq!(answer.reason(), reason);
    }

    /// The answer in the end.
    async fn becomes(&self, token: &str, reason: &str) {
        eventually(&format!("the answer {reason}"), async || {
            (self.checks.bearer(token).await.reason() == reason).then_some(())
        })
        .await;
    }

    /// Nothing has been kept silent about.
    async fn nothing_was_healed(&self) {
        let healed = self.revoxy.metric("revoxy_revocation_view_healed_total");
        assert!(healed.await < 0.5);
    }
}

/// What a command of the program says about the configuration in this file.
async fn said_by(scratch: &Scratch, command: &str, config: &Path) -> String {
    let mut command = revoxy(&[command, "--config", config.to_str().unwrap()]);
    run(scratch, &mut command).await.1
}
