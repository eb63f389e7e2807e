//! The single message of a unary gRPC call, read within limits of size, time and memory.
//!
//! A message is `flag (1 byte) length (4 bytes) data`, spread over any number of DATA frames
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). Envoy sends it at once. A slower
//! sender gets 5 s, and the data that has to be buffered for it counts towards the memory budget.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use prost::bytes::{Buf as _, Bytes};
use tonic::codegen::Body;

use super::memory_budget::{ConnectionLoad, MemoryBudget, Reservation};

pub(super) const PREFIX: usize = 5;
/// The timeout for the arrival of a message. Envoy waits only a fraction of it for the whole check.
pub const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The message is larger than this limit.
    TooLarge(usize),
    /// The message did not arrive in time.
    Late,
    /// There is no memory for the message.
    NoMemory,
    /// The decoded parts of the message are larger than this limit.
    TooManyParts(usize),
    /// The body is not exactly one uncompressed message.
    Malformed,
    /// The message is not a `CheckRequest`.
    Undecodable(prost::DecodeError),
    /// The caller has disconnected.
    Gone,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(max) => {
                write!(f, "larger than {max} bytes (server.max_message_bytes)")
            }
            Self::Late => write!(f, "not complete within {ARRIVES_WITHIN:?}"),
            Self::NoMemory => f.write_str("too many requests at once"),
            Self::TooManyParts(max) => {
                write!(
                    f,
                    "so many headers or other parts that they take more than {max} bytes"
                )
            }
            Self::Malformed => f.write_str("not one uncompressed gRPC message"),
            Self::Undecodable(error) => write!(f, "{error}"),
            Self::Gone => f.write_str("the caller has gone"),
        }
    }
}

/// A message, and the memory that is reserved for it until the check has been answered, because what is
/// decoded from the message references its bytes.
pub(super) struct Message {
    pub bytes: Bytes,
    /// Reservations for the copied bytes of the message. Empty if the message arrived at once: then nothing
    /// is reserved yet.
    pub reservations: Vec<Reservation>,
}

/// Reads the message of `body`: at most `max` bytes. Memory for data that has to be buffered is reserved in
/// `budget`; if there is none, reading fails.
pub(super) async fn read<B: Body>(
    body: B,
    max: usize,
    budget: &MemoryBudget,
    load: &ConnectionLoad,
) -> Result<Message, Unreadable> {
    let received = Received {
        first: Bytes::new(),
        kept: Vec::new(),
        reservations: Vec::new(),
        budget,
        load,
    };
    let mut reading = pin!(collect(body, max, received));
    // Nearly always the whole message has already arrived, and no timer is needed.
    let all = match reading.as_mut().now_or_never() {
        Some(all) => all,
        None => tokio::time::timeout(ARRIVES_WITHIN, reading)
            .await
            .unwrap_or(Err(Unreadable::Late)),
    };
    let mut message = all?;
    let bytes = &mut message.bytes;
    if bytes.len() < PREFIX || bytes.get_u8() != 0 {
        return Err(Unreadable::Malformed);
    }
    let length = usize::try_from(bytes.get_u32()).map_err(|_| Unreadable::Malformed)?;
    if length == bytes.len() {
        Ok(message)
    } else {
        Err(Unreadable::Malformed)
    }
}

async fn collect<B: Body>(
    body: B,
    max: usize,
    mut received: Received<'_>,
) -> Result<Message, Unreadable> {
    let mut body = pin!(body);
    while !body.is_end_stream() {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                received.keep().await?;
                body.frame().await
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Unreadable::Gone)?;
        if let Ok(mut data) = frame.into_data() {
            let data = data.copy_to_bytes(data.remaining());
            if received.len() + data.len() > PREFIX + max {
                return Err(Unreadable::TooLarge(max));
            }
            received.add(data).await?;
        }
    }
    Ok(received.all())
}

/// The part of a message that has arrived.
struct Received<'r> {
    /// The first frame, in the buffer that it was read into.
    first: Bytes,
    /// All data, copied as soon as there is a second frame or the next frame has to be waited for: a short
    /// frame would otherwise keep a large buffer alive.
    kept: Vec<u8>,
    reservations: Vec<Reservation>,
    budget: &'r MemoryBudget,
    load: &'r ConnectionLoad,
}

impl Received<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.kept.len()
    }

    async fn add(&mut self, data: Bytes) -> Result<(), Unreadable> {
        if self.len() == 0 {
            self.first = data;
            return Ok(());
        }
        self.keep().await?;
        self.extend(&data).await
    }

    async fn keep(&mut self) -> Result<(), Unreadable> {
        let first = std::mem::take(&mut self.first);
        self.extend(&first).await
    }

    async fn extend(&mut self, data: &[u8]) -> Result<(), Unreadable> {
        let before = self.kept.capacity();
        self.kept.reserve(data.len());
        let grown = self.kept.capacity() - before;
        if grown > 0 {
            let reservation = self.budget.reserve(grown, self.load).await;
            self.reservations
                .push(reservation.ok_or(Unreadable::NoMemory)?);
        }
        self.kept.extend_from_slice(data);
        Ok(())
    }

    fn all(self) -> Message {
        let bytes = match self.kept.is_empty() {
            true => self.first,
            false => self.kept.into(),
        };
        Message {
            bytes,
            reservations: self.reservations,
        }
    }
}
