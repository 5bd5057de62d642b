//! A way to the server that can be cut.

use std::io::copy;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use crate::server::Server;

/// See the module.
pub(crate) struct Wire {
    port: u16,
    /// What goes over it; nothing can while it is cut.
    streams: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Wire {
    pub(crate) fn new(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let streams = Arc::new(Mutex::new(Some(Vec::new())));
        let (known, there) = (Arc::clone(&streams), server.port());
        // It ends with the tests.
        spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Some(known) = &mut *known.lock().unwrap() else { continue };
                let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, there)) else { continue };
                known.extend([here.try_clone().unwrap(), there.try_clone().unwrap()]);
                forward(here.try_clone().unwrap(), there.try_clone().unwrap());
                forward(there, here);
            }
        });
        Self { port, streams }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().take().into_iter().flatten() {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        *self.streams.lock().unwrap() = Some(Vec::new());
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    spawn(move || {
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
