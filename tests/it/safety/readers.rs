//! Those who check tokens on one replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;

use super::cast::Cast;
use super::history::History;
use super::judging::{Token, Verdict};
use crate::support::{Answer, Checks};

pub struct Reader {
    pub replica: usize,
    pub cast: Arc<Cast>,
    pub checks: Arc<Vec<RwLock<Checks>>>,
    pub history: Arc<History>,
    /// Whether only registered tokens are let through.
    pub allow_list: bool,
}

impl Reader {
    /// Checks one token after the other.
    pub async fn read(self, mut step: usize, over: Arc<AtomicBool>) {
        while !over.load(Ordering::SeqCst) {
            step = step.wrapping_mul(31).wrapping_add(17);
            let token = match step % 16 {
                0 if self.allow_list => self.cast.stranger(),
                _ => self.cast.to_be_checked(step / 16),
            };
            self.check(token).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn check(&self, token: Token) {
        let checks = self.checks[self.replica].read().await.clone();
        let signed = self.cast.token(token, &self.history);
        let started = Instant::now();
        match checks.try_bearer(&signed).await {
            Some(answer) => {
                let verdict = verdict(&answer);
                self.history.answered(token, self.replica, started, verdict);
            }
            // The replica is down.
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// What an answer says about the token.
pub fn verdict(answer: &Answer) -> Verdict {
    match (answer.allows(), answer.reason()) {
        (true, _) => Verdict::Allowed,
        (false, "revoked") => Verdict::Revoked,
        (false, _) => Verdict::Unsure,
    }
}
