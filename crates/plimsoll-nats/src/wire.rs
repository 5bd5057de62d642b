//! What goes over the wire: subjects, beats, and the words of a report.
//!
//! docs/NATS.md describes it for workers in other languages.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The first token of every subject but those of requests.
const ROOT: &str = "plimsoll";
/// The token under which workers report, where others have a worker's name.
const DONE: &str = "done";
/// In the place of a lease: a worker's beat. What a worker gets: the answer to one.
const BEAT: &str = "beat";
/// In the place of a lease: a worker leaves.
const LEAVE: &str = "leave";
/// In the place of a lease: a worker reports on several.
const ENDS: &str = "ends";
/// What a worker gets: a request.
const REQUEST: &str = "request";
/// What a worker gets: its generation is over.
const GONE: &str = "gone";

/// The longest subject that is sent: servers cut whoever sends a line of more than 4,096
/// bytes, which holds two subjects.
pub const LONGEST_SUBJECT: usize = 1500;
/// The longest name of a worker.
const LONGEST_NAME: usize = 64;
/// The most that a worker may say that it takes: a beat with so many leases is below a server's
/// limit of one MiB.
pub const MOST_CAPACITY: u32 = 16_384;

/// A service, named by the subject of its requests.
///
/// In other subjects it is one token, with its dots escaped as in an address.
///
/// ```
/// use plimsoll_nats::Service;
///
/// let service: Service = "images.resize".parse().unwrap();
/// assert_eq!(service.requests(), "images.resize");
/// assert_eq!(service.reports(), "plimsoll.images%2Eresize.done.*.>");
/// assert!("images.*".parse::<Service>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    requests: String,
    token: String,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"*>".contains(&byte);
        let is_sound = text.len() <= 255
            && text.split('.').all(|token| !token.is_empty() && token.bytes().all(is_plain));
        if !is_sound {
            return Err("it is a subject without wildcards, such as resize or images.resize".into());
        }
        if text.split('.').next().is_some_and(|first| first == ROOT || first.starts_with('$')) {
            return Err(format!("subjects of {ROOT} and those that begin with $ have other uses"));
        }
        let token = text.replace('%', "%25").replace('.', "%2E");
        Ok(Self { requests: text.into(), token })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.requests)
    }
}

impl Service {
    /// Where its requests are sent.
    pub fn requests(&self) -> &str {
        &self.requests
    }

    /// What a balancer subscribes to: everything that workers report.
    pub fn reports(&self) -> String {
        format!("{ROOT}.{}.{DONE}.*.>", self.token)
    }

    /// What a worker of this name may report on, and nobody else.
    pub fn reports_of(&self, worker: &WorkerName) -> String {
        format!("{ROOT}.{}.{DONE}.{worker}.>", self.token)
    }

    /// What a worker subscribes to, in one generation.
    pub fn deliveries(&self, worker: &WorkerName, generation: u64) -> String {
        format!("{ROOT}.{}.{worker}.{generation}.>", self.token)
    }

    /// Where a worker's beats go.
    pub fn beat(&self, worker: &WorkerName) -> String {
        self.report(worker, BEAT)
    }

    /// Where it says that it leaves.
    pub fn leave(&self, worker: &WorkerName) -> String {
        self.report(worker, LEAVE)
    }

    /// Where it reports on several leases.
    pub fn ends(&self, worker: &WorkerName) -> String {
        self.report(worker, ENDS)
    }

    /// The reply subject of a delivery: where it may report on that lease alone, where a server
    /// says that nobody was there, and what tells a worker its lease and where the answer goes.
    ///
    /// These are not in the subject, which is one for all that a worker gets: servers cache what
    /// a subject is for, and one that is never seen again costs them twice as much.
    pub fn done(&self, worker: &WorkerName, lease: LeaseId, inbox: Option<&str>) -> String {
        let (dot, inbox) = inbox.map_or(("", ""), |inbox| (".", inbox));
        // One is made for each request, and the formatter would take four times as long.
        let mut digits = [0; 2 * MOST_DIGITS];
        let (epoch, number) = digits.split_at_mut(MOST_DIGITS);
        let [epoch, number] = [decimal(lease.epoch, epoch), decimal(lease.number, number)];
        let parts = [
            ROOT,
            ".",
            &self.token,
            ".",
            DONE,
            ".",
            &*worker.0,
            ".",
            epoch,
            "-",
            number,
            dot,
            inbox,
        ];
        parts.concat()
    }

