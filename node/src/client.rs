//! The other end of the API: how a program asks the node manager of this host.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use muster_scheduler::{CpuSet, Nanos};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::api::bodies::{CapBody, CpusBody, ErrorBody, ScheduleBody, WeightBody};
use crate::directory::api_socket;
use crate::snapshot::{Decision, Snapshot, SwitchRecord};

/// How long a request may take, everything included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer: all switches that a node manager keeps, several times over.
const ANSWER_LEN_MAX: usize = 64 << 20;

/// A request has failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no node manager runs at {}: start one with `muster node`, or give its directory with --node",
        directory.display()
    )]
    Absent {
        /// Where.
        directory: PathBuf,
    },
    /// Somebody is there and cannot be reached.
    #[error("cannot reach the node manager at {}", directory.display())]
    Unreachable {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not talk as expected.
    #[error("the node manager at {} does not answer as expected: {reason}", directory.display())]
    Talk {
        /// Where.
        directory: PathBuf,
        /// What happened.
        reason: String,
    },
    /// What was asked for makes no sense to it.
    #[error("{0}")]
    Senseless(String),
    /// It could not do what was asked for.
    #[error("{0}")]
    Refused(String),
}

/// A program's end. Each request has a connection of its own.
#[derive(Debug)]
pub struct Client {
    directory: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// For the node manager with this directory.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            runtime: Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// What there is and how it is.
    pub fn snapshot(&self) -> Result<Snapshot, ClientError> {
        self.get("/v1/snapshot")
    }

    /// The last decisions, the latest last.
    pub fn decisions(&self, count: usize) -> Result<Vec<Decision>, ClientError> {
        self.get(&format!("/v1/decisions?count={count}"))
    }

    /// The switches since a time.
    pub fn switches(&self, since_ns: Nanos) -> Result<Vec<SwitchRecord>, ClientError> {
        self.get(&format!("/v1/switches?since={since_ns}"))
    }

    /// Another schedule.
    pub fn set_schedule(&self, schedule: &str) -> Result<(), ClientError> {
        let schedule = schedule.to_owned();
        self.put("/v1/schedule", &ScheduleBody { schedule })
    }

    /// A VM's share. The name [is one](muster_vmm::node_link::is_name).
    pub fn set_weight(&self, vm: &str, weight: u32) -> Result<(), ClientError> {
        self.put(&format!("/v1/vms/{vm}/weight"), &WeightBody { weight })
    }

    /// The most that a VM may use.
    pub fn set_cap(&self, vm: &str, percent: Option<u32>) -> Result<(), ClientError> {
        self.put(&format!("/v1/vms/{vm}/cap"), &CapBody { percent })
    }

    /// Where a vCPU, or all of a VM's, may run.
    pub fn pin(&self, vm: &str, vcpu: Option<u32>, cpus: &CpuSet) -> Result<(), ClientError> {
        let path = match vcpu {
            Some(vcpu) => format!("/v1/vms/{vm}/vcpus/{vcpu}/cpus"),
            None => format!("/v1/vms/{vm}/cpus"),
        };
        let cpus = cpus.to_string();
        self.put(&path, &CpusBody { cpus })
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.send(Method::GET, path, Bytes::new())?;
        serde_json::from_slice(&answer).map_err(|error| self.talk(error))
    }

    fn put<T: Serialize>(&self, path: &str, body: &T) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.talk(error))?;
        self.send(Method::PUT, path, body.into())?;
        Ok(())
    }

    fn talk(&self, reason: impl ToString) -> ClientError {
        ClientError::Talk {
            directory: self.directory.clone(),
            reason: reason.to_string(),
        }
    }

    fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let talk = async { tokio::time::timeout(TIMEOUT, self.exchange(method, path, body)).await };
        let (status, answer) = self
            .runtime
            .block_on(talk)
            .map_err(|_| self.talk(format!("no answer within {TIMEOUT:?}")))??;
        if status.is_success() {
            return Ok(answer);
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&answer) else {
            return Err(self.talk(status));
        };
        match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Err(ClientError::Senseless(error)),
            _ => Err(ClientError::Refused(error)),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(api_socket(&self.directory)).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.talk(error))?;
        // It moves the bytes, and ends with the sender.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "muster")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.talk(error))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| self.talk(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect();
        let body = body.await.map_err(|error| self.talk(error))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let directory = self.directory.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::Absent { directory }
            }
            _ => ClientError::Unreachable { directory, source },
        }
    }
}
