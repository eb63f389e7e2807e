//! Revokes all tokens of a subject, or all but some.
//!
//! Revoking all is a single statement, a cutoff, which also applies to tokens that are not on record.
//! Revoking all but some is one statement for each token on record: a token that was issued and never seen,
//! or that is being recorded at this moment, is not revoked.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::revocation::{
    CLOCK_MARGIN, Cutoff, Durability, KeyKind, RevocationKey, TokenRecord, TokenRegistry,
};

use super::super::Api;
use super::super::answer::{Failure, durability};
use super::named::{self, required, unwanted};
use super::revoke::{Request, Statement};
use super::{in_time, shown};

/// The number of records per read.
const PAGE: usize = 500;
/// The number of revocations in flight.
const AT_ONCE: usize = 16;
/// The timeout of the whole operation. Less than the timeout of a request.
const DEADLINE: Duration = Duration::from_secs(10);

/// Some tokens are revoked, and others are not. The outcome of revocations in flight at the end is unknown.
fn unfinished(revoked: u64, why: &str) -> Failure {
    Failure::Unavailable(format!(
        "at least {revoked} tokens are revoked, and not all: {why}"
    ))
}

impl Api {
    pub(super) async fn revoke_all(
        &self,
        request: Request,
        statement: &Statement,
    ) -> Result<(&'static str, Value), Failure> {
        for (name, unwanted_value) in [("token", &request.token), ("id", &request.id)] {
            unwanted(unwanted_value.as_ref(), name, "`all`")?;
        }
        unwanted(request.id_kind.as_ref(), "id_kind", "`all`")?;
        let issuer = required(request.issuer, "`issuer`")?;
        let leeway = self.leeway_of(&issuer)?;
        let subject = required(request.sub, "`sub`")?;
        named::identifier(Some(&subject), "sub")?;
        let spared: HashSet<String> = request.except.unwrap_or_default().into_iter().collect();
        if spared.is_empty() {
            let until = match request.expires_at {
                Some(expires_at) => named::time(expires_at, "expires_at")?.plus(leeway),
                None => {
                    return Err(Failure::bad_request(
                        "`expires_at` is missing: say until when this has to stand, the latest `exp` of any token of the subject \
                         that was issued up to now, or a time that is surely later; or name tokens to spare in `except`",
                    ));
                }
            };
            return self
                .revoke_up_to_now(&issuer, &subject, until, statement)
                .await;
        }
        unwanted(request.expires_at.as_ref(), "expires_at", "`except`")?;
        let registry = self.registry()?;
        let mut revoked = 0;
        let all = self.revoke_others(
            registry,
            &issuer,
            &subject,
            &spared,
            statement,
            &mut revoked,
        );
        let reached = match tokio::time::timeout(DEADLINE, all).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(Failure::Unavailable(why))) => return Err(unfinished(revoked, &why)),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => {
                return Err(unfinished(
                    revoked,
                    "there are more than can be revoked in time; try again",
                ));
            }
        };
        tracing::info!(issuer, tokens = revoked, "revoked tokens of a subject");
        Ok(("recorded", self.answer(revoked, reached)))
    }

    /// Revokes all tokens of a subject that were issued up to now. The revocation lasts `CLOCK_MARGIN` longer than `until`.
    async fn revoke_up_to_now(
        &self,
        issuer: &str,
        subject: &str,
        until: Timestamp,
        statement: &Statement,
    ) -> Result<(&'static str, Value), Failure> {
        let key = RevocationKey::new(KeyKind::Subject, issuer, subject);
        let now = statement.revoked_at;
        if until <= now {
            return Err(Failure::bad_request("`expires_at` is over"));
        }
        let until = until.plus(CLOCK_MARGIN);
        let revocation = statement.revocation(key, Cutoff::IssuedUpTo(now), until);
        let reached = in_time(self.store.revoke(&revocation)).await?;
        tracing::info!(kind = "sub", issuer, "revoked");
        let mut answer = json!({
            "revoked_up_to": shown::seconds(now),
            "enforced_within": self.enforced_within.as_secs_f64(),
        });
        durability(&mut answer, reached);
        Ok(("recorded", answer))
    }

    /// Revokes tokens one by one, and counts them in `revoked`. Returns how durable the revocations are,
    /// which is the same for all.
    async fn revoke_others(
        &self,
        registry: &dyn TokenRegistry,
        issuer: &str,
        subject: &str,
        spared: &HashSet<String>,
        statement: &Statement,
        revoked: &mut u64,
    ) -> Result<Durability, Failure> {
        let (mut after, mut least) = (None, None);
        loop {
            let page = in_time(registry.of_subject(issuer, subject, after, PAGE)).await?;
            let others = |record: &&TokenRecord| !spared.contains(record.token.value());
            let revoke = |record: &TokenRecord| {
                let revocation = statement.of(record);
                async move { in_time(self.store.revoke(&revocation)).await }
            };
            let revocations: Vec<_> = page.records.iter().filter(others).map(revoke).collect();
            let mut done = stream::iter(revocations).buffer_unordered(AT_ONCE);
            while let Some(reached) = done.try_next().await? {
                *revoked += 1;
                least = Some(reached);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(least.unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::clock::ManualClock;
    use crate::jwt::{Issuer, TokenType, Verifier, testing};
    use crate::metrics::{CheckLabels, Metrics};
    use crate::revocation::{
        CheckedTypes, MemoryStore, Page, Revocation, RevocationStore, StoreError,
    };

    /// A store that becomes unavailable after this many revocations.
    struct Failing {
        inner: MemoryStore,
        left: AtomicUsize,
    }

    #[async_trait]
    impl RevocationStore for Failing {
        fn registry(&self) -> Option<&dyn TokenRegistry> {
            Some(&self.inner)
        }

        async fn lookup(&self, keys: &[RevocationKey]) -> Result<Vec<Option<Cutoff>>, StoreError> {
            self.inner.lookup(keys).await
        }

        async fn revoke(&self, revocation: &Revocation) -> Result<Durability, StoreError> {
            let less = |left: usize| left.checked_sub(1);
            let ordering = Ordering::Relaxed;
            match self.left.fetch_update(ordering, ordering, less) {
                Ok(_) => self.inner.revoke(revocation).await,
                Err(_) => Err(StoreError::Unavailable("gone".to_owned())),
            }
        }

        async fn unrevoke(&self, key: &RevocationKey) -> Result<bool, StoreError> {
            self.inner.unrevoke(key).await
        }

        async fn get(&self, key: &RevocationKey) -> Result<Option<Revocation>, StoreError> {
            self.inner.get(key).await
        }

        async fn list(&self, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
            self.inner.list(after, limit).await
        }
    }

    #[tokio::test]
    async fn the_answer_says_how_many_were_revoked_before_the_store_was_gone() {
        let clock = Arc::new(ManualClock::at(testing::now()));
        let store = Failing {
            inner: MemoryStore::new(clock.clone()),
            left: AtomicUsize::new(3),
        };
        let issuer = Issuer::new(testing::profile(), testing::all_keys());
        let name = issuer.profile().name.to_string();
        for id in 0..8 {
            let token = TokenRecord {
                token: RevocationKey::new(KeyKind::TokenId, &name, &id.to_string()),
                subject: Some("alice".to_owned()),
                session: None,
                client: None,
                kid: None,
                token_type: TokenType::Access,
                issued_at: None,
                expires_at: testing::now().plus(Duration::from_secs(60)),
                registered: true,
                noted_at: testing::now(),
            };
            store.inner.register(&[token]).await.unwrap();
        }
        let types = CheckedTypes {
            access: true,
            refresh: true,
        };
        let labels = CheckLabels {
            outcomes: &[],
            policies: &[],
        };
        let metrics = Metrics::new(&labels, &[]).unwrap();
        let api = Api::new(
            Arc::new(Verifier::new([Arc::new(issuer)])),
            Arc::new(store),
            types,
            clock,
            Arc::new(metrics),
        );
        let request = json!({ "issuer": name, "sub": "alice", "all": true, "except": ["7"] });
        let statement = Statement {
            reason: None,
            actor: "test".to_owned(),
            revoked_at: testing::now(),
        };
        let request = serde_json::from_value(request).unwrap();
        let failed = api.revoke_all(request, &statement).await;
        let Err(Failure::Unavailable(why)) = failed else {
            unreachable!("{failed:?}");
        };
        assert!(
            why.starts_with("at least 3 tokens are revoked, and not all"),
            "{why}"
        );
    }
}