    fn report(&self, worker: &WorkerName, what: &str) -> String {
        format!("{ROOT}.{}.{DONE}.{worker}.{what}", self.token)
    }

    /// Where requests are delivered to.
    pub fn delivery(&self, worker: &WorkerName, generation: u64, epoch: u64) -> String {
        let mut digits = [0; 2 * MOST_DIGITS];
        let (first, second) = digits.split_at_mut(MOST_DIGITS);
        let [generation, epoch] = [decimal(generation, first), decimal(epoch, second)];
        let parts =
            [ROOT, ".", &self.token, ".", &*worker.0, ".", generation, ".", epoch, ".", REQUEST];
        parts.concat()
    }

    /// Where a beat is answered.
    pub fn answer(&self, worker: &WorkerName, generation: u64, epoch: u64) -> String {
        format!("{ROOT}.{}.{worker}.{generation}.{epoch}.{BEAT}", self.token)
    }

    /// Where a worker is told that its generation is over.
    pub fn gone(&self, worker: &WorkerName, generation: u64, epoch: u64) -> String {
        format!("{ROOT}.{}.{worker}.{generation}.{epoch}.{GONE}", self.token)
    }

    /// What a balancer finds in the subject of a report.
    ///
    /// ```
    /// use plimsoll_nats::{Service, Topic};
    ///
    /// let service: Service = "resize".parse().unwrap();
    /// let (worker, topic) = service.read_report("plimsoll.resize.done.a.17-5").unwrap();
    /// assert_eq!((worker, topic), ("a", Topic::Lease("17-5".parse().unwrap())));
    /// assert_eq!(service.read_report("plimsoll.resize.done.a.17"), None);
    /// ```
    pub fn read_report<'a>(&self, subject: &'a str) -> Option<(&'a str, Topic)> {
        let rest = self.after_token(subject)?.strip_prefix(DONE)?.strip_prefix('.')?;
        let (worker, what) = rest.split_once('.')?;
        let topic = match what {
            BEAT => Topic::Beat,
            LEAVE => Topic::Leave,
            ENDS => Topic::Ends,
            lease => Topic::Lease(lease.split('.').next()?.parse().ok()?),
        };
        Some((worker, topic))
    }

    /// What a worker of this name finds in the reply subject of a delivery.
    ///
    /// ```
    /// use plimsoll_nats::{Service, WorkerName};
    ///
    /// let service: Service = "resize".parse().unwrap();
    /// let worker: WorkerName = "a".parse().unwrap();
    /// let lease = "17-5".parse().unwrap();
    /// let reply = service.done(&worker, lease, Some("_INBOX.x.1"));
    /// assert_eq!(reply, "plimsoll.resize.done.a.17-5._INBOX.x.1");
    /// assert_eq!(service.read_done(&worker, &reply), Some((lease, Some("_INBOX.x.1"))));
    /// let mapped = format!("_GR_.a.b.{reply}");
    /// assert_eq!(service.read_done(&worker, &mapped), Some((lease, Some("_INBOX.x.1"))));
    /// ```
    pub fn read_done<'a>(
        &self,
        worker: &WorkerName,
        reply: &'a str,
    ) -> Option<(LeaseId, Option<&'a str>)> {
        // Gateways between clusters put something before it.
        let own = &reply[reply.find(ROOT)?..];
        let rest = self.after_token(own)?.strip_prefix(DONE)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(&*worker.0)?.strip_prefix('.')?;
        let (lease, inbox) =
            rest.split_once('.').map_or((rest, None), |(lease, inbox)| (lease, Some(inbox)));
        Some((lease.parse().ok()?, inbox))
    }

    /// What a worker finds in the subject of a delivery.
    ///
    /// ```
    /// use plimsoll_nats::{Delivery, Service};
    ///
    /// let service: Service = "resize".parse().unwrap();
    /// let read = service.read_delivery("plimsoll.resize.a.3.17.request").unwrap();
    /// assert_eq!((read.generation, read.epoch), (3, 17));
    /// assert_eq!(read.what, Delivery::Request);
    /// ```
    pub fn read_delivery(&self, subject: &str) -> Option<Delivered> {
        let rest = self.after_token(subject)?;
        let mut tokens = rest.splitn(4, '.');
        let _worker = tokens.next()?;
        let generation = number(tokens.next()?)?;
        let epoch = number(tokens.next()?)?;
        let what = match tokens.next()? {
            BEAT => Delivery::Answer,
            GONE => Delivery::Gone,
            REQUEST => Delivery::Request,
            _ => return None,
        };
        Some(Delivered { generation, epoch, what })
    }

    fn after_token<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(ROOT)?.strip_prefix('.')?;
        rest.strip_prefix(self.token.as_str())?.strip_prefix('.')
    }
}

