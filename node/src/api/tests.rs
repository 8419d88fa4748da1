use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use muster_scheduler::CpuSet;
use tempfile::TempDir;

use super::*;
use crate::{Client, ClientError, testing};

struct Api {
    dir: TempDir,
    server: ApiServer,
    orders: Receiver<String>,
}

impl Api {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (handle, orders) = testing::manager();
        let spec = ApiSpec {
            socket: dir.path().join("api.sock"),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        let server = ApiServer::start(&spec, &handle).unwrap();
        Self {
            dir,
            server,
            orders,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.dir.path()).unwrap()
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("api.sock")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// The status and the body of what is answered to a request that is written by hand.
    fn say(&self, head: &str, body: &str) -> (u16, String) {
        exchange(self.connect(), head, body)
    }

    fn put(&self, path: &str, body: &str) -> (u16, String) {
        self.say(&format!("PUT {path}"), body)
    }
}

fn exchange<S: io::Read + io::Write>(mut stream: S, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    // The server may have heard enough before all is said.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn everything_that_can_be_read_arrives_as_it_is() {
    let api = Api::start();
    let client = api.client();
    assert_eq!(client.snapshot().unwrap(), testing::snapshot());
    assert_eq!(client.decisions(3).unwrap().len(), 3);
    assert_eq!(client.switches(0).unwrap(), testing::switches());
    assert_eq!(
        client.switches(7_000_010).unwrap(),
        testing::switches()[7..]
    );
    let (status, body) = api.say("GET /v1/decisions", "");
    assert_eq!((status, body.matches("at_ns").count()), (200, 20));
    let (status, body) = api.say("GET /v1/switches", "");
    assert_eq!((status, body.matches("done_ns").count()), (200, 9));
    let (status, body) = api.say("GET /v1/snapshot", "");
    assert!(status == 200 && body.ends_with("}\n"));
}

#[test]
fn everything_that_can_be_set_reaches_the_manager() {
    let api = Api::start();
    let client = api.client();
    let order = || api.orders.recv_timeout(Duration::from_secs(10)).unwrap();
    client.set_schedule("gang+smart").unwrap();
    assert!(order().starts_with("SetSchedule(Policy("));
    client.set_weight("web", 512).unwrap();
    assert_eq!(order(), "SetWeight { vm: \"web\", weight: 512 }");
    client.set_cap("web", Some(150)).unwrap();
    assert_eq!(order(), "SetCap { vm: \"web\", percent: Some(150) }");
    client.set_cap("db", None).unwrap();
    assert_eq!(order(), "SetCap { vm: \"db\", percent: None }");
    let cpus: CpuSet = "0,3".parse().unwrap();
    client.pin("web", Some(1), &cpus).unwrap();
    assert_eq!(order(), "Pin { vm: \"web\", vcpu: Some(1), cpus: {0,3} }");
    client.pin("web", None, &cpus).unwrap();
    assert_eq!(order(), "Pin { vm: \"web\", vcpu: None, cpus: {0,3} }");
    assert_eq!(
        api.put("/v1/schedule", "{\"schedule\":\"host:pin\"}"),
        (204, String::new())
    );
    assert!(order().starts_with("SetSchedule(Host("));
}

#[test]
fn wrong_requests_get_one_line_of_json_and_change_nothing() {
    let api = Api::start();
    let is_wrong = |(status, body): (u16, String), expected: u16, word: &str| {
        assert_eq!(status, expected, "{body}");
        assert_eq!(body.lines().count(), 1, "{body:?}");
        let error: bodies::ErrorBody = serde_json::from_str(&body).unwrap();
        assert!(error.error.contains(word), "{body} does not say {word:?}");
    };
    for (path, body, status, word) in [
        ("/v1/schedule", "", 400, "the body is wrong"),
        ("/v1/schedule", "{}", 400, "schedule"),
        ("/v1/schedule", "gang", 400, "the body is wrong"),
        ("/v1/schedule", "{\"schedule\":\"gnag\"}", 400, "gnag"),
        (
            "/v1/schedule",
            "{\"schedule\":\"host\",\"x\":1}",
            400,
            "`x`",
        ),
        ("/v1/vms/web/weight", "{\"weight\":0}", 400, "1 to 10000"),
        (
            "/v1/vms/web/weight",
            "{\"weight\":10001}",
            400,
            "1 to 10000",
        ),
        ("/v1/vms/web/weight", "{\"weight\":-1}", 400, "-1"),
        (
            "/v1/vms/web/weight",
            "{\"weight\":666}",
            422,
            "not that one",
        ),
        ("/v1/vms/none/weight", "{\"weight\":1}", 404, "web, db"),
        ("/v1/vms/web/cap", "{}", 400, "percent"),
        ("/v1/vms/web/cap", "{\"percent\":0}", 400, "null for none"),
        ("/v1/vms/none/cap", "{\"percent\":null}", 404, "web, db"),
        ("/v1/vms/web/cpus", "{\"cpus\":\"3-1\"}", 400, "3-1"),
        (
            "/v1/vms/web/cpus",
            "{\"cpus\":\"7\"}",
            409,
            "it stays as it was",
        ),
        (
            "/v1/vms/web/vcpus/2/cpus",
            "{\"cpus\":\"0\"}",
            404,
            "no vCPU 2",
        ),
        ("/v1/vms/web/vcpus/one/cpus", "{\"cpus\":\"0\"}", 400, "one"),
        ("/v1/vms/%84/cap", "{\"percent\":null}", 400, "UTF-8"),
        (
            "/v1/vms/web/vcpus/%84/cpus",
            "{\"cpus\":\"0\"}",
            400,
            "UTF-8",
        ),
        ("/v1/vms/web", "{}", 404, "nothing here"),
        ("/v2/schedule", "{}", 404, "nothing here"),
        ("/v1/snapshot", "{}", 405, "GET reads"),
    ] {
        is_wrong(api.put(path, body), status, word);
    }
    is_wrong(api.say("GET /v1/decisions?count=many", ""), 400, "count");
    is_wrong(api.say("GET /v1/switches?until=1", ""), 400, "until");
    is_wrong(api.say("POST /v1/schedule", "{}"), 405, "PUT sets");
    let long = format!("{{\"schedule\":\"{}\"}}", "x".repeat(BODY_LEN_MAX));
    is_wrong(api.put("/v1/schedule", &long), 413, "65536 bytes");
    assert!(api.orders.try_recv().is_err(), "something was ordered");
}

#[test]
fn the_client_tells_mistakes_from_refusals() {
    let api = Api::start();
    let client = api.client();
    let senseless = client.set_weight("none", 1).unwrap_err();
    assert!(
        matches!(senseless, ClientError::Senseless(_)),
        "{senseless:?}"
    );
    let refused = client.set_weight("web", 666).unwrap_err();
    assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
    let nobody = Client::new(&api.dir.path().join("nobody")).unwrap();
    let absent = nobody.snapshot().unwrap_err().to_string();
    assert!(absent.contains("no node manager runs at"), "{absent}");
    let (socket, server) = (api.dir.path().join("api.sock"), api.server);
    drop(server);
    assert!(socket.exists());
    let client = Client::new(api.dir.path()).unwrap();
    let absent = client.snapshot().unwrap_err();
    assert!(matches!(absent, ClientError::Absent { .. }), "{absent:?}");
}

#[test]
fn metrics_are_shown_on_both_sockets_and_nothing_else_over_tcp() {
    let api = Api::start();
    let (status, body) = api.say("GET /metrics", "");
    assert!(status == 200 && body.ends_with("# EOF\n"), "{body}");
    let address = api.server.metrics_address().unwrap();
    let tcp = |head: &str| exchange(TcpStream::connect(address).unwrap(), head, "");
    assert_eq!(tcp("GET /metrics"), (200, body));
    assert_eq!(tcp("GET /v1/snapshot").0, 404);
    assert_eq!(tcp("PUT /v1/schedule").0, 404);
}

#[test]
fn metrics_are_for_this_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, _orders) = testing::manager();
    let spec = ApiSpec {
        socket: dir.path().join("api.sock"),
        metrics: Some(SocketAddr::from(([0, 0, 0, 0], 0))),
    };
    let refused = ApiServer::start(&spec, &handle).unwrap_err();
    assert!(matches!(refused, ApiError::NotLoopback(_)), "{refused}");
}

