//! Asking once, and what is answered.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::Question;

/// The longest that a server which was told is waited for, each of two times.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest that one question takes, with all that follow from it.
const WHOLE: Duration = Duration::from_secs(10);

/// What is known of a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The backends, and the weight of each where its record tells one.
    pub(crate) targets: BTreeMap<SocketAddr, Option<NonZeroU16>>,
    /// How long it is good for.
    pub(crate) ttl: Duration,
    /// The addresses of each host, by their kind: what one of two questions is not answered with
    /// is taken from here.
    pub(super) hosts: HashMap<(String, RecordType), Vec<IpAddr>>,
}

/// What there is of a host.
struct Host {
    addresses: Vec<IpAddr>,
    ttl: Duration,
    /// Why there is none, or nothing new.
    failed: Option<String>,
}

/// Asks this server, or the system's. `before` is what was answered last.
///
/// # Errors
///
/// Why there is no backend, in words that follow a name.
pub(crate) async fn ask(
    server: Option<SocketAddr>,
    question: &Question,
    before: Option<&Answer>,
) -> Result<Answer, String> {
    let asked = async {
        let resolver = resolver(server)?;
        let mut answer = Answer::default();
        match question {
            Question::Addresses { host, port } => {
                let found = answer.host(&resolver, host, before).await;
                if let Some(failed) = found.failed {
                    return Err(failed);
                }
                let targets = found.addresses.iter().map(|&ip| (SocketAddr::new(ip, *port), None));
                answer.targets = targets.collect();
                answer.ttl = found.ttl;
            }
            Question::Service(name) => answer.service(&resolver, name, before).await?,
        }
        Ok(answer)
    };
    tokio::time::timeout(WHOLE, asked).await.unwrap_or_else(|_| Err("no answer in time".into()))
}

/// Asks for all of these at once, for so long at the most, and waits for it.
pub(crate) fn ask_all(
    server: Option<SocketAddr>,
    questions: &[Question],
    most: Duration,
) -> Vec<Result<Answer, String>> {
    let late = || Err(format!("no answer within {} s", most.as_secs_f64()));
    let one = |question| async move {
        let asked = ask(server, question, None);
        tokio::time::timeout(most, asked).await.unwrap_or_else(|_| late())
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(join_all(questions.iter().map(one))),
        Err(error) => questions.iter().map(|_| Err(error.to_string())).collect(),
    }
}

/// Made anew for each question: what the system is told of its servers may have changed.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio().map_err(|error| one_line(&error))?,
        Some(at) => {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = at.port();
            }
            let server = NameServerConfig::new(at.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, vec![], vec![server]);
            let mut builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let mut options = ResolverOpts::default();
            (options.timeout, options.attempts) = (PATIENCE, 2);
            *builder.options_mut() = options;
            builder
        }
    };
    let options = builder.options_mut();
    // Who asks again does so because the time is over.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| one_line(&error))
}

impl Answer {
    /// A host's addresses of both kinds. A kind that is not answered for keeps those that it had:
    /// there are servers that never answer for one of them.
    async fn host(&mut self, resolver: &TokioResolver, host: &str, before: Option<&Self>) -> Host {
        let kinds = [RecordType::A, RecordType::AAAA];
        let [four, six] = kinds.map(|kind| resolver.lookup(host, kind));
        let (four, six) = join(four, six).await;
        let (mut addresses, mut ttl, mut lacks) = (Vec::new(), None::<Duration>, Vec::new());
        let mut answered = false;
        for (kind, found) in kinds.into_iter().zip([four, six]) {
            let key = (host.to_owned(), kind);
            let of_kind = match found {
                Ok(found) => {
                    answered = true;
                    ttl = Some(left(&found).min(ttl.unwrap_or(Duration::MAX)));
                    found.answers().iter().filter_map(|record| address(&record.data)).collect()
                }
                Err(error) => {
                    let none = error.is_no_records_found();
                    answered |= none;
                    lacks.push(if error.is_nx_domain() {
                        "there is no such name".to_owned()
                    } else if none {
                        "it has no address".to_owned()
                    } else {
                        one_line(&error)
                    });
                    let had = before.and_then(|before| before.hosts.get(&key)).filter(|_| !none);
                    had.cloned().unwrap_or_default()
                }
            };
            addresses.extend_from_slice(&of_kind);
            self.hosts.insert(key, of_kind);
        }
        let nothing = !answered || addresses.is_empty();
        // What was not answered at all says more than that there was nothing.
        let failed = lacks.pop().filter(|_| nothing);
        Host { addresses, ttl: ttl.unwrap_or_default(), failed }
    }

    /// The hosts of a service, of those that come first.
    async fn service(
        &mut self,
        resolver: &TokioResolver,
        name: &str,
        before: Option<&Self>,
    ) -> Result<(), String> {
        let found = resolver.lookup(name, RecordType::SRV).await.map_err(|error| {
            if error.is_no_records_found() {
                "there is no such service".into()
            } else {
                one_line(&error)
            }
        })?;
        let records = || {
            found.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(service) => Some(service),
                _ => None,
            })
        };
        let first = records().map(|service| service.priority).min();
        self.ttl = left(&found);
        let mut lack = "it has no host".to_owned();
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for service in records().filter(|service| Some(service.priority) == first) {
            // A root in place of a host says that there is no such service.
            if service.target.is_root() {
                continue;
            }
            let host = service.target.to_ascii();
            if !hosts.contains_key(&host) {
                let there = self.host(resolver, &host, before).await;
                if let Some(failed) = there.failed {
                    lack = format!("{host}: {failed}");
                }
                self.ttl = self.ttl.min(there.ttl);
                hosts.insert(host.clone(), there.addresses);
            }
            // 0 is for one that is hardly to be chosen.
            let weight = NonZeroU16::new(service.weight).unwrap_or(NonZeroU16::MIN);
            for &ip in &hosts[&host] {
                self.targets.insert(SocketAddr::new(ip, service.port), Some(weight));
            }
        }
        if self.targets.is_empty() { Err(lack) } else { Ok(()) }
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

fn left(found: &Lookup) -> Duration {
    found.valid_until().saturating_duration_since(Instant::now())
}

fn one_line(error: &NetError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
