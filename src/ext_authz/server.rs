//! `envoy.service.auth.v3.Authorization` over gRPC, by hand.
//!
//! What would be generated answers a message that it cannot read, or that is too large, with an error of the call before
//! we see it: uncounted, unlogged, and for a proxy with `failure_mode_allow` a reason to let the request pass.

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

use super::memory_budget::{MemoryBudget, Reservation};
use super::message::{self, Unreadable};
use super::service::ExtAuthz;
use super::wire::{CheckRequest, CheckResponse};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a request costs by itself: its state in h2 and hyper, its headers, the answer. 24,000 requests without a window for
/// their answers took 7.5 KiB each.
const REQUEST_BYTES: usize = 8 << 10;

/// The gRPC service.
#[derive(Clone)]
pub struct CheckServer {
    service: Arc<ExtAuthz>,
    max_message: usize,
    budget: MemoryBudget,
}

impl CheckServer {
    /// Serves `service`, with messages of at most `max_message` bytes, as long as the `budget` has memory for requests. The
    /// extensions of a request have the [`ConnectionLoad`](super::memory_budget::ConnectionLoad) of its connection.
    pub fn new(service: ExtAuthz, max_message: usize, budget: MemoryBudget) -> Self {
        Self {
            service: Arc::new(service),
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
        let body = request.into_body();
        let message = message::read(body, self.max_message, &self.budget, &load).await;
        let decode = |m| CheckRequest::decode(m).map_err(Unreadable::Undecodable);
        let answer = match message.and_then(decode) {
            Ok(request) => self.service.check(&request).await?,
            Err(Unreadable::NoMemory) => return Err(self.service.overloaded()),
            Err(Unreadable::Gone) => return Err(Status::cancelled("")),
            Err(why) => self.service.unreadable(&why),
        };
        Ok((answer, reservation))
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
                // Headers only, which no window of the caller's can hold back.
                Err(status) => status.into_http(),
            })
        })
    }
}

/// One message and the status `OK`. The reservation of the request is held until all of it has been sent.
fn respond(answer: &CheckResponse, reservation: Reservation) -> Response<body::Body> {
    let length = answer.encoded_len();
    let mut message = BytesMut::with_capacity(5 + length);
    message.put_u8(0);
    // An answer is a few hundred bytes.
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // It fails only where the buffer is full, and the buffer grows.
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
