//! What can be asked, and how answers look.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use muster_scheduler::vm::WEIGHT_MAX;
use muster_scheduler::{CpuSet, Nanos};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bodies::{CapBody, CpusBody, ErrorBody, ScheduleBody, WeightBody};
use super::{BODY_LEN_MAX, metrics};
use crate::{NodeHandle, Reply, Request, RequestError, Schedule};

/// How many decisions are shown if nobody says.
const DECISIONS: usize = 20;
/// The largest cap: more than any host has.
const CAP_PERCENT_MAX: u32 = 102_400;

/// Everything.
pub(super) fn api(handle: &NodeHandle) -> Router {
    finish(
        Router::new()
            .route("/v1/snapshot", get(snapshot))
            .route("/v1/schedule", put(set_schedule))
            .route("/v1/decisions", get(decisions))
            .route("/v1/switches", get(switches))
            .route("/v1/vms/{name}/weight", put(set_weight))
            .route("/v1/vms/{name}/cap", put(set_cap))
            .route("/v1/vms/{name}/cpus", put(pin_vm))
            .route("/v1/vms/{name}/vcpus/{number}/cpus", put(pin_vcpu))
            .route("/metrics", get(show_metrics)),
        handle,
    )
}

/// What everybody on the host may see.
pub(super) fn metrics_only(handle: &NodeHandle) -> Router {
    finish(Router::new().route("/metrics", get(show_metrics)), handle)
}

fn finish(router: Router<NodeHandle>, handle: &NodeHandle) -> Router {
    let unknown = || async { Fault::new(StatusCode::NOT_FOUND, "there is nothing here") };
    let other = || async {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Fault::new(status, "GET reads, PUT sets: the other one is right here")
    };
    router
        .fallback(unknown)
        .method_not_allowed_fallback(other)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(handle.clone())
}

/// A request that fails.
struct Fault {
    status: StatusCode,
    message: String,
}

impl Fault {
    fn new(status: StatusCode, message: impl ToString) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }

    fn bad(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        // A line is one and plain, whatever was asked for by whatever name.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let error = self.message.chars().map(plain).collect();
        (self.status, json(&ErrorBody { error })).into_response()
    }
}

impl From<RequestError> for Fault {
    fn from(error: RequestError) -> Self {
        let status = match error {
            RequestError::Gone => StatusCode::SERVICE_UNAVAILABLE,
            RequestError::UnknownVm { .. } | RequestError::UnknownVcpu { .. } => {
                StatusCode::NOT_FOUND
            }
            RequestError::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            RequestError::NotBound { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, error)
    }
}

impl From<PathRejection> for Fault {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text())
    }
}

/// What stands in a path: names may be written with `%` and two digits, and those may make no sense.
type InPath<T> = Result<Path<T>, PathRejection>;

/// JSON, and a line's end for those who read it on a terminal.
fn json<T: Serialize>(value: &T) -> Response {
    let mut text = serde_json::to_string(value).expect("our types have names for keys");
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Reads a body, whatever type it says that it has.
fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Fault> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body has more than {BODY_LEN_MAX} bytes");
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        }
        status => Fault::new(status, rejection.body_text()),
    })?;
    serde_json::from_slice(&body).map_err(|error| Fault::bad(format!("the body is wrong: {error}")))
}

/// Asks the manager's thread, beside this one.
async fn ask(handle: NodeHandle, request: Request) -> Result<Reply, Fault> {
    let asked = tokio::task::spawn_blocking(move || handle.ask(request)).await;
    // Either the server ends, or asking has panicked and said so.
    Ok(asked.map_err(|_| RequestError::Gone)??)
}

/// Has something done.
async fn order(handle: NodeHandle, request: Request) -> Result<StatusCode, Fault> {
    match ask(handle, request).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        other => unreachable!("something was to be done: {other:?}"),
    }
}

async fn snapshot(State(handle): State<NodeHandle>) -> Result<Response, Fault> {
    match ask(handle, Request::Snapshot).await? {
        Reply::Snapshot(snapshot) => Ok(json(&snapshot)),
        other => unreachable!("a snapshot was asked for: {other:?}"),
    }
}

async fn show_metrics(State(handle): State<NodeHandle>) -> Result<Response, Fault> {
    match ask(handle, Request::Snapshot).await? {
        Reply::Snapshot(snapshot) => {
            let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
            Ok((kind, metrics::text(&snapshot)).into_response())
        }
        other => unreachable!("a snapshot was asked for: {other:?}"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionsQuery {
    count: Option<usize>,
}

async fn decisions(
    State(handle): State<NodeHandle>,
    query: Result<Query<DecisionsQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let count = query?.count.unwrap_or(DECISIONS);
    match ask(handle, Request::Decisions { count }).await? {
        Reply::Decisions(decisions) => Ok(json(&decisions)),
        other => unreachable!("decisions were asked for: {other:?}"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchesQuery {
    since: Option<Nanos>,
}

async fn switches(
    State(handle): State<NodeHandle>,
    query: Result<Query<SwitchesQuery>, QueryRejection>,
) -> Result<Response, Fault> {
    let since_ns = query?.since.unwrap_or(0);
    match ask(handle, Request::Switches { since_ns }).await? {
        Reply::Switches(switches) => Ok(json(&switches)),
        other => unreachable!("switches were asked for: {other:?}"),
    }
}

async fn set_schedule(
    State(handle): State<NodeHandle>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let ScheduleBody { schedule } = read(body)?;
    let schedule = schedule.parse::<Schedule>().map_err(Fault::bad)?;
    order(handle, Request::SetSchedule(schedule)).await
}

async fn set_weight(
    State(handle): State<NodeHandle>,
    vm: InPath<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let Path(vm) = vm?;
    let WeightBody { weight } = read(body)?;
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(Fault::bad(format!(
            "weight {weight}: allowed are 1 to {WEIGHT_MAX}"
        )));
    }
    order(handle, Request::SetWeight { vm, weight }).await
}

async fn set_cap(
    State(handle): State<NodeHandle>,
    vm: InPath<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let Path(vm) = vm?;
    let CapBody { percent } = read(body)?;
    if percent.is_some_and(|percent| !(1..=CAP_PERCENT_MAX).contains(&percent)) {
        return Err(Fault::bad(format!(
            "a cap is 1 to {CAP_PERCENT_MAX} percent of one CPU, or null for none"
        )));
    }
    order(handle, Request::SetCap { vm, percent }).await
}

async fn pin_vm(
    State(handle): State<NodeHandle>,
    vm: InPath<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let Path(vm) = vm?;
    pin(handle, vm, None, body).await
}

async fn pin_vcpu(
    State(handle): State<NodeHandle>,
    path: InPath<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let Path((vm, number)) = path?;
    let vcpu = number
        .parse::<u32>()
        .map_err(|_| Fault::bad(format!("{number:?} is no vCPU's number")))?;
    pin(handle, vm, Some(vcpu), body).await
}

async fn pin(
    handle: NodeHandle,
    vm: String,
    vcpu: Option<u32>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Fault> {
    let CpusBody { cpus } = read(body)?;
    let cpus = cpus.parse::<CpuSet>().map_err(Fault::bad)?;
    order(handle, Request::Pin { vm, vcpu, cpus }).await
}
