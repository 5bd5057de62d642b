//! A small server of names, whose answers are good for a second.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What becomes of a question.
const GOOD: u16 = 0x8180;
const FAILED: u16 = GOOD | 2;
const NO_SUCH_NAME: u16 = GOOD | 3;

/// Of each name the records, each with its kind.
type Zone = HashMap<String, Vec<(u16, Vec<u8>)>>;

#[derive(Default)]
struct State {
    zone: Mutex<Zone>,
    fails: Mutex<Vec<u16>>,
    asked: AtomicUsize,
    over: AtomicBool,
}

/// Runs until the end of the test.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl NameServer {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if theirs.over.load(Ordering::SeqCst) {
                    return;
                }
                theirs.asked.fetch_add(1, Ordering::SeqCst);
                socket.send_to(&theirs.answer(&query[..length]), from).unwrap();
            }
        });
        Self { address, state }
    }

    /// A host has these addresses from now on, and no others; without any there is no such name.
    pub(crate) fn host(&self, name: &str, addresses: &[IpAddr]) {
        let record = |address: &IpAddr| match address {
            IpAddr::V4(four) => (A, four.octets().to_vec()),
            IpAddr::V6(six) => (AAAA, six.octets().to_vec()),
        };
        self.put(name, addresses.iter().map(record).collect());
    }

    /// A service has these priorities, weights, ports and hosts.
    pub(crate) fn service(&self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let record = |&(priority, weight, port, host): &(u16, u16, u16, &str)| {
            let numbers = [priority, weight, port].into_iter().flat_map(u16::to_be_bytes);
            (SRV, numbers.chain(wire_form(host)).collect())
        };
        self.put(name, records.iter().map(record).collect());
    }

    fn put(&self, name: &str, records: Vec<(u16, Vec<u8>)>) {
        let mut zone = self.state.zone.lock().unwrap();
        zone.remove(name);
        if !records.is_empty() {
            zone.insert(name.into(), records);
        }
    }

    /// Questions of these kinds fail from now on.
    pub(crate) fn fails(&self, kinds: &[u16]) {
        *self.state.fails.lock().unwrap() = kinds.to_vec();
    }

    /// How many questions there were.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        let _ = UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], self.address);
    }
}

impl State {
    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let (mut name, mut at) = (String::new(), 12);
        while query[at] > 0 {
            let end = at + 1 + usize::from(query[at]);
            let dot = if name.is_empty() { "" } else { "." };
            name += dot;
            name += std::str::from_utf8(&query[at + 1..end]).unwrap();
            at = end;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let zone = self.zone.lock().unwrap();
        let there = zone.get(&name.to_ascii_lowercase());
        let records: Vec<_> =
            there.into_iter().flatten().filter(|record| record.0 == kind).collect();
        let (flags, records) = match there {
            _ if self.fails.lock().unwrap().contains(&kind) => (FAILED, vec![]),
            None => (NO_SUCH_NAME, vec![]),
            Some(_) => (GOOD, records),
        };
        let count = u16::try_from(records.len()).unwrap();
        let mut answer = query[..2].to_vec();
        let head = [flags, 1, count, 0, 0];
        answer.extend(head.iter().flat_map(|number| number.to_be_bytes()));
        answer.extend(&query[12..at + 5]);
        for (kind, data) in records {
            // The name is the question's, the class that of the internet, the time a second.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 1]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        answer
    }
}

/// As DNS writes a name.
fn wire_form(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in name.split('.').filter(|part| !part.is_empty()) {
        bytes.push(u8::try_from(part.len()).unwrap());
        bytes.extend(part.as_bytes());
    }
    bytes.push(0);
    bytes
}
