//! A client that records what becomes of each of its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt;
use plimsoll_nats::headers;
use tokio::runtime::Runtime;

use crate::server::{SOON, Server};

/// What came for one request.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub(crate) is_repeatable: bool,
    pub(crate) sent: Instant,
    /// When the first reply came.
    pub(crate) replied: Option<Instant>,
    pub(crate) answers: Vec<String>,
    pub(crate) errors: Vec<(u16, String)>,
    /// The server said that nobody was there.
    pub(crate) nobody: u32,
}

impl Fate {
    pub(crate) fn replies(&self) -> usize {
        self.answers.len() + self.errors.len() + self.nobody as usize
    }
}

/// See the module.
pub(crate) struct Recorder {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    fates: Arc<Mutex<BTreeMap<u64, Fate>>>,
    prefix: String,
    next: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async_nats::connect(server.url())).unwrap();
        let prefix = client.new_inbox();
        let fates: Arc<Mutex<BTreeMap<u64, Fate>>> = Arc::default();
        let mut replies = runtime.block_on(client.subscribe(format!("{prefix}.*"))).unwrap();
        runtime.block_on(client.flush()).unwrap();
        let kept = Arc::clone(&fates);
        runtime.spawn(async move {
            while let Some(message) = replies.next().await {
                note(&kept, &message);
            }
        });
        Self { runtime, client, fates, prefix, next: AtomicU64::new(0) }
    }

    /// Sends a request whose payload is its number; that is told.
    pub(crate) fn send(&self, is_repeatable: bool) -> u64 {
        let mut map = HeaderMap::new();
        if is_repeatable {
            map.insert(headers::REPEATABLE, "true");
        }
        self.send_with(map, is_repeatable)
    }

    pub(crate) fn send_with(&self, map: HeaderMap, is_repeatable: bool) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let fate = Fate {
            is_repeatable,
            sent: Instant::now(),
            replied: None,
            answers: Vec::new(),
            errors: Vec::new(),
            nobody: 0,
        };
        self.fates.lock().unwrap().insert(number, fate);
        let inbox = format!("{}.{number}", self.prefix);
        let payload = number.to_string().into();
        let sent = if map.is_empty() {
            self.runtime.block_on(self.client.publish_with_reply("work", inbox, payload))
        } else {
            let sent = self.client.publish_with_reply_and_headers("work", inbox, map, payload);
            self.runtime.block_on(sent)
        };
        sent.unwrap();
        number
    }

    pub(crate) fn flush(&self) {
        self.runtime.block_on(self.client.flush()).unwrap();
    }

    pub(crate) fn fate(&self, number: u64) -> Fate {
        self.fates.lock().unwrap()[&number].clone()
    }

    pub(crate) fn fates(&self) -> BTreeMap<u64, Fate> {
        self.fates.lock().unwrap().clone()
    }

    /// Waits until each has a reply; tells what there was then.
    pub(crate) fn all(&self) -> BTreeMap<u64, Fate> {
        self.all_but(&BTreeSet::new())
    }

    /// Waits until each but these has a reply; tells what there was then.
    pub(crate) fn all_but(&self, excused: &BTreeSet<u64>) -> BTreeMap<u64, Fate> {
        let until = Instant::now() + SOON;
        loop {
            let is_open =
                |(number, fate): (&u64, &Fate)| fate.replies() == 0 && !excused.contains(number);
            if !self.fates.lock().unwrap().iter().any(is_open) || Instant::now() > until {
                // What is one too many comes late.
                std::thread::sleep(Duration::from_millis(300));
                return self.fates();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends one and waits for what becomes of it.
    pub(crate) fn ask(&self) -> Fate {
        let number = self.send(false);
        self.wait(number)
    }

    pub(crate) fn wait(&self, number: u64) -> Fate {
        let until = Instant::now() + SOON;
        while self.fate(number).replies() == 0 {
            assert!(Instant::now() < until, "request {number} has no reply");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.fate(number)
    }

    /// Sends until one is answered: workers have joined then. One that has no reply within 2 s was
    /// lost with a server, or came to a balancer that did not know whether it leads.
    pub(crate) fn until_answered(&self) {
        let until = Instant::now() + SOON;
        loop {
            let number = self.send(false);
            let lost = Instant::now() + Duration::from_secs(2);
            while self.fate(number).replies() == 0 && Instant::now() < lost {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !self.fate(number).answers.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "nobody answers");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Requests of the last 3 s that have no reply.
    pub(crate) fn open(&self) -> Vec<u64> {
        let fates = self.fates.lock().unwrap();
        let recent = fates.iter().rev().take_while(|(_, it)| it.sent.elapsed().as_secs() < 3);
        recent.filter(|(_, fate)| fate.replies() == 0).map(|(&number, _)| number).collect()
    }

    /// Waits until the server says that nobody serves.
    pub(crate) fn until_nobody(&self) {
        let until = Instant::now() + SOON;
        loop {
            // Beside the records.
            let asked = async_nats::Request::new().timeout(Some(Duration::from_millis(50)));
            let asked = self.runtime.block_on(self.client.send_request("work", asked));
            if asked.is_err_and(|error| error.kind() == RequestErrorKind::NoResponders) {
                return;
            }
            assert!(Instant::now() < until, "somebody serves");
        }
    }

    pub(crate) fn publish(&self, subject: &str, payload: &[u8]) {
        let payload = bytes::Bytes::copy_from_slice(payload);
        self.runtime.block_on(self.client.publish(subject.to_owned(), payload)).unwrap();
    }
}

fn note(fates: &Mutex<BTreeMap<u64, Fate>>, message: &Message) {
    let number = message.subject.rsplit('.').next().unwrap().parse().unwrap();
    let mut fates = fates.lock().unwrap();
    let fate = fates.get_mut(&number).unwrap();
    fate.replied.get_or_insert_with(Instant::now);
    if message.status.is_some() {
        fate.nobody += 1;
    } else if let Some(error) = headers::read_error(message.headers.as_ref()) {
        fate.errors.push(error);
    } else {
        fate.answers.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
}

/// Requests, every other of which may run twice, from a thread of its own: as many as are asked for
/// wait for a reply at a time.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    /// Held while it sends.
    sends: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn begin(recorder: &Arc<Recorder>, open: usize) -> Self {
        let (is_over, sends) = (Arc::<AtomicBool>::default(), Arc::<Mutex<()>>::default());
        let recorder = Arc::clone(recorder);
        let (ends, sending) = (Arc::clone(&is_over), Arc::clone(&sends));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let holds = sending.lock().unwrap();
                // No more at a time, so that refusals do not make it a flood.
                for n in 0..open.saturating_sub(recorder.open().len()).min(4) {
                    recorder.send(n % 2 == 0);
                }
                recorder.flush();
                drop(holds);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { is_over, sends, thread: Some(thread) }
    }

    /// Sends nothing while this is held; all before is at the server.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.sends.lock().unwrap()
    }

    pub(crate) fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
