//! What a backend says behind its body.

use std::fs;

use http_body_util::BodyExt;
use hyper::Method;

use crate::backend::{Backend, say};
use crate::http2::{request, with_client};
use crate::proxy::Proxy;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n\
                        5\r\nhello\r\n0\r\nx-t: behind\r\n\r\n";

/// Asks twice, one request behind the other.
fn asked_twice(ask: impl Fn(&Proxy)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let backend = Backend::start(|_, stream| say(stream, ANSWER));
    let options = ["--threads", "1", "--no-health", "--log-file", file.to_str().unwrap()];
    let proxy = Proxy::over(&[&backend], &options);
    ask(&proxy);
    let logged = || fs::read_to_string(&file).unwrap_or_default();
    proxy.until("logged", |_| logged().lines().count() == 2);
    assert!(!logged().contains("reason="), "{}", logged());
    assert_eq!(proxy.workers()["workers"][0]["failed"], 0);
    assert_eq!(backend.seen().len(), 2);
    assert_eq!(backend.connections(), 1, "a connection with trailers serves again");
    proxy.finish();
}

#[test]
fn trailers_pass_and_their_connection_serves_again() {
    asked_twice(|proxy| {
        let mut wire = proxy.connect();
        for n in 1..=2 {
            wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: TE\r\nTE: trailers\r\n\r\n");
            let response = wire.response();
            assert_eq!((response.status, response.text(), response.whole), (200, "hello", true));
            assert_eq!(response.trailers, "x-t: behind\r\n");
            proxy.until("given back", |proxy| proxy.workers()["workers"][0]["completed"] == n);
        }
    });
}

#[test]
fn trailers_pass_over_http2_and_their_connection_serves_again() {
    asked_twice(|proxy| {
        with_client(proxy.address, async |mut client| {
            for n in 1..=2 {
                let mut request = request("/", "");
                *request.method_mut() = Method::GET;
                let response = client.send_request(request).await.unwrap();
                let read = response.into_body().collect().await.expect("a whole body");
                assert_eq!(read.trailers().expect("trailers")["x-t"], "behind");
                assert_eq!(read.to_bytes(), "hello");
                proxy.until("given back", |proxy| proxy.workers()["workers"][0]["completed"] == n);
            }
        });
    });
}
