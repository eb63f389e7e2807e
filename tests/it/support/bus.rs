//! The bus of a Redis Cluster, from which a node can be cut off while clients and replicas still reach it.
//!
//! Every node is announced with the port of a proxy. A node names itself in its first message on a
//! connection, so the proxies can close the connections from a node as well as those to it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// The position of the sender's id in a message.
const SENDER: std::ops::Range<usize> = 40..80;

/// The id of the node that is cut off.
type CutOff = Option<String>;

pub struct Bus {
    cut_off: Arc<watch::Sender<CutOff>>,
    /// The proxies' own runtime: load in a test must not cut the nodes off from each other.
    runtime: Option<Runtime>,
}

impl Bus {
    pub fn new() -> Self {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        Self {
            cut_off: Arc::new(watch::channel(None).0),
            runtime: Some(runtime.unwrap()),
        }
    }

    /// Starts a proxy for the bus of this node. Returns its port.
    pub fn leads_to(&self, port: u16, id: &str) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let way = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (cut_off, id) = (Arc::clone(&self.cut_off), id.to_owned());
        self.runtime.as_ref().unwrap().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, port, id.clone(), cut_off.subscribe()));
            }
        });
        way
    }

    pub fn cut_off(&self, id: Option<&str>) {
        self.cut_off.send_replace(id.map(str::to_owned));
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn pass(mut from: TcpStream, port: u16, to: String, mut cut_off: watch::Receiver<CutOff>) {
    let mut head = [0; SENDER.end];
    if from.read_exact(&mut head).await.is_err() {
        return;
    }
    let sender = String::from_utf8_lossy(&head[SENDER]).into_owned();
    let ends = move |id: &CutOff| id.as_ref().is_some_and(|id| *id == to || *id == sender);
    tokio::select! {
        biased;
        _ = cut_off.wait_for(ends) => {}
        () = async {
            if let Ok(mut node) = TcpStream::connect(("127.0.0.1", port)).await
                && node.write_all(&head).await.is_ok()
            {
                let _ = copy_bidirectional(&mut from, &mut node).await;
            }
        } => {}
    }
}
