//! `envoy.service.auth.v3.Authorization` over gRPC, written by hand.
//!
//! Generated code answers a message that it cannot decode, or that is too large, with a gRPC error before
//! this module sees it: such a check would be neither counted nor logged, and a proxy with
//! `failure_mode_allow` would let the request pass.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tonic::codegen::{Body, BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Status, body};

use super::decoded::INCLUDED;
use super::memory_budget::{ConnectionLoad, MemoryBudget, Reservation};
use super::message::{self, Message, PREFIX, Unreadable};
use super::service::ExtAuthz;
use super::wire::{CheckRequest, CheckResponse};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The memory that every request reserves: 8 KiB for itself (its state in h2 and hyper, its headers, the
/// answer; 24,000 requests without a window for their answers took 7.5 KiB each), plus what an ordinary
/// message takes.
const REQUEST_BYTES: usize = (8 << 10) + INCLUDED;

/// The gRPC service.
#[derive(Clone)]
pub struct CheckServer {
    service: Arc<ExtAuthz>,
    max_message: usize,
    budget: MemoryBudget,
}

impl CheckServer {
    /// Serves `service`, with messages of at most `max_message` bytes, as long as the `budget` has memory for
    /// requests. The extensions of a request must contain the [`ConnectionLoad`] of its connection.
    pub fn new(service: Arc<ExtAuthz>, max_message: usize, budget: MemoryBudget) -> Self {
        Self {
            service,
            max_message,
            budget,
        }
    }

    async fn check<B: Body>(
        self,
        request: Request<B>,
    ) -> Result<(CheckResponse, Reservation), Status> {
        let load = request.extensions().get().cloned().unwrap_or_default();
        let Some(reservation) = self.budget.reserve(REQUEST_BYTES, &load).await else {
            return Err(self.service.overloaded());
        };
        let answer = match self.read(request.into_body(), &load).await {
            // The message occupies its memory until the check, which may wait for keys and the store, has
            // finished.
            Ok((_message, request)) => self.service.check(&request).await?,
            Err(Unreadable::NoMemory) => return Err(self.service.overloaded()),
            Err(Unreadable::Gone) => return Err(Status::cancelled("")),
            Err(why) => self.service.unreadable(&why),
        };
        Ok((answer, reservation))
    }

    async fn read<B: Body>(
        &self,
        body: B,
        load: &ConnectionLoad,
    ) -> Result<(Message, CheckRequest), Unreadable> {
        let mut message = message::read(body, self.max_message, &self.budget, load).await?;
        let request = message.decode(&self.budget, load).await?;
        Ok((message, request))
    }
}

impl NamedService for CheckServer {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<Request<B>> for CheckServer
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.uri().path() != CHECK {
            let status = Status::new(Code::Unimplemented, "");
            return Box::pin(async { Ok(status.into_http()) });
        }
        let server = self.clone();
        Box::pin(async move {
            Ok(match server.check(request).await {
                Ok((answer, reservation)) => respond(&answer, reservation),
                // Headers only, which the caller's flow-control window cannot hold back.
                Err(status) => status.into_http(),
            })
        })
    }
}

/// Responds with one message and the status `OK`. The reservation of the request is held until everything has
/// been sent.
fn respond(answer: &CheckResponse, reservation: Reservation) -> Response<body::Body> {
    let length = answer.encoded_len();
    let mut message = BytesMut::with_capacity(PREFIX + length);
    message.put_u8(0);
    // An answer is a few hundred bytes.
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Encoding fails only if the buffer is full, and this buffer grows.
    let _ = answer.encode(&mut message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::<Bytes>::from(message.freeze())
        .with_trailers(ready(Some(Ok(trailers))))
        .map_frame(move |frame| {
            let _held = &reservation;
            frame
        });
    let mut response = Response::new(body::Body::new(body));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}
