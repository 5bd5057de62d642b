//! The load, from h2load; from wrk where each request has a connection of its
//! own, which h2load does not do.

use std::process::Command;

use crate::peers::Proxy;

/// How long a round takes, in seconds.
const SECONDS: u32 = 2;
/// Requests under way on one HTTP/2 connection.
const STREAMS: u32 = 8;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) path: &'static str,
    pub(crate) clients: u32,
    /// Requests a second of all clients together; as many as there can be
    /// otherwise.
    pub(crate) rate: Option<u32>,
    pub(crate) http2: bool,
    /// Whether connections serve more than one request.
    pub(crate) keep: bool,
    pub(crate) tls: Option<Handshakes>,
}

/// How connections in TLS begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshakes {
    /// Whole.
    Full,
    /// With what an earlier one has left, where a connection has one request alone.
    Resumed,
}

impl Load {
    /// Requests that were answered, and the seconds that it took.
    pub(crate) fn run(self, proxy: &Proxy) -> (f64, f64) {
        let (scheme, port) = match self.tls {
            Some(_) => ("https", proxy.tls_port),
            None if self.http2 => ("http", proxy.http2_port),
            None => ("http", proxy.port),
        };
        let url = format!("{scheme}://127.0.0.1:{port}{}", self.path);
        match self.tls {
            _ if self.keep => self.h2load(&url),
            None => self.wrk(&url),
            Some(handshakes) => self.s_time(port, handshakes),
        }
    }

    fn h2load(self, url: &str) -> (f64, f64) {
        let mut command = Command::new("h2load");
        command.args(["-t1", "-c", &self.clients.to_string(), "-D", &SECONDS.to_string()]);
        if self.http2 {
            command.args(["-m", &STREAMS.to_string()]);
        } else {
            command.arg("--h1");
        }
        if let Some(rate) = self.rate {
            command.args(["--rps", &(f64::from(rate) / f64::from(self.clients)).to_string()]);
        }
        let output = command.arg(url).output().expect("h2load runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.starts_with("requests: ")).expect("it counts");
        let count = |what: &str| -> f64 {
            let part = line.split(", ").find(|part| part.ends_with(what)).expect("it says");
            let digits = part.trim_start_matches("requests: ").split(' ').next().expect("a number");
            digits.parse().expect("a number")
        };
        assert!(count("failed") == 0.0 && count("errored") == 0.0, "{line}");
        let codes = said.lines().find(|line| line.starts_with("status codes: ")).expect("codes");
        assert!(codes.contains(" 0 3xx, 0 4xx, 0 5xx"), "{codes}");
        (count("succeeded"), f64::from(SECONDS))
    }

    /// One connection after the other, with a request on each.
    fn s_time(self, port: u16, handshakes: Handshakes) -> (f64, f64) {
        let kind = if handshakes == Handshakes::Full { "-new" } else { "-reuse" };
        let output = Command::new("openssl")
            .args(["s_time", kind, "-time", &SECONDS.to_string(), "-www", self.path])
            .args(["-connect", &format!("127.0.0.1:{port}")])
            .output()
            .expect("openssl runs");
        let said = String::from_utf8_lossy(&output.stdout);
        // The first figure is by its own processor time; the second is all.
        let line = said.lines().rfind(|line| line.contains("real seconds")).expect("it counts");
        let requests = line.split_whitespace().next().and_then(|count| count.parse().ok());
        (requests.expect("a number"), f64::from(SECONDS))
    }

    fn wrk(self, url: &str) -> (f64, f64) {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c", &self.clients.to_string(), "-d", &SECONDS.to_string()]);
        let output = command.args(["-H", "Connection: close", url]).output().expect("wrk runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("Non-2xx"), "{said}");
        let line = said.lines().find(|line| line.contains("requests in")).expect("it counts");
        let requests = line.split_whitespace().next().and_then(|count| count.parse().ok());
        (requests.expect("a number"), f64::from(SECONDS))
    }
}
