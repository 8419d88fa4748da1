//! How people and programs ask a node manager: HTTP with JSON on a Unix socket.
//!
//! Problem: `muster sched`, a monitoring system and a shell script with curl all want to look at the
//! node manager and to change what it does, and none of them may get in the way of a switch.
//!
//! Approach: a thread of its own with an async runtime of its own. A request becomes one question to the
//! manager's thread ([`NodeHandle`]), which is answered between two decisions. Nothing else is shared.
//! Who may connect is a matter of the socket's and its directory's permissions.
//!
//! Bounds: so many connections at a time, others wait; a connection has so long for a request's head,
//! and so long to live; a body is so long at most.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::NodeHandle;

pub use offline::OfflineApi;

pub mod bodies;
mod metrics;
mod offline;
mod routes;

/// The longest body of a request.
pub const BODY_LEN_MAX: usize = 64 << 10;

/// Connections that are served at a time, on each socket.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be used for new requests.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(20);
/// How long the last one may take then.
const LAST_REQUEST: Duration = Duration::from_secs(10);
/// How long to wait before connections are accepted again, if the host refused one.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long a question that is under way may keep the server from ending.
const ENDING: Duration = Duration::from_millis(200);

/// Where to be asked.
#[derive(Debug, Clone)]
pub struct ApiSpec {
    /// The Unix socket. Nothing is there yet.
    pub socket: PathBuf,
    /// Where to show the metrics, and nothing else, to everybody on this host.
    pub metrics: Option<SocketAddr>,
}

/// The server cannot be started.
#[derive(Debug, Error)]
pub enum ApiError {
    /// No socket.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No TCP socket.
    #[error("cannot listen on {address} for metrics")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Everybody in the network would read of this host's VMs.
    #[error(
        "metrics on {0}: only addresses of this host alone are allowed, such as 127.0.0.1:9273"
    )]
    NotLoopback(SocketAddr),
    /// No thread, or nothing to wait with.
    #[error("cannot start the API's thread")]
    Thread(#[source] io::Error),
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    metrics: Option<SocketAddr>,
}

impl ApiServer {
    /// Starts it. Connections are accepted from now on.
    pub fn start(spec: &ApiSpec, handle: &NodeHandle) -> Result<Self, ApiError> {
        let socket = listen(&spec.socket).map_err(|source| ApiError::Socket {
            path: spec.socket.clone(),
            source,
        })?;
        let metrics = spec.metrics.map(listen_for_metrics).transpose()?;
        let address = metrics.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .thread_name("api-ask")
            .build()
            .map_err(ApiError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (api, shown) = (routes::api(handle), routes::metrics_only(handle));
        let serve = move || {
            let _inside = runtime.enter();
            let served = spawn_unix(&runtime, socket, api)
                .and_then(|()| metrics.map_or(Ok(()), |tcp| spawn_tcp(&runtime, tcp, shown)));
            match served {
                // Nothing is sent: either way, it is over.
                Ok(()) => drop(runtime.block_on(stopped)),
                Err(error) => tracing::error!(%error, "the API is not served"),
            }
            drop(_inside);
            runtime.shutdown_timeout(ENDING);
        };
        let thread = thread::Builder::new()
            .name("api".to_owned())
            .spawn(serve)
            .map_err(ApiError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            metrics: address,
        })
    }

    /// Where metrics are shown over TCP.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said why, if it panicked.
            let _ = thread.join();
        }
    }
}

/// Listens where only this user can connect.
fn listen(path: &PathBuf) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, ApiError> {
    if !address.ip().is_loopback() {
        return Err(ApiError::NotLoopback(address));
    }
    let listener = TcpListener::bind(address);
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| ApiError::Metrics { address, source })
}

/// To be called inside the runtime.
fn spawn_unix(runtime: &Runtime, socket: UnixListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(socket)?;
    runtime.spawn(async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = free(&slots).await;
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, router.clone(), slot))),
                Err(error) => wait_after(error).await,
            }
        }
    });
    Ok(())
}

/// To be called inside the runtime.
fn spawn_tcp(runtime: &Runtime, socket: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(socket)?;
    runtime.spawn(async move {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = free(&slots).await;
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, router.clone(), slot))),
                Err(error) => wait_after(error).await,
            }
        }
    });
    Ok(())
}

async fn free(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let slot = Arc::clone(slots).acquire_owned().await;
    slot.expect("nobody closes it")
}

async fn wait_after(error: io::Error) {
    tracing::warn!(%error, "cannot accept a connection to the API");
    tokio::time::sleep(ACCEPT_AGAIN).await;
}

/// Serves a connection to its end, which is not far.
async fn serve<S>(stream: S, router: Router, _slot: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BODY_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // What goes wrong on a connection is its other end's matter.
    if timeout(CONNECTION_AGE_MAX, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST, connection).await;
    }
}

#[cfg(test)]
mod tests;