/// A worker's name: one token of a subject.
///
/// ```
/// use plimsoll_nats::WorkerName;
///
/// assert!("host-12_a".parse::<WorkerName>().is_ok());
/// assert!("a.b".parse::<WorkerName>().is_err());
/// assert!("done".parse::<WorkerName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(std::sync::Arc<str>);

impl WorkerName {
    /// The name.
    ///
    /// ```
    /// use plimsoll_nats::WorkerName;
    ///
    /// assert_eq!("a".parse::<WorkerName>().unwrap().as_str(), "a");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if text == DONE || !(1..=LONGEST_NAME).contains(&text.len()) || !text.bytes().all(is_plain)
        {
            return Err(format!(
                "it is a name of letters, digits, - and _, at most {LONGEST_NAME} of them, and \
                 not '{DONE}'"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for WorkerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a lease: the epoch of the balancer that gave it, and its number there.
///
/// ```
/// use plimsoll_nats::LeaseId;
///
/// let lease = LeaseId { epoch: 17, number: 5 };
/// assert_eq!(lease.to_string(), "17-5");
/// assert_eq!("17-5".parse(), Ok(lease));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// Its balancer's epoch.
    pub epoch: u64,
    /// Its number, unlike all others of that epoch.
    pub number: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// Of a number of 64 bits.
const MOST_DIGITS: usize = 20;

/// A number's digits, written at the end of `room`.
fn decimal(mut number: u64, room: &mut [u8]) -> &str {
    let mut begin = room.len();
    loop {
        begin -= 1;
        room[begin] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&room[begin..]).unwrap_or_default();
        }
    }
}

/// Digits alone: `parse` would take a sign as well.
fn number(text: &str) -> Option<u64> {
    let add = |number: u64, byte: u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    if text.is_empty() { None } else { text.bytes().try_fold(0, add) }
}

impl FromStr for LeaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-');
        parts
            .and_then(|(epoch, nth)| Some(Self { epoch: number(epoch)?, number: number(nth)? }))
            .ok_or_else(|| "it is two numbers with a - between them".into())
    }
}

impl Serialize for LeaseId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A worker tells how it is.
    Beat,
    /// A worker leaves, and has nothing.
    Leave,
    /// What has become of a request.
    Lease(LeaseId),
    /// What has become of several: the payload says which.
    Ends,
}

/// The subject of what a worker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Of the worker.
    pub generation: u64,
    /// Of the balancer.
    pub epoch: u64,
    /// What it is.
    pub what: Delivery,
}

/// What a worker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A request: its reply subject tells more.
    Request,
    /// The answer to a beat.
    Answer,
    /// This generation is over: what it has is somebody else's now.
    Gone,
}

/// What has become of a request, by its worker's report, or by a server that found nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Finished,
    /// It was answered with an error that is the worker's.
    Failed,
    /// It did not begin: the worker is full, or knows a later epoch.
    Refused,
    /// It did not begin: nobody was there.
    Vanished,
}

