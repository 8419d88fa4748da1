//! The API without a connection: for tests and fuzzing of what it answers.

use std::io;

use axum::Router;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::Service as _;
use hyper::{Method, Request, Uri};
use hyper_util::service::TowerToHyperService;
use tokio::runtime::{Builder, Runtime};

use super::routes;
use crate::NodeHandle;

/// See the module's head.
#[derive(Debug)]
pub struct OfflineApi {
    router: Router,
    runtime: Runtime,
}

impl OfflineApi {
    /// What `handle`'s node manager would answer.
    pub fn new(handle: &NodeHandle) -> io::Result<Self> {
        Ok(Self {
            router: routes::api(handle),
            runtime: Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// The status and the body of the answer; `None` if no connection would take such a request.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let method: Method = method.parse().ok()?;
        let uri: Uri = path.parse().ok()?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .ok()?;
        let service = TowerToHyperService::new(self.router.clone());
        self.runtime.block_on(async {
            let answer = service.call(request).await.ok()?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.ok()?;
            Some((status, body.to_bytes().to_vec()))
        })
    }
}