#[test]
fn only_this_user_may_connect() {
    let api = Api::start();
    let found = fs::metadata(api.dir.path().join("api.sock")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
}

/// Whoever says nothing is cut off, and those who wait behind get their turn.
#[test]
fn silent_connections_keep_nobody_out() {
    let api = Api::start();
    let mut silent: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| api.connect()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /v1/snapshot HTTP/1.1\r\n").unwrap();
    }
    let start = Instant::now();
    let (status, _) = api.say("GET /v1/snapshot", "");
    assert_eq!(status, 200);
    // It had to wait: there was no place left.
    let waited = start.elapsed();
    assert!(waited > HEAD_TIMEOUT / 2, "{waited:?}");
    // But for no longer than a request's head may take, or not much.
    assert!(waited < CONNECTION_AGE_MAX, "{waited:?}");
}

#[test]
fn a_manager_that_has_gone_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, messages) = std::sync::mpsc::channel();
    drop(messages);
    let spec = ApiSpec {
        socket: dir.path().join("api.sock"),
        metrics: None,
    };
    let _server = ApiServer::start(&spec, &NodeHandle::new(sender)).unwrap();
    let stream = UnixStream::connect(&spec.socket).unwrap();
    let (status, body) = exchange(stream, "GET /v1/snapshot", "");
    assert_eq!(
        (status, body.as_str()),
        (503, "{\"error\":\"the node manager does not answer\"}\n")
    );
}
