//! The server to compare with: the same stack, and an answer that is always OK. Where it is told to, it verifies a
//! signature for every check, and nothing else of a token: what no server can do without.

use std::ffi::OsString;
use std::net::SocketAddr;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc;
use tonic::transport::Server as Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::load::Server;
use crate::support::{Process, Scratch, SigningKey, eventually};

/// The first argument of this program when it is to be the server.
const MEANT: &str = "do-nothing";
const LISTENING: &str = "listening ";

/// The server as a process.
pub struct DoNothing {
    process: Process,
    address: String,
}

impl DoNothing {
    pub fn server(&self, name: &str) -> Server {
        Server {
            name: name.to_owned(),
            address: self.address.clone(),
            pid: self.process.pid(),
        }
    }
}

/// Starts it, with the arguments that [`work`] makes, or none.
pub async fn start(scratch: &Scratch, work: &[OsString]) -> DoNothing {
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(program);
    let process = Process::start("do-nothing", command.arg(MEANT).args(work), scratch);
    let address = eventually("a listening server", async || {
        let output = process.output();
        let address = output.lines().find_map(|l| l.strip_prefix(LISTENING));
        address.map(str::to_owned)
    })
    .await;
    DoNothing { process, address }
}

/// The arguments that make it verify the signature of `token`, for every check.
pub fn work(scratch: &Scratch, key: &SigningKey, token: &str) -> [OsString; 2] {
    // As a configuration names it: `{ pem_file: "/..." }`.
    let keys = key.write(scratch);
    let pem = keys.split('"').nth(1).unwrap();
    [pem.into(), scratch.write("work.token", token).into()]
}

/// Whether this process was started to be the server.
pub fn is_meant() -> bool {
    std::env::args().nth(1).as_deref() == Some(MEANT)
}

/// Is the server, until it is killed.
pub fn serve() {
    let files: Vec<_> = std::env::args().skip(2).collect();
    let work = match files.as_slice() {
        [pem, token] => Some(Work::read(pem, token)),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let incoming = TcpIncoming::bind(any).unwrap().with_nodelay(Some(true));
        println!("{LISTENING}{}", incoming.local_addr().unwrap());
        let service = AuthorizationServer::new(Service(work));
        let server = Grpc::builder().add_service(service);
        server.serve_with_incoming(incoming).await.unwrap();
    });
}

struct Service(Option<Work>);

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        _request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        if let Some(work) = &self.0 {
            work.verify();
        }
        Ok(Response::new(CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}

/// A signature to verify, with its key read once.
struct Work {
    key: ParsedPublicKey,
    signed: String,
    signature: Vec<u8>,
}

impl Work {
    fn read(pem: &str, token: &str) -> Self {
        let pem = std::fs::read_to_string(pem).unwrap();
        let body: String = pem.lines().filter(|l| !l.starts_with("-----")).collect();
        let der = STANDARD.decode(body).unwrap();
        let token = std::fs::read_to_string(token).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        Self {
            key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).unwrap(),
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).unwrap(),
        }
    }

    fn verify(&self) {
        let verified = self.key.verify_sig(self.signed.as_bytes(), &self.signature);
        verified.unwrap();
    }
}
