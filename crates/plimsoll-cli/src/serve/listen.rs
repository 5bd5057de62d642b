//! Sockets that wait for connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// Connections that wait to be accepted, as far as the system allows so many:
/// what std asks for is full after a moment in which nobody came to accept.
const BACKLOG: i32 = 4096;

/// Listens there. Every address of IPv6 is every one of IPv4, too, whatever
/// the system's default is, and those of IPv4 alone where there is no IPv6.
pub(super) fn on(at: SocketAddr) -> io::Result<TcpListener> {
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
}
