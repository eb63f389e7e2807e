//! The connection that receives notifications, and does nothing else.

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use super::error;
use super::feed_end::FeedEnd;

/// Listens on one connection, until the connection ends.
pub(super) struct Listener(PgListener);

impl Listener {
    /// Connects and listens on these channels.
    pub(super) async fn open(options: PgConnectOptions, channels: [&str; 2]) -> sqlx::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        // The library reconnects when a connection is lost, and does not report which notifications it has missed.
        // A closed pool prevents that: the library gets no second connection from it. There is no need to await
        // `close`: the pool counts as closed from here on.
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        drop(pool.close());
        listener.listen_all(channels).await?;
        Ok(Self(listener))
    }

    /// Returns the channel and the payload of the next notification. Cancel safe: no notification is lost.
    pub(super) async fn next(&mut self) -> Result<(String, String), FeedEnd> {
        match self.0.try_recv().await {
            Ok(Some(n)) => Ok((n.channel().to_owned(), n.payload().to_owned())),
            Ok(None) => Err(FeedEnd::Broken("connection closed".to_owned())),
            Err(error) => Err(FeedEnd::Broken(error::describe(&error))),
        }
    }
}
