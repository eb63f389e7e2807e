//! Revoking all tokens of a subject, or all but some.
//!
//! All is one statement, a cutoff, which means tokens that nobody has seen as well. All but some is one statement for each
//! token on record: one that was issued and never seen, or that is being noted just now, escapes.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::revocation::{Cutoff, Durability, KeyKind, RevocationKey, TokenRecord, TokenRegistry};

use super::super::answer::{Failure, durability};
use super::super::{Api, CLOCK_MARGIN};
use super::named::{self, required, unwanted};
use super::revoke::{Request, Statement};
use super::{in_time, shown};

/// Records read at once.
const PAGE: usize = 500;
/// Revocations under way at once.
const AT_ONCE: usize = 16;
/// For all of it. Less than the time that a request may take.
const DEADLINE: Duration = Duration::from_secs(10);

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
            let expires_at = request.expires_at.ok_or_else(|| {
                Failure::bad_request(
                    "`expires_at` is missing: say until when this has to stand, the latest `exp` of any token of the subject \
                     that was issued up to now, or a time that is surely later; or name tokens to spare in `except`",
                )
            })?;
            let expires_at = named::time(expires_at, "expires_at")?;
            let key = RevocationKey::new(KeyKind::Subject, &issuer, &subject);
            let now = statement.revoked_at;
            let (cutoff, until) = (Cutoff::IssuedUpTo(now), expires_at.plus(leeway));
            if until <= now {
                return Err(Failure::bad_request("`expires_at` is over"));
            }
            let until = until.plus(CLOCK_MARGIN);
            let revocation = statement.revocation(key, cutoff, until);
            let reached = in_time(self.store.revoke(&revocation)).await?;
            tracing::info!(kind = "sub", issuer, "revoked");
            let mut answer = json!({
                "revoked_up_to": shown::seconds(now),
                "enforced_within": self.enforced_within.as_secs_f64(),
            });
            durability(&mut answer, reached);
            return Ok(("recorded", answer));
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
            Ok(done) => done?,
            Err(_) => {
                let why = format!("{revoked} tokens are revoked, and there are more; try again");
                return Err(Failure::Unavailable(why));
            }
        };
        tracing::info!(issuer, tokens = revoked, "revoked tokens of a subject");
        Ok(("recorded", self.answer(revoked, reached)))
    }

    /// Tells how durable they are; all are alike.
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
