//! The connection that hears notifications, and does nothing else.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use super::error;
use super::feed::FeedEnd;

/// Listens on one connection, until that ends.
pub(super) struct Ear(PgListener);

impl Ear {
    /// Connects and listens on these channels.
    pub(super) async fn open(options: PgConnectOptions, channels: [&str; 2]) -> sqlx::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        // The library connects anew when a connection is lost, and does not tell what it has missed. Out of a pool
        // that is closed it gets no second connection. The pool need not be waited for: it is closed from here on.
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        drop(pool.close());
        listener.listen_all(channels).await?;
        Ok(Self(listener))
    }

    /// The next notification: its channel and its payload. Given up and called again, it misses nothing.
    pub(super) async fn hear(&mut self) -> Result<(String, String), FeedEnd> {
        match self.0.try_recv().await {
            Ok(Some(n)) => Ok((n.channel().to_owned(), n.payload().to_owned())),
            Ok(None) => Err(FeedEnd::Broken("connection closed".to_owned())),
            Err(error) => Err(FeedEnd::Broken(error::describe(&error))),
        }
    }
}
