//! Readers, which check tokens on one replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::RwLock;

use super::cast::Cast;
use super::faults::Random;
use super::history::History;
use super::judging::{Token, Verdict};
use crate::support::{Answer, Checks};

/// How many tokens a reader checks concurrently: one at a time, it would mostly wait to be scheduled.
const TOGETHER: usize = 8;

pub struct Reader {
    pub replica: usize,
    pub cast: Arc<Cast>,
    pub checks: Arc<Vec<RwLock<Checks>>>,
    pub history: Arc<History>,
    pub random: Random,
    /// Whether only registered tokens are accepted.
    pub allow_list: bool,
}

impl Reader {
    /// Checks tokens in batches, each batch concurrently.
    pub async fn read(mut self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::SeqCst) {
            let tokens: Vec<_> = (0..TOGETHER).map(|_| self.draw()).collect();
            join_all(tokens.into_iter().map(|token| self.check(token))).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn draw(&mut self) -> Token {
        match self.random.index(16) {
            0 if self.allow_list => self.cast.stranger(),
            _ => self.cast.to_be_checked(self.random.index(usize::MAX)),
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
