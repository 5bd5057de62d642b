//! What is asked for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The most letters of a name, and of each part.
const LONGEST: usize = 253;
const LONGEST_PART: usize = 63;

/// A name of which DNS knows several backends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Question {
    /// Each address of a host, with one port.
    Addresses { host: String, port: u16 },
    /// Hosts and ports of a service (RFC 2782), such as `_http._tcp.web.internal`.
    Service(String),
}

impl Question {
    /// The host that its backends are asked for: without the words of a service.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Addresses { .. } => self.to_string(),
            Self::Service(name) => name.splitn(3, '.').last().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { host, port } => write!(f, "{host}:{port}"),
            Self::Service(name) => f.write_str(name),
        }
    }
}

impl FromStr for Question {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "it is HOST:PORT, such as web.internal:9001, or a service, such as \
                     _http._tcp.web.internal";
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok().filter(|&port: &u16| port > 0)),
            None => (text, None),
        };
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err("it is an address, and no name: tell it in to".into());
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_part =
            |part: &str| (1..=LONGEST_PART).contains(&part.len()) && part.chars().all(plain);
        let mut parts = name.split('.');
        if name.len() > LONGEST || !parts.clone().all(is_part) {
            return Err(right.into());
        }
        let is_word = |part: Option<&str>| part.is_some_and(|part| part.starts_with('_'));
        let is_service = is_word(parts.next()) && is_word(parts.next()) && parts.next().is_some();
        match (port, is_service) {
            (Some(port), false) => Ok(Self::Addresses { host: name, port }),
            (None, true) if !text.contains(':') => Ok(Self::Service(name)),
            (Some(_), true) => Err("the port of a service is in its records: leave it out".into()),
            _ => Err(right.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_ports_and_services_without() {
        let read = |text: &str| text.parse::<Question>();
        let host = read("Web.internal.:9001").unwrap();
        assert_eq!(host, Question::Addresses { host: "web.internal".into(), port: 9001 });
        assert_eq!(host.host(), "web.internal:9001");
        let service = read("_http._tcp.web.internal").unwrap();
        assert_eq!(
            (service.to_string(), service.host()),
            ("_http._tcp.web.internal".into(), "web.internal".into())
        );
        for (bad, expected) in [
            ("web.internal", "HOST:PORT"),
            ("web.internal:0", "HOST:PORT"),
            ("web.internal:x", "HOST:PORT"),
            ("_http._tcp", "HOST:PORT"),
            ("a..b:1", "HOST:PORT"),
            ("a/b:1", "HOST:PORT"),
            (&*format!("{}:1", "a".repeat(64)), "HOST:PORT"),
            ("127.0.0.1:9001", "tell it in to"),
            ("[::1]:9001", "tell it in to"),
            ("_http._tcp.web.internal:80", "leave it out"),
        ] {
            assert!(read(bad).unwrap_err().contains(expected), "{bad}");
        }
    }
}
