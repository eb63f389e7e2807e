//! A stream with an observer of everything that is read from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The observer of a stream.
pub(super) trait Observer: Unpin {
    /// Called after each read, with the bytes read (none at the end of the stream), or the error.
    fn received(&mut self, read: Result<&[u8], &io::Error>);
}

/// A stream with an observer.
pub(super) struct ObservedStream<S, T> {
    pub stream: S,
    pub observer: T,
}

impl<S: AsyncRead + Unpin, T: Observer> AsyncRead for ObservedStream<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (into.filled().len(), into.remaining());
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into));
        match &read {
            Ok(()) if room > 0 => self.observer.received(Ok(&into.filled()[before..])),
            // A read without room in the buffer returns no bytes, and gives no information about the stream.
            Ok(()) => {}
            Err(error) => self.observer.received(Err(error)),
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin, T: Observer> AsyncWrite for ObservedStream<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
