//! Backends that cost little: answers of a given size, all from one nginx.

use std::fmt::Write as _;
use std::{fs, io};

use crate::server::{Server, folder, free_ports, nginx, template};

pub(crate) struct Backends {
    pub(crate) ports: Vec<u16>,
    _server: Server,
}

impl Backends {
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let folder = folder("backends")?;
        fs::create_dir(folder.join("files"))?;
        for (name, size) in [("10k", 10 << 10), ("1m", 1 << 20)] {
            fs::write(folder.join("files").join(name), vec![b'x'; size])?;
        }
        let ports = free_ports(count)?;
        let listen = ports.iter().fold(String::new(), |mut text, port| {
            let _ = writeln!(text, "listen 127.0.0.1:{port} backlog=8192;");
            text
        });
        let told = template("backend.conf")?.replace("LISTEN", &listen);
        let command = nginx(&told, &folder)?;
        let server = Server::start(command, folder, ports[0])?;
        Ok(Self { ports, _server: server })
    }
}
