//! HTTP/2 frame by frame (RFC 9113), for what no client library does: messages that do not end, answers that
//! are not read.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The window of a new connection (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

/// A connection that answers nothing, not even pings. What the server sends is read and discarded.
pub struct RawHttp2 {
    /// How many more bytes the server accepts on the whole connection.
    window: Arc<Semaphore>,
    writer: OwnedWriteHalf,
    next: u32,
    reader: JoinHandle<()>,
}

impl RawHttp2 {
    /// Connects to the server. `window` is how much of an answer the server may send.
    pub async fn connect(address: &str, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(window.to_be_bytes());
        let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        writer.write_all(&greeting).await.unwrap();
        let window = Arc::new(Semaphore::new(WINDOW));
        let reader = tokio::spawn(read(reader, Arc::clone(&window)));
        Self {
            window,
            writer,
            next: 1,
            reader,
        }
    }

    /// Begins a check whose message is announced with `length` bytes and of which `sent` is sent; `end` ends
    /// the request. Fails if the connection is closed.
    pub async fn check(&mut self, length: u32, sent: &[u8], end: bool) -> std::io::Result<()> {
        let stream = self.next;
        self.next += 2;
        let needed = u32::try_from(sent.len() + 5).unwrap();
        let gone = |_| std::io::ErrorKind::ConnectionReset;
        self.window
            .acquire_many(needed)
            .await
            .map_err(gone)?
            .forget();
        let mut message = frame(HEADERS, END_HEADERS, stream, &headers());
        let mut body = vec![0];
        body.extend(length.to_be_bytes());
        body.extend(sent);
        // The largest frame that every peer must accept.
        let mut pieces = body.chunks(16_384).peekable();
        while let Some(piece) = pieces.next() {
            let last = end && pieces.peek().is_none();
            let flags = if last { END_STREAM } else { 0 };
            message.extend(frame(DATA, flags, stream, piece));
        }
        self.writer.write_all(&message).await
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(self) {
        self.reader.await.unwrap();
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.reader.is_finished()
    }
}

/// Reads until the end, and keeps track of the window.
async fn read(mut from: OwnedReadHalf, window: Arc<Semaphore>) {
    let mut head = [0; 9];
    while from.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if from.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == WINDOW_UPDATE && head[5..] == [0; 4] {
            let more = u32::from_be_bytes(payload[..4].try_into().unwrap());
            window.add_permits(more as usize);
        }
    }
    window.close();
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of a `POST` to the check service, without compression (RFC 7541).
fn headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |index: &[u8], value: &[u8]| {
        block.extend(index);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value);
    };
    literal(&[0x04], b"/envoy.service.auth.v3.Authorization/Check");
    literal(&[0x01], b"revoxy");
    literal(&[0x0f, 0x10], b"application/grpc");
    literal(&[0x00, 2, b't', b'e'], b"trailers");
    block
}
