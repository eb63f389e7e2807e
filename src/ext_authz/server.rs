//! `envoy.service.auth.v3.Authorization` over gRPC: what would be generated, with our own messages (`wire.rs`).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::service::ExtAuthz;
use super::wire::{CheckRequest, CheckResponse};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The gRPC service.
#[derive(Clone)]
pub struct CheckServer {
    service: Arc<ExtAuthz>,
    max_message: usize,
}

impl CheckServer {
    /// Serves `service`, to which no message larger than `max_message` bytes comes.
    pub fn new(service: ExtAuthz, max_message: usize) -> Self {
        Self {
            service: Arc::new(service),
            max_message,
        }
    }
}

impl NamedService for CheckServer {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<Request<B>> for CheckServer
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Response<tonic::body::Body>;
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
        let method = Check(Arc::clone(&self.service));
        let codec = ProstCodec::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(self.max_message);
        Box::pin(async move { Ok(grpc.unary(method, request).await) })
    }
}

struct Check(Arc<ExtAuthz>);

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = BoxFuture<tonic::Response<CheckResponse>, Status>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            let answer = service.check(request.get_ref()).await?;
            Ok(tonic::Response::new(answer))
        })
    }
}
