//! What an idle connection costs: the memory of the proxy's processes for each
//! of 10,000 clients that have asked once and stay.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use plimsoll_bench::{Report, Rounds};

use crate::backends::Backends;
use crate::client::Client;
use crate::peers::{Kind, Proxy, Setup};

const CASE: &str = "10,000 idle connections";
const CONNECTIONS: usize = 10_000;
/// Requests under way while they connect.
const AT_ONCE: usize = 50;
/// A proxy's rest before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// More connections than plimsoll takes unless told.
const OPTIONS: [&str; 2] = ["--max-connections", "20000"];

pub(crate) fn measure(report: &mut Report, only: &str, cores: usize) -> io::Result<()> {
    if !CASE.contains(only) {
        return Ok(());
    }
    let backends = Backends::start(2)?;
    let mut systems: Vec<Rounds<'_, 2>> = Vec::new();
    for (name, kind) in
        [("plimsoll", Kind::Plimsoll), ("nginx", Kind::Nginx), ("HAProxy", Kind::Haproxy)]
    {
        let ports = &backends.ports;
        let round = move || round(kind, cores, ports).expect("connections");
        systems.push((name, Box::new(round)));
    }
    let metrics = [("memory a connection", "KiB"), ("memory of all", "MiB")];
    report.measure_all(CASE, metrics, &mut systems);
    Ok(())
}

/// What each connection adds, in KiB, and what all of the proxy is then, in
/// MiB: some get memory for connections when they start.
fn round(kind: Kind, cores: usize, backends: &[u16]) -> io::Result<[f64; 2]> {
    let proxy = Proxy::start(Setup { options: &OPTIONS, ..Setup::new(kind, cores, backends) })?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What the first requests bring about is not the connections'.
        let first = connect(to, AT_ONCE).await?;
        tokio::time::sleep(SETTLE).await;
        let before = proxy.memory_kib();
        let mut clients = Vec::with_capacity(CONNECTIONS);
        while clients.len() < CONNECTIONS {
            clients.append(&mut connect(to, AT_ONCE).await?);
        }
        tokio::time::sleep(SETTLE).await;
        let after = proxy.memory_kib();
        let open = clients.iter().chain(&first).filter(|client| client.is_sound()).count();
        if open < clients.len() + first.len() {
            return Err(io::Error::other(format!("{open} connections are left")));
        }
        #[expect(clippy::cast_precision_loss, reason = "10,000")]
        let count = clients.len() as f64;
        Ok([(after - before) / count, after / 1024.0])
    })
}

/// Clients that have asked once, all at a time.
async fn connect(to: SocketAddr, count: usize) -> io::Result<Vec<Client>> {
    let one = move || async move {
        let mut client = Client::connect(IpAddr::V4(Ipv4Addr::UNSPECIFIED), to).await?;
        let reply = client.ask("/12").await?;
        if reply.status != 200 || !reply.keep {
            return Err(io::Error::other(format!("status {}", reply.status)));
        }
        Ok(client)
    };
    let asked: Vec<_> = (0..count).map(|_| tokio::spawn(one())).collect();
    let mut clients = Vec::with_capacity(count);
    for client in asked {
        clients.push(client.await.map_err(io::Error::other)??);
    }
    Ok(clients)
}
