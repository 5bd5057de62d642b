//! A way to the server that can be cut, or stall.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::server::Server;

/// See the module.
pub(crate) struct Wire {
    port: u16,
    /// What goes over it; nothing can while it is cut.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
    /// Whether nothing comes through to the server, and from it.
    stalls: [Arc<AtomicBool>; 2],
}

impl Wire {
    pub(crate) fn new(server: &Server) -> Self {
        Self::to(server.port())
    }

    /// To what listens on another port of the server's.
    pub(crate) fn to(there: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let stalls: [Arc<AtomicBool>; 2] = Default::default();
        let known = Arc::clone(&streams);
        let [stalls_to, stalls_from] = stalls.clone();
        // It ends with the tests.
        spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Some(known) = &mut *known.lock().unwrap() else { continue };
                let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, there)) else { continue };
                known.extend([here.try_clone().unwrap(), there.try_clone().unwrap()]);
                forward(here.try_clone().unwrap(), there.try_clone().unwrap(), &stalls_to);
                forward(there, here, &stalls_from);
            }
        });
        Self { port, streams, stalls }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().take().into_iter().flatten() {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing comes through, and nobody is told.
    pub(crate) fn stall(&self) {
        self.stalls.iter().for_each(|stalls| stalls.store(true, Ordering::Relaxed));
    }

    /// The same for what goes to the server alone.
    pub(crate) fn stall_to_server(&self) {
        self.stalls[0].store(true, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.stalls.iter().for_each(|stalls| stalls.store(false, Ordering::Relaxed));
        *self.streams.lock().unwrap() = Some(Vec::new());
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, stalls: &Arc<AtomicBool>) {
    let stalls = Arc::clone(stalls);
    spawn(move || {
        let mut some = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut some) {
            while stalls.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5));
            }
            if to.write_all(&some[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
