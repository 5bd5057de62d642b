//! What two processes say to each other, a line of JSON each. Keys may come; what is here stays, or
//! the version is another.

use std::net::SocketAddr;

use plimsoll_proxy::{Place, Turn, Waits};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What both must speak, since they may be of different versions of the program.
const VERSION: u64 = 1;

/// What is said, in this order.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// The old one: who it is, and how many sockets it hands over.
    Hello { version: u64, process: u32, sockets: usize },
    /// The old one: some of them, each with its descriptor beside it.
    Sockets(Vec<Socket>),
    /// The new one: it can serve, by these backends.
    Ready { places: Vec<At> },
    /// The old one: it accepts no more, and has so much of them, of which operators drain some.
    Over {
        has: Vec<Count>,
        #[serde(default)]
        drained: Vec<At>,
    },
    /// The old one, every now and then: what is free, who waits, and, to be heard after that, what
    /// none of those may use.
    Turn {
        gives: Vec<Count>,
        waits: Vec<InLine>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unused: Vec<At>,
    },
    /// The new one: a place for each of those who waited.
    Granted(Vec<At>),
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) at: SocketAddr,
    pub(super) of: Use,
}

/// Who comes to a socket.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(in crate::serve) enum Use {
    Clients,
    Operators,
}

/// A [`Place`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pool: String,
    backend: String,
}

/// How much there is of one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    #[serde(flatten)]
    at: At,
    count: u32,
}

/// A [`Waits`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct InLine {
    pool: String,
    requests: usize,
    granted: u64,
}

impl Word {
    pub(super) fn hello(sockets: usize) -> Self {
        Self::Hello { version: VERSION, process: std::process::id(), sockets }
    }

    pub(super) fn ready(places: Vec<Place>) -> Self {
        Self::Ready { places: places.into_iter().map(At::from).collect() }
    }

    pub(super) fn over(has: Vec<(Place, u32)>, drained: Vec<Place>) -> Self {
        let drained = drained.into_iter().map(At::from).collect();
        Self::Over { has: has.into_iter().map(Count::from).collect(), drained }
    }

    pub(super) fn turn(turn: Turn) -> Self {
        let waits = turn.waits.into_iter().map(InLine::from).collect();
        let unused = turn.unused.into_iter().map(At::from).collect();
        Self::Turn { gives: turn.gives.into_iter().map(Count::from).collect(), waits, unused }
    }

    pub(super) fn granted(places: Vec<Place>) -> Self {
        Self::Granted(places.into_iter().map(At::from).collect())
    }

    /// What a line says; in another version it may be anything.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if let Some(version) = value["hello"].get("version").filter(|&version| *version != VERSION)
        {
            return Err(format!(
                "it speaks version {version} of what this program speaks version {VERSION} of"
            ));
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

impl From<Place> for At {
    fn from(Place { pool, backend }: Place) -> Self {
        Self { pool, backend }
    }
}

impl From<At> for Place {
    fn from(At { pool, backend }: At) -> Self {
        Self { pool, backend }
    }
}

impl From<(Place, u32)> for Count {
    fn from((place, count): (Place, u32)) -> Self {
        Self { at: place.into(), count }
    }
}

impl From<Count> for (Place, u32) {
    fn from(Count { at, count }: Count) -> Self {
        (at.into(), count)
    }
}

impl From<Waits> for InLine {
    fn from(Waits { pool, requests, granted }: Waits) -> Self {
        Self { pool, requests, granted }
    }
}

impl From<InLine> for Waits {
    fn from(InLine { pool, requests, granted }: InLine) -> Self {
        Self { pool, requests, granted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What programs of this version say stays understood, and what later ones add is no matter.
    #[test]
    fn what_is_said_stays_the_same() {
        let place = Place { pool: "web".into(), backend: "a:1".into() };
        let (at, waits) =
            ("127.0.0.1:0".parse().unwrap(), Waits { pool: "web".into(), requests: 3, granted: 4 });
        let said = [
            (
                Word::Hello { version: 1, process: 7, sockets: 1 },
                r#"{"hello":{"version":1,"process":7,"sockets":1,"more":true}}"#,
            ),
            (
                Word::Sockets(vec![Socket { at, of: Use::Operators }]),
                r#"{"sockets":[{"at":"127.0.0.1:0","of":"operators"}]}"#,
            ),
            (
                Word::ready(vec![place.clone()]),
                r#"{"ready":{"places":[{"pool":"web","backend":"a:1"}]}}"#,
            ),
            (
                Word::over(vec![(place.clone(), 2)], vec![]),
                r#"{"over":{"has":[{"pool":"web","backend":"a:1","count":2}]}}"#,
            ),
            (
                Word::over(vec![], vec![place.clone()]),
                r#"{"over":{"has":[],"drained":[{"pool":"web","backend":"a:1"}]}}"#,
            ),
            (
                Word::turn(Turn {
                    gives: vec![(place.clone(), 1)],
                    waits: vec![waits],
                    unused: vec![],
                }),
                r#"{"turn":{"gives":[{"pool":"web","backend":"a:1","count":1}],"waits":[{"pool":"web","requests":3,"granted":4}]}}"#,
            ),
            (
                Word::turn(Turn { unused: vec![place.clone()], ..Turn::default() }),
                r#"{"turn":{"gives":[],"waits":[],"unused":[{"pool":"web","backend":"a:1"}]}}"#,
            ),
            (Word::granted(vec![place]), r#"{"granted":[{"pool":"web","backend":"a:1"}]}"#),
        ];
        for (word, line) in said {
            assert_eq!(Word::read(line.as_bytes()).as_ref(), Ok(&word));
            let written = serde_json::to_vec(&word).unwrap();
            assert_eq!(Word::read(&written), Ok(word));
        }
        let other = Word::read(br#"{"hello":{"version":2,"sockets":"two"}}"#).unwrap_err();
        assert!(other.contains("version 2"), "{other}");
    }
}
