//! Keys that applications write in Redis, looked up as they are: with a view and without.

mod matches;
mod mistakes;
mod presets;

use jsonwebtoken::Algorithm;

use crate::support::{Checks, Config, Redis, Revoxy, Scratch, SigningKey, Token, eventually};

const VIEW: &str = "read: view";
const STORE: &str = "read: store";

/// A Redis of an application, and a Revoxy that looks into it.
struct Scene {
    _scratch: Scratch,
    key: SigningKey,
    redis: Redis,
    revoxy: Revoxy,
    checks: Checks,
}

impl Scene {
    /// With these lookups, in YAML, and these lines of the section `revocation`.
    async fn set(lookups: &str, lines: &[&str]) -> Self {
        let scratch = Scratch::new();
        let redis = Redis::start(&scratch).await;
        Self::with(scratch, redis, lookups, lines).await
    }

    async fn with(scratch: Scratch, redis: Redis, lookups: &str, lines: &[&str]) -> Self {
        // No algorithm whose signatures have a twin: some keys are made of signatures.
        let key = SigningKey::generate(Algorithm::EdDSA);
        // A busy machine must not look like a broken store.
        let store = format!("redis: {{ url: {:?}, timeout: 10s }}", redis.url());
        let config = Config::trusting(&key, &scratch).store(store);
        let config = config.revocation(&format!("lookups: {lookups}"));
        let config = lines.iter().fold(config, |c, line| c.revocation(line));
        let revoxy = Revoxy::start(&scratch, &config).await;
        let checks = revoxy.checks().await;
        Self {
            _scratch: scratch,
            key,
            redis,
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

    /// What redis-cli would do.
    fn run(&self, command: &[&str]) {
        let _: redis::Value = self.redis.run(command);
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
