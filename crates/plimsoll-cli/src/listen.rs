//! Addresses as options tell them, and sockets that wait there for connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// Connections that wait to be accepted, as far as the system allows so many:
/// what std asks for is full after a moment in which nobody came to accept.
const BACKLOG: i32 = 4096;

/// Listens there. Every address of IPv6 is every one of IPv4, too, whatever
/// the system's default is, and those of IPv4 alone where there is no IPv6.
fn on(at: SocketAddr) -> io::Result<TcpListener> {
    let everywhere = at.is_ipv6() && at.ip().is_unspecified();
    match open(at) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if everywhere => {
            Ok(open((Ipv4Addr::UNSPECIFIED, at.port()).into())?)
        }
        opened => Ok(opened?),
    }
}

fn open(at: SocketAddr) -> rustix::io::Result<TcpListener> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A port that was served a moment ago is free again, as std has it.
    set_socket_reuseaddr(&socket, true)?;
    if at.is_ipv6() && at.ip().is_unspecified() {
        set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &at)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The address to listen at; `:8080` is every one of the machine's.
///
/// # Errors
///
/// What would be right.
pub(crate) fn place(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let found = lookup(&whole)?;
    found.first().copied().ok_or_else(|| "the name has no address".into())
}

/// The address that an option tells to listen at.
///
/// # Errors
///
/// The sentence to print.
pub(crate) fn address(option: &str, text: &str) -> Result<SocketAddr, String> {
    place(text).map_err(|sentence| format!("{option} '{text}': {sentence}"))
}

/// The addresses of what is told as `HOST:PORT`.
///
/// # Errors
///
/// What would be right, or why the name is not known.
pub(crate) fn lookup(text: &str) -> Result<Vec<SocketAddr>, String> {
    check(text)?;
    let found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    Ok(found.collect())
}

/// Whether it is `HOST:PORT`.
///
/// # Errors
///
/// What would be right.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    // A slash is of a URL: no name has one.
    if port.is_none_or(|port| port.parse::<u16>().is_err()) || text.contains('/') {
        return Err("it is HOST:PORT with a port up to 65535, such as 127.0.0.1:8080".into());
    }
    Ok(())
}

/// Listens there, as an option tells.
///
/// # Errors
///
/// The sentence to print.
pub(crate) fn listener(option: &str, at: SocketAddr) -> Result<TcpListener, String> {
    on(at).map_err(|error| format!("{option} {at}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_address_is_of_ipv4_too() {
        let listener = on((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        if listener.local_addr().unwrap().is_ipv6() {
            assert!(!rustix::net::sockopt::ipv6_v6only(&listener).unwrap());
        }
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    /// More than the 128 that std asks for may wait to be accepted.
    #[test]
    fn a_burst_of_connections_finds_room() {
        let listener = on((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let at = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&at, Duration::from_secs(1));
        let burst: Result<Vec<_>, _> = (0..200).map(|_| connect()).collect();
        assert!(burst.is_ok(), "{burst:?}");
    }

    #[test]
    fn addresses() {
        assert_eq!(address("--listen", ":8080").unwrap(), "[::]:8080".parse().unwrap());
        assert_eq!(address("--listen", "127.0.0.1:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        for bad in ["", ":", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a b:1", "::"] {
            let error = address("--listen", bad).unwrap_err();
            assert!(error.starts_with(&format!("--listen '{bad}': ")), "{error}");
        }
    }
}
