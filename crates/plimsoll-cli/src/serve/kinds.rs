//! Kinds of values: each is read the same from an option and from a file.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use hyper::Uri;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::dns::Question;
use crate::listen;
use crate::values::seconds;

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<const LEAST: u64, const MOST: u64>(pub(crate) u64);

/// From 1, as far as a count goes.
pub(crate) type Count = Whole<1, 4_294_967_295>;

impl<const LEAST: u64, const MOST: u64> Whole<LEAST, MOST> {
    /// As an index of what is in memory.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Count {
    pub(crate) fn number(self) -> NonZeroU32 {
        u32::try_from(self.0).ok().and_then(NonZeroU32::new).expect("it is within its bounds")
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Whole<LEAST, MOST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: Option<u64> = text.parse().ok();
        let number = number.filter(|number| (LEAST..=MOST).contains(number));
        number.map(Self).ok_or_else(|| match MOST {
            u64::MAX => format!("it is a whole number from {LEAST}"),
            _ => format!("it is a whole number from {LEAST} to {MOST}"),
        })
    }
}

/// A time in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        seconds(text).map(Self)
    }
}

/// A time in seconds, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondsOrNone(pub(crate) Duration);

impl FromStr for SecondsOrNone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse() == Ok(0.0) {
            return Ok(Self(Duration::ZERO));
        }
        seconds(text).map(Self).map_err(|sentence| format!("{sentence}, or 0"))
    }
}

/// What backends are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Path(pub(crate) Uri);

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.parse().ok().filter(|_| text.starts_with('/'));
        path.map(Self).ok_or_else(|| "it is a path that begins with /, such as /health".into())
    }
}

/// An address, or many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network(pub(crate) IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |_| text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse().or_else(address);
        network.map(Self).map_err(|_: std::net::AddrParseError| {
            "it is an address or a network, such as 127.0.0.1 or 10.0.0.0/8".into()
        })
    }
}

/// A backend as it is told.
#[derive(Clone, Debug)]
pub(crate) struct To {
    /// `HOST:PORT`, and all that was told with it.
    pub(crate) name: String,
    pub(crate) weight: NonZeroU16,
    /// The pool's, where it has none of its own.
    pub(crate) capacity: Option<NonZeroU32>,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().to_owned();
        listen::check(&name)?;
        if name.ends_with(":0") {
            return Err("nothing listens on port 0".into());
        }
        let (weight, capacity) = terms(parts)?;
        Ok(Self { name, weight: weight.unwrap_or(NonZeroU16::MIN), capacity })
    }
}

/// A weight and a capacity, where they are told.
fn terms<'a>(
    parts: impl Iterator<Item = &'a str>,
) -> Result<(Option<NonZeroU16>, Option<NonZeroU32>), String> {
    let (mut weight, mut capacity) = (None, None);
    for part in parts {
        let value = |key| part.strip_prefix(key).and_then(|text| text.parse::<NonZeroU32>().ok());
        let told = value("weight=").and_then(|weight| NonZeroU16::try_from(weight).ok());
        match (told, value("capacity=")) {
            (None, None) => {
                return Err(format!("'{part}' is neither weight=N, up to 65535, nor capacity=N"));
            }
            (told, most) => (weight, capacity) = (told.or(weight), most.or(capacity)),
        }
    }
    Ok((weight, capacity))
}

/// A name whose backends DNS knows, as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Dns {
    pub(crate) question: Question,
    /// The records', where it has none of its own.
    pub(crate) weight: Option<NonZeroU16>,
    /// The pool's, where it has none of its own.
    pub(crate) capacity: Option<NonZeroU32>,
}

impl FromStr for Dns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let question = parts.next().unwrap_or_default().parse()?;
        let (weight, capacity) = terms(parts)?;
        Ok(Self { question, weight, capacity })
    }
}

/// Who is asked for names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsServer(pub(crate) SocketAddr);

