//! HTTP/2 by prior knowledge.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;

use crate::backend::{Backend, Then, nobody, respond, say};
use crate::frames::{self, END_STREAM, Frames, HEADERS, PREFACE};
use crate::proxy::Proxy;

pub(crate) type Client = SendRequest<Full<Bytes>>;

/// A body of which nothing comes.
struct Unending;

impl Body for Unending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Runs a client's side; its connection ends with it.
pub(crate) fn with_client<F: Future>(
    to: SocketAddr,
    client: impl FnOnce(Client) -> F,
) -> F::Output {
    with_body_client(to, client)
}

/// As [`with_client`], with bodies of any kind.
fn with_body_client<B, F>(to: SocketAddr, client: impl FnOnce(SendRequest<B>) -> F) -> F::Output
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    F: Future,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        // How it ends is for each test to see in its answers.
        tokio::spawn(async { drop(connection.await) });
        client(sender).await
    })
}

pub(crate) fn request(target: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("http://test{target}");
    Request::post(uri).body(Full::new(body.into())).unwrap()
}

pub(crate) async fn whole(response: Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn a_request_and_its_answer() {
    let backend = Backend::start(|seen, stream| respond(stream, &seen.body));
    let proxy = Proxy::over(&[&backend], &[]);
    let body: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    with_client(proxy.address, async |mut client| {
        let response = client.send_request(request("/a?b", body.clone())).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert_eq!(response.headers()["via"], "1.1 plimsoll");
        assert!(whole(response).await == body);
    });
    let seen = &backend.seen()[0];
    assert_eq!((seen.target(), seen.field("host")), ("/a?b", Some("test")));
    assert_eq!(seen.field("via"), Some("2.0 plimsoll"));
    proxy.finish();
}

/// As on HTTP/1, but that nobody says 100: the client is not to wait for it.
#[test]
fn only_100_continue_may_be_expected() {
    let backend = Backend::start(|seen, stream| respond(stream, &seen.body));
    let proxy = Proxy::over(&[&backend], &[]);
    with_client(proxy.address, async |mut client| {
        for (expected, status) in [("100-Continue", 200), ("something", 417)] {
            let mut request = request("/", "body");
            request.headers_mut().insert("expect", expected.parse().unwrap());
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{expected}");
        }
    });
    let seen = backend.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].field("expect"), &*seen[0].body), (None, &b"body"[..]));
    proxy.finish();
}

/// `--header-timeout` is HTTP/1's.
#[test]
fn a_head_without_its_end_is_no_request() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--idle-timeout", "0.3"]);
    let mut frames = Frames::connect(proxy.address);
    frames.send(HEADERS, END_STREAM, 1, &frames::request("GET", &[]));
    // An end of the proxy's, which waits for the client to agree, but not for long.
    assert_eq!(frames.ends(), Some(0));
    proxy.finish();
}

#[test]
fn crumbs_of_a_cookie_are_one_field_for_the_backend() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    with_client(proxy.address, async |mut client| {
        let mut request = request("/", "");
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), 200);
    });
    assert_eq!(backend.seen()[0].field("cookie"), Some("a=1; b=2"));
    proxy.finish();
}

#[test]
fn streams_of_one_connection_run_side_by_side_within_capacity() {
    let backend = Backend::start(|seen, stream| {
        thread::sleep(Duration::from_millis(2));
        respond(stream, &seen.body)
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "5"]);
    with_client(proxy.address, async |client| {
        let streams = (0..100).map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let response = client.send_request(request("/", n.to_string())).await.unwrap();
                assert_eq!(whole(response).await, n.to_string());
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.await.unwrap();
        }
    });
    proxy.finish();
    assert!(backend.most_active() <= 5 && backend.most_open() <= 5);
    assert!(backend.most_active() > 1, "they run side by side");
}

#[test]
fn a_body_that_breaks_off_resets_its_stream_alone() {
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/breaks" {
            say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            return Then::Close;
        }
        respond(stream, b"well")
    });
    let proxy = Proxy::over(&[&backend], &[]);
    with_client(proxy.address, async |mut client| {
        let response = client.send_request(request("/breaks", "")).await.unwrap();
        assert!(response.into_body().collect().await.is_err(), "never a clean end");
        let response = client.send_request(request("/", "")).await.unwrap();
        assert_eq!(whole(response).await, "well");
    });
    proxy.finish();
}

#[test]
fn c1_a_stream_that_is_reset_leaves_the_line() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        let told = wait.lock().unwrap().recv();
        assert!(told.is_ok());
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    with_client(proxy.address, async |client| {
        let mut sender = client.clone();
        let first = tokio::spawn(async move { sender.send_request(request("/", "")).await });
        let until = async |pending: u64, line: u64| {
            while (proxy.pending(), proxy.in_line()) != (pending, line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        until(1, 0).await;
        let mut sender = client.clone();
        let second = tokio::spawn(async move { sender.send_request(request("/", "")).await });
        until(1, 1).await;
        second.abort();
        until(1, 0).await;
        go.send(()).unwrap();
        let response = first.await.unwrap().unwrap();
        assert_eq!(whole(response).await, "x");
    });
    assert_eq!(backend.seen().len(), 1);
    proxy.finish();
}

/// C5: streams opened and reset as fast as can be.
#[test]
fn c5_a_rapid_reset_leaves_nothing_behind() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(1));
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "4", "--line", "64"]);
    with_client(proxy.address, async |client| {
        for _ in 0..5_000 {
            let mut sender = client.clone();
            let stream =
                tokio::spawn(async move { drop(sender.send_request(request("/", "")).await) });
            tokio::task::yield_now().await;
            stream.abort();
        }
    });
    // Others are served as before.
    assert_eq!(proxy.get("/").text(), "x");
    proxy.finish();
}