impl End {
    /// The payload of a report.
    ///
    /// ```
    /// use plimsoll_nats::End;
    ///
    /// assert_eq!(End::read(b"failed"), Some(End::Failed));
    /// assert_eq!(End::read(End::Finished.word().as_bytes()), Some(End::Finished));
    /// assert_eq!(End::read(b"?"), None);
    /// ```
    pub fn read(payload: &[u8]) -> Option<Self> {
        [Self::Finished, Self::Failed, Self::Refused]
            .into_iter()
            .find(|end| end.word().as_bytes() == payload)
    }

    /// What a report on several leases says, a line each; `None` in the place of a line that
    /// says nothing.
    ///
    /// ```
    /// use plimsoll_nats::{End, LeaseId};
    ///
    /// let lease = |number| LeaseId { epoch: 17, number };
    /// let mut report = Vec::new();
    /// End::Finished.write_line(lease(5), &mut report);
    /// End::Refused.write_line(lease(6), &mut report);
    /// assert_eq!(report, b"17-5\n17-6 refused\n");
    /// let lines: Vec<_> = End::read_lines(&report).collect();
    /// assert_eq!(lines, [Some((lease(5), End::Finished)), Some((lease(6), End::Refused))]);
    /// assert_eq!(End::read_lines(b"17-5 ?").next(), Some(None));
    /// ```
    pub fn read_lines(payload: &[u8]) -> impl Iterator<Item = Option<(LeaseId, Self)>> {
        let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
        payload.split(|&byte| byte == b'\n').map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            let (lease, word) = line.split_once(' ').unwrap_or((line, ""));
            Some((lease.parse().ok()?, Self::read(word.as_bytes())?))
        })
    }

    /// Writes a line of a report on several leases.
    pub fn write_line(self, lease: LeaseId, report: &mut Vec<u8>) {
        use std::io::Write as _;
        // A vector takes everything.
        let _ = match self {
            Self::Finished => writeln!(report, "{lease}"),
            end => writeln!(report, "{lease} {}", end.word()),
        };
    }

    /// What a worker's report says: nothing, where all is well.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Vanished => "vanished",
        }
    }
}

/// What a worker tells of itself, again and again. The first one that a balancer gets is how
/// the worker joins; on a takeover its leases are what the new balancer adopts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// A worker that was given up comes back with a greater one.
    pub generation: u64,
    /// Greater than that of the beat before.
    pub number: u64,
    /// The latest epoch that it knows; 0 before the first answer.
    pub epoch: u64,
    /// The number in the last answer of that epoch that it had before this beat; or 0.
    pub seen: u64,
    /// The most cost that it takes; 0 when it wants no more.
    pub capacity: u32,
    /// Its strength relative to other workers.
    #[serde(default = "one")]
    pub weight: NonZeroU16,
    /// What it has, with the cost of each.
    pub leases: Vec<(LeaseId, NonZeroU32)>,
}

const fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

impl Beat {
    /// A beat as it came.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    ///
    /// ```
    /// use plimsoll_nats::Beat;
    ///
    /// let text = br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":8,"leases":[["17-5",1]]}"#;
    /// assert_eq!(Beat::read(text).unwrap().leases.len(), 1);
    /// assert!(Beat::read(br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":-8}"#).is_err());
    /// ```
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let beat: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        if beat.capacity > MOST_CAPACITY {
            return Err(format!("capacity {}: it is at most {MOST_CAPACITY}", beat.capacity));
        }
        Ok(beat)
    }

    /// The payload.
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What a balancer says to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Greater than that of the answer before: the worker's next beat has it as `seen`.
    pub number: u64,
    /// The number of the beat.
    pub beat: u64,
    /// How often it wants beats, in milliseconds.
    pub every_ms: u32,
    /// A worker whose beats stay away for so long, in milliseconds, is given up.
    pub lost_after_ms: u32,
}

impl Answer {
    /// An answer as it came; `None` where it is none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The payload.
    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// How often beats are wanted.
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms.into())
    }

    /// When a worker is given up.
    pub fn lost_after(&self) -> Duration {
        Duration::from_millis(self.lost_after_ms.into())
    }
}