impl FromStr for DnsServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const PORT: u16 = 53;
        let alone = |_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT));
        let at: Result<SocketAddr, _> = text.parse().or_else(alone);
        let at = at.ok().filter(|at: &SocketAddr| at.port() > 0);
        at.map(Self).ok_or_else(|| {
            "it is an address, with a port unless that is 53, such as 10.0.0.2 or [::1]:5353".into()
        })
    }
}

/// A certificate as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    /// In the same file, where none is told.
    pub(crate) key: PathBuf,
}

impl FromStr for Certificate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (chain, key) = match text.split_once(",key=") {
            Some((chain, key)) => (chain, key),
            None => (text, text),
        };
        if chain.is_empty() || key.is_empty() || chain.contains(',') {
            return Err("it is FILE[,key=FILE], such as site.pem,key=site.key".into());
        }
        Ok(Self { chain: chain.into(), key: key.into() })
    }
}

/// Whether clients must have a certificate.
#[derive(ValueEnum, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCertificate {
    /// Those without are turned away.
    Required,
    /// Those without are served as well.
    Optional,
}

/// What the access log looks like.
#[derive(ValueEnum, Deserialize, JsonSchema, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogKind {
    /// `key=value` pairs.
    Text,
    /// An object a line.
    Json,
    /// None.
    Off,
}

/// Reads a value of a file as its text is read of an option.
struct Text<T>(fn(&str) -> Result<T, String>, &'static str);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// The same of a number.
struct Number<T>(fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        (self.0)(&number.to_string()).map_err(E::custom)
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Number(str::parse))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Number(str::parse))
    }
}

impl<'de> Deserialize<'de> for SecondsOrNone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Number(str::parse))
    }
}

impl<const LEAST: u64, const MOST: u64> JsonSchema for Whole<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match MOST {
            u64::MAX => json_schema!({ "type": "integer", "minimum": LEAST }),
            _ => json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST }),
        }
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.001, "maximum": 1e9 })
    }
}

impl JsonSchema for SecondsOrNone {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecondsOrNone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1e9 })
    }
}

/// Texts of some form, with what they are.
macro_rules! texts {
    ($($kind:ident: $pattern:literal, $what:literal;)*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(str::parse, $what))
            }
        }

        impl JsonSchema for $kind {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        })*
    };
}

texts! {
    Path: "^/", "a path, such as \"/health\"";
    Network: "^[0-9a-fA-F.:]+(/[0-9]+)?$", "a network, such as \"10.0.0.0/8\"";
    Certificate: "^[^,]+(,key=[^,]+)?$", "files, such as \"site.pem,key=site.key\"";
    To: "^.+:[0-9]+(,(weight|capacity)=[0-9]+)*$", "a backend, such as \"127.0.0.1:9001,weight=2\"";
    Dns: "^([^:,]+:[0-9]+|_[^:,]+)(,(weight|capacity)=[0-9]+)*$", "a name, such as \"web.internal:9001\"";
    DnsServer: "^[0-9a-fA-F.:\\[\\]]+$", "an address, such as \"10.0.0.2\"";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        let plain: To = "127.0.0.1:9".parse().unwrap();
        assert_eq!(
            (plain.name.as_str(), plain.capacity, plain.weight.get()),
            ("127.0.0.1:9", None, 1)
        );
        let told: To = "localhost:9,weight=2,capacity=16".parse().unwrap();
        assert_eq!((told.capacity.unwrap().get(), told.weight.get()), (16, 2));
        for bad in [
            "127.0.0.1:9,weight=0",
            "127.0.0.1:9,weight=65536",
            "127.0.0.1:9,capacity=0",
            "127.0.0.1:9,capacity=-1",
            "127.0.0.1:9,speed=1",
            "127.0.0.1:9,",
            "127.0.0.1:0",
            "nowhere",
        ] {
            assert!(bad.parse::<To>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        let read = |text: &str| text.parse::<Network>().map(|network| network.0);
        assert_eq!(read("10.0.0.0/8").unwrap(), "10.0.0.0/8".parse().unwrap());
        assert_eq!(read("::1").unwrap(), "::1/128".parse().unwrap());
        assert!(read("10.0.0.0/33").is_err() && read("all").is_err());
    }
}
