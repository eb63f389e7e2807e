//! A key server that does what the test sets, mostly wrong things.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The answer to requests for a path.
#[derive(Clone)]
pub enum Answer {
    /// 200, with these headers (each with its line break) and this body.
    Ok(&'static str, String),
    /// A status and nothing else.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// One byte now and then, for ever.
    Drip,
    /// A body that never ends.
    Endless,
    /// Half of the announced body, then the connection is closed.
    Broken,
    /// No answer at all.
    Silence,
}

/// The server. It ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    /// Starts a server without TLS.
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    /// Starts a server with TLS. Also returns its certificate in PEM.
    pub async fn tls() -> (Self, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(
            aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(acceptor)).await, made.cert.pem())
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, requests) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)));
        let (answers_, requests_) = (Arc::clone(&answers), Arc::clone(&requests));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, requests) = (Arc::clone(&answers_), Arc::clone(&requests_));
                match tls.clone() {
                    None => connections.spawn(serve(stream, answers, requests)),
                    Some(tls) => connections.spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, answers, requests).await;
                        }
                    }),
                };
            }
        });
        Self {
            address,
            answers,
            requests,
            _task: task,
        }
    }

    /// Sets the answer to requests for `path`.
    pub fn answer(&self, path: &str, answer: Answer) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), answer);
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: Arc<AtomicUsize>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let answer = answers.lock().unwrap().get(&path).cloned();
    // Clients disconnect early, as the tests intend.
    let _ = write(&mut stream, answer.unwrap_or(Answer::Status(404))).await;
    let _ = stream.shutdown().await;
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, answer: Answer) -> std::io::Result<()> {
    let ok = "HTTP/1.1 200 OK\r\n";
    match answer {
        Answer::Ok(headers, body) => {
            let length = body.len();
            let text = format!("{ok}{headers}content-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await
        }
        Answer::Status(status) => {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        }
        Answer::Redirect(to) => {
            let text = format!("HTTP/1.1 302 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await
        }
        Answer::Drip => {
            let text = format!("{ok}content-length: 1000\r\n\r\n");
            for byte in text.bytes().chain(std::iter::repeat(b' ')) {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        }
        Answer::Endless => {
            let text = format!("{ok}transfer-encoding: chunked\r\n\r\n");
            stream.write_all(text.as_bytes()).await?;
            loop {
                stream.write_all(b"1000\r\n").await?;
                stream.write_all(&[b' '; 0x1000]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        Answer::Broken => {
            let text = format!("{ok}content-length: 1000\r\n\r\n{{\"keys\":[");
            stream.write_all(text.as_bytes()).await
        }
        Answer::Silence => std::future::pending().await,
    }
}