/// C7: an answer whose window stays shut does not hold its backend for ever.
#[test]
fn c7_a_stalled_stream_is_given_up() {
    let body = vec![b'x'; 20_000_000];
    let backend = Backend::start(move |_, stream| respond(stream, &body));
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.5"]);
    with_client(proxy.address, async |mut client| {
        let response = client.send_request(request("/", "")).await.unwrap();
        // Held, and not read.
        while proxy.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(response);
    });
    proxy.finish();
}

/// C3: as strictly as HTTP/1.
#[test]
fn c3_a_host_that_is_none_is_refused() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    with_client(proxy.address, async |mut client| {
        for host in ["a,b", "a:", "a:99999"] {
            let mut request = Request::new(Full::new(Bytes::new()));
            *request.uri_mut() = format!("http://{host}/").parse().unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status().as_u16(), 400, "{host}");
        }
        let mut request = Request::new(Full::new(Bytes::new()));
        request.headers_mut().insert("host", "a,b".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 400);
    });
    assert_eq!(backend.seen().len(), 0);
    proxy.finish();
}

/// C7: as much holds for what the proxy says itself.
#[test]
fn c7_a_stalled_refusal_is_given_up() {
    let proxy = Proxy::at(&[nobody()], &["--body-timeout", "0.3"]);
    let mut wire = proxy.connect();
    // No answer's body has room: a window of 0.
    wire.send(PREFACE);
    wire.send([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // GET http://t/, with both ends.
    wire.send([0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b't']);
    proxy.until("given up", |proxy| proxy.workers()["requests"] == 1);
    drop(wire);
    proxy.finish();
}

/// hyper waits for the client to agree to the end of its connection.
#[test]
fn a_client_that_does_not_say_goodbye_is_left() {
    let backend = Backend::says("x");
    for drains in [false, true] {
        let mut proxy = Proxy::over(&[&backend], &["--idle-timeout", "0.3"]);
        let mut wire = proxy.connect();
        wire.send(PREFACE);
        wire.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        if drains {
            proxy.signal(Signal::TERM);
            assert_eq!(proxy.wait().code(), Some(0));
        } else {
            wire.until_closed();
            proxy.finish();
        }
    }
}

#[test]
fn a_connection_with_short_requests_is_not_idle() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--idle-timeout", "0.4"]);
    with_client(proxy.address, async |mut client| {
        for _ in 0..30 {
            let response = client.send_request(request("/", "")).await.unwrap();
            assert_eq!(whole(response).await, "x");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    proxy.finish();
}

/// C2: hyper knows no limit for a body that stops.
#[test]
fn c2_a_body_that_stops_is_the_clients_fault() {
    let backend = Backend::says("x");
    let options = ["--body-timeout", "0.4", "--response-timeout", "0.2"];
    let proxy = Proxy::over(&[&backend], &options);
    with_body_client(proxy.address, async |mut client: SendRequest<Unending>| {
        let request = Request::post("http://test/").body(Unending).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 408);
    });
    assert_eq!(proxy.workers()["workers"][0]["failed"], 0);
    proxy.finish();
}

#[test]
fn p4_a_drain_finishes_streams_and_ends_the_connection() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, b"done")
    });
    let mut proxy = Proxy::over(&[&backend], &[]);
    with_client(proxy.address, async |mut client| {
        let answer = client.send_request(request("/", ""));
        let stop = async {
            while proxy.pending() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.signal(Signal::TERM);
        };
        let (response, ()) = tokio::join!(answer, stop);
        assert_eq!(whole(response.unwrap()).await, "done");
    });
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}

#[test]
fn a_connection_has_so_many_requests_and_no_more() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--max-requests", "3"]);
    with_client(proxy.address, async |mut client| {
        let mut served = 0;
        while served < 100
            && let Ok(response) = client.send_request(request("/", "")).await
        {
            assert_eq!(whole(response).await, "x");
            served += 1;
        }
        assert!((3..10).contains(&served), "{served}");
    });
    proxy.finish();
}

/// A client that knows the limit holds back what is beyond it, and loses nothing.
#[test]
fn a_connection_has_so_many_streams_at_a_time() {
    let backend = Backend::start(|seen, stream| {
        thread::sleep(Duration::from_millis(2));
        respond(stream, &seen.body)
    });
    let proxy = Proxy::over(&[&backend], &["--max-streams", "4"]);
    with_client(proxy.address, async |mut client| {
        // Behind this one, the client knows.
        assert_eq!(client.send_request(request("/", "")).await.unwrap().status().as_u16(), 200);
        let streams = (0..40).map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let response = client.send_request(request("/", n.to_string())).await.unwrap();
                assert_eq!(whole(response).await, n.to_string());
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.await.unwrap();
        }
    });
    proxy.finish();
    assert_eq!(backend.seen().len(), 41);
    assert!((2..=4).contains(&backend.most_active()), "{} at once", backend.most_active());
}
