//! Waits until every issuer has had keys; until then, the service is not ready.

use tokio::sync::mpsc;

/// Reports when every issuer has had keys.
pub(crate) struct KeysLoaded {
    loaded: mpsc::Receiver<()>,
    missing: usize,
}

impl KeysLoaded {
    /// Waits for this many issuers, each of which sends one message.
    pub fn of(issuers: usize) -> (mpsc::Sender<()>, Self) {
        let (sender, loaded) = mpsc::channel(issuers.max(1));
        let missing = issuers;
        (sender, Self { loaded, missing })
    }

    /// Resolves when every issuer has had keys. Never resolves if an issuer can no longer get any, because
    /// its task has ended.
    pub async fn wait(&mut self) {
        while self.missing > 0 {
            if self.loaded.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            self.missing -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn all_issuers_have_to_have_had_keys() {
        let (sender, mut loaded) = KeysLoaded::of(2);
        let mut wait = Box::pin(loaded.wait());
        sender.try_send(()).unwrap();
        assert!(wait.as_mut().now_or_never().is_none());
        sender.try_send(()).unwrap();
        assert!(wait.now_or_never().is_some());
        let (_sender, mut none) = KeysLoaded::of(0);
        assert!(none.wait().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_task_that_ends_without_keys_makes_nothing_ready() {
        let (sender, mut loaded) = KeysLoaded::of(1);
        drop(sender);
        assert!(loaded.wait().now_or_never().is_none());
    }
}
