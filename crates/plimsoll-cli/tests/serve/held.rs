//! `WebSocket`s by the thousand, held open while the proxy is told other settings.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::proxy::Proxy;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n";
const AGREE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

const BACKENDS: usize = 3;

#[test]
fn tunnels_stay_open_and_counted_through_reloads() {
    hold(100, 5);
}

/// The long form: `scripts/long/serve-reloads`.
#[test]
#[ignore = "takes a minute"]
fn as_many_tunnels_as_may_be() {
    // Two descriptors each, on either side, and some for all the rest.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let each = (usize::try_from(descriptors).unwrap() - 200) / 2 / BACKENDS;
    // So many connections of clients are allowed, and source ports there are to be had.
    hold(each.min(3330), 50);
}

/// So many tunnels to each of three backends, through so many reloads.
fn hold(each: usize, reloads: usize) {
    let runtime = Runtime::new().unwrap();
    let backends: Vec<_> = (0..BACKENDS).map(|_| runtime.block_on(echoing())).collect();
    let to = |capacity: usize| {
        let at: Vec<_> = backends.iter().map(|at| format!("\"{at}\"")).collect();
        let at = at.join(", ");
        format!("[pool.web]\nto = [{at}]\ncapacity = {capacity}\nno_health = true\n")
    };
    let proxy = Proxy::told(&to(each));
    let all = each * BACKENDS;
    let before = proxy.memory_kib();
    let mut tunnels: Vec<_> = (0..all).map(|_| runtime.block_on(tunnel(proxy.address))).collect();
    let pending = || usize::try_from(proxy.pending()).unwrap();
    assert_eq!(pending(), all);
    let bytes = (proxy.memory_kib() - before) * 1024 / all as u64;
    for round in 0..reloads {
        // Below what is open, too: that finishes first.
        proxy.write(&to(if round % 2 == 0 { each / 2 } else { each + round }));
        assert_eq!(proxy.reload().0, 200);
        assert_eq!(pending(), all);
        for nth in 0..10 {
            let one = (round * 10 + nth) * 7 % all;
            runtime.block_on(echo(&mut tunnels[one]));
        }
    }
    let workers = proxy.workers();
    for worker in workers["workers"].as_array().unwrap() {
        assert_eq!(worker["pending"].as_u64(), Some(each as u64), "{workers}");
    }
    runtime.block_on(async {
        for tunnel in &mut tunnels {
            echo(tunnel).await;
        }
    });
    println!("{all} tunnels through {reloads} reloads, {bytes} bytes of the proxy's memory each");
    // As many as are closed are free.
    tunnels.truncate(all / 3);
    proxy.until("so many are left", |proxy| proxy.pending() == (all / 3) as u64);
    drop(tunnels);
    proxy.finish();
}

/// A backend that agrees to switch, and sends back what comes.
async fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                stream.write_all(AGREE).await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    at
}

async fn tunnel(at: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

async fn echo(tunnel: &mut TcpStream) {
    let said = fastrand::u64(..).to_be_bytes();
    tunnel.write_all(&said).await.unwrap();
    let mut heard = [0; 8];
    let heard = tokio::time::timeout(Duration::from_secs(10), tunnel.read_exact(&mut heard));
    heard.await.expect("it comes back").unwrap();
}
