//! Connections whose other side has to take what it is sent.
//!
//! Whoever stops reading, and whose host goes on, is refused nothing by TCP: the stream of an answer would wait for ever, and
//! with it the file that it is read from and its place among the others.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A connection that breaks when nothing can be written for too long.
pub(super) struct Impatient {
    stream: TcpStream,
    longest: Duration,
    /// Since nothing more could be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    pub(super) fn new(stream: TcpStream, longest: Duration) -> Impatient {
        // A host that is gone takes nothing either, but what is sent to it fits into the kernel's buffer for a while.
        let millis = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream.as_fd(), millis) {
            tracing::debug!(%error, "a connection to a host that is gone will last longer");
        }
        Impatient { stream, longest, stalled: None }
    }

    /// Hands on what came of writing, unless that has been nothing for too long.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let longest = self.longest;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(longest)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_is_told_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let guarded = Impatient::new(stream, Duration::from_secs(60));
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(guarded.stream.as_fd()).unwrap(), 60_000);
    }

    #[tokio::test]
    async fn only_a_stall_that_lasts_breaks_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut guarded = Impatient::new(stream, Duration::from_millis(20));
        std::future::poll_fn(|context| {
            assert!(guarded.judge::<()>(context, Poll::Pending).is_pending());
            assert!(guarded.judge(context, Poll::Ready(Ok(()))).is_ready());
            assert!(guarded.stalled.is_none(), "it went on");
            assert!(guarded.judge::<()>(context, Poll::Pending).is_pending());
            Poll::Ready(())
        })
        .await;
        let broken = std::future::poll_fn(|context| guarded.judge::<()>(context, Poll::Pending)).await;
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
