//! What is checked against what.
//!
//! Sources: F a closed form, C an exact value computed from a solved chain, P
//! printed in a paper, S simulated independently of this project. Times are in units of
//! the mean service time. Cases of one configuration are figures of the same runs.

use std::num::NonZeroU32;

use plimsoll_core::Policy as Core;
use plimsoll_sim::{Config, Discipline, Policy, Service, theory};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    Mean,
    Median,
    P99,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) figure: Figure,
    pub(crate) reference: f64,
    /// As a part of the reference.
    pub(crate) tolerance: f64,
    pub(crate) source: &'static str,
}

impl Case {
    /// Whether a short run tells nothing: its warm-up would be shorter than the time in
    /// which queues fill.
    pub(crate) fn is_slow(&self) -> bool {
        let Config { load, workers, service, .. } = &self.config;
        *load > 0.95 || *workers == MANY && *load > 0.5 || service.second_moment() > 2.5
    }
}

/// Many enough to be without end, within the tolerance.
const MANY: u32 = 2000;

/// Of means against closed forms and exact values.
const MEAN: f64 = 0.005;
/// Of means that vary much: round robin, M/G/1, loads from 0.99 on.
const WILD: f64 = 0.01;
/// Of quantiles.
const QUANTILE: f64 = 0.02;
/// Of printed tables.
const PRINTED: f64 = 0.003;
/// Of other simulations.
const SIMULATED: f64 = 0.02;

fn config(policy: &str, workers: u32, load: f64) -> Config {
    Config {
        policy: policy.parse().expect("cases name policies"),
        workers,
        load,
        jobs: 5_000_000,
        ..Config::default()
    }
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        name: String,
        config: Config,
        reference: f64,
        tolerance: f64,
        source: &'static str,
    ) {
        let name = name + ties(&config.policy);
        self.0.push(Case { name, config, figure: Figure::Mean, reference, tolerance, source });
    }
}

/// How a policy chooses among equals, where that may change its figures.
fn ties(policy: &Policy) -> &'static str {
    match policy {
        Policy::Core(Core::LeastLoaded) => " (ties: idle longest)",
        Policy::Power(_) | Policy::LeastWork(_) | Policy::SnapshotTwo(_) => " (ties: first drawn)",
        Policy::Snapshot(_) | Policy::SnapshotOwn(_) => " (ties: drawn)",
        _ => "",
    }
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    single(&mut cases);
    general(&mut cases);
    bimodal(&mut cases);
    central_and_turns(&mut cases);
    limits(&mut cases);
    shortest(&mut cases);
    choices(&mut cases);
    variance(&mut cases);
    stale(&mut cases);
    several(&mut cases);
    cases.0
}

/// M/M/1 by random routing, its quantiles, several slots, and sharing.
fn single(cases: &mut Cases) {
    for load in [0.5, 0.9] {
        let random = config("random", 100, load);
        cases.add(format!("M/M/1, {load}"), random.clone(), theory::random(load), MEAN, "F");
        for (figure, q) in [(Figure::Median, 0.5), (Figure::P99, 0.99)] {
            let reference = theory::random_quantile(load, q);
            let name = format!("M/M/1, {load}, quantile {q}");
            let config = random.clone();
            cases.0.push(Case {
                name,
                config,
                figure,
                reference,
                tolerance: QUANTILE,
                source: "F",
            });
        }
    }
    let slots = NonZeroU32::new(4).expect("4 is not 0");
    let config_of_slots = Config { slots, ..config("random", 25, 0.9) };
    cases.add("M/M/4, 0.9".into(), config_of_slots, theory::central_queue(4, 0.9), MEAN, "F");
    for service in [Service::Exponential, Service::Deterministic, Service::Hyperexponential(4.0)] {
        let name = format!("M/G/1 processor sharing, {service}, 0.8");
        let config =
            Config { discipline: Discipline::Sharing, service, ..config("random", 100, 0.8) };
        cases.add(name, config, theory::random(0.8), MEAN, "F");
    }
}

/// M/G/1: Pollaczek and Khinchine.
fn general(cases: &mut Cases) {
    for service in
        ["deterministic", "lognormal:1", "hyperexponential:4", "normal:1", "pareto:1.5:100"]
    {
        let service: Service = service.parse().expect("cases name distributions");
        let reference = theory::random_general(0.9, service.second_moment());
        let name = format!("M/G/1, {service}, 0.9");
        cases.add(name, Config { service, ..config("random", 100, 0.9) }, reference, WILD, "F");
    }
}

/// What Pollaczek and Khinchine say of the row that varies most.
fn bimodal(cases: &mut Cases) {
    let service = Service::Bimodal(0.005, 201.0);
    let reference = theory::random_general(0.9, service.second_moment());
    let random = Config { service, jobs: 20_000_000, ..config("random", 100, 0.9) };
    cases.add("M/G/1, bimodal:0.005:201, 0.9".into(), random.clone(), reference, WILD, "F");
    // The bounds are within a quarter of a percent of each other.
    let (from, to) = theory::round_robin_general(100, 0.9, random.service.second_moment());
    let turns = Config { policy: config("round-robin", 100, 0.9).policy, ..random };
    let name = "round robin, n 100, 0.9, bimodal:0.005:201".into();
    cases.add(name, turns, f64::midpoint(from, to), WILD, "F");
}

fn central_and_turns(cases: &mut Cases) {
    for (n, load, tolerance) in
        [(10, 0.9, MEAN), (10, 0.95, MEAN), (100, 0.9, MEAN), (100, 0.99, WILD)]
    {
        let reference = theory::central_queue(n, load);
        let name = format!("M/M/{n}, {load}");
        cases.add(name, config("central-queue", n, load), reference, tolerance, "F");
    }
    for (n, load) in [(2, 0.8), (10, 0.9), (100, 0.9)] {
        let reference = theory::round_robin(n, load);
        let name = format!("round robin, n {n}, {load}");
        cases.add(name, config("round-robin", n, load), reference, WILD, "F");
    }
}

/// Closed forms of a number of workers that grows without end.
fn limits(cases: &mut Cases) {
    for (d, load) in [(2, 0.5), (2, 0.9), (3, 0.9), (5, 0.9)] {
        let name = format!("power of {d}, n {MANY}, {load}");
        let config = config(&format!("power-of-{d}"), MANY, load);
        cases.add(name, config, theory::power_of(d, load), MEAN, "F");
    }
    for load in [0.7, 0.9] {
        let name = format!("power of 2 with replacement, n 100, {load}");
        let config = Config { with_replacement: true, ..config("power-of-2", 100, load) };
        cases.add(name, config, theory::power_of_two(100, load), MEAN, "F");
    }
    for (d, load) in [(2, 0.5), (2, 0.9), (3, 0.9)] {
        let name = format!("least work of {d}, n {MANY}, {load}");
        let config = config(&format!("least-work-of-{d}"), MANY, load);
        cases.add(name, config, theory::least_work(d, load), MEAN, "F");
    }
    for (tokens, load) in [(1, 0.5), (1, 0.9), (3, 0.9)] {
        let name = format!("join idle queue, {tokens} tokens, n {MANY}, {load}");
        let config = config(&format!("join-idle-queue:{tokens}"), MANY, load);
        cases.add(name, config, theory::idle_queue(tokens, load), MEAN, "F");
    }
}

/// Join the shortest queue; ties to the worker idle longest.
fn shortest(cases: &mut Cases) {
    let exact = [(0.5, 1.426_321), (0.7, 2.108_197), (0.9, 5.474_913), (0.95, 10.486_639)];
    for (load, reference) in exact {
        let name = format!("least-loaded, n 2, {load}");
        cases.add(name, config("least-loaded", 2, load), reference, MEAN, "C");
    }
    let simulated = [
        (10, 0.5, 1.0242),
        (10, 0.7, 1.1603),
        (10, 0.9, 1.9132),
        (100, 0.8, 1.0055),
        (100, 0.9, 1.0667),
    ];
    for (n, load, reference) in simulated {
        let name = format!("least-loaded, n {n}, {load}");
        cases.add(name, config("least-loaded", n, load), reference, SIMULATED, "S");
    }
}

/// Power of d, ties to the first drawn.
fn choices(cases: &mut Cases) {
    let table = [
        (0.5, [1.2675, 1.1274, 1.0339]),
        (0.7, [1.6200, 1.3633, 1.1764]),
        (0.9, [2.6454, 2.0619, 1.6715]),
        (0.95, [3.4601, 2.6166, 2.0740]),
    ];
    for (load, means) in table {
        for (d, reference) in [2, 3, 5].into_iter().zip(means) {
            let name = format!("power of {d}, n 100, {load}");
            let config = config(&format!("power-of-{d}"), 100, load);
            cases.add(name, config, reference, SIMULATED, "S");
        }
    }
    // Gast, Bortolussi and Tribastone, 2018: mean queue lengths.
    let printed =
        [(10, 2, 0.7, 1.2193), (20, 2, 0.9, 2.5662), (20, 2, 0.95, 3.7124), (50, 3, 0.9, 1.9106)];
    for (n, d, load, queue) in printed {
        let name = format!("power of {d} with replacement, n {n}, {load}");
        let config = Config { with_replacement: true, ..config(&format!("power-of-{d}"), n, load) };
        cases.add(name, config, queue / load, PRINTED, "P");
    }
}

/// One request in 200 takes 201 times as long as the others. Two references stand as given, and
/// are wrong: Marshall's bounds put round robin between 224.4 and 224.9, and a second program, some
/// thirty lines of C with another generator, has 1.29 ± 0.02 for the central queue. That program also
/// shows what ties are worth here. Least-loaded has 1.69 ± 0.02 where they are drawn, as 1.70 is
/// given, and 1.77 ± 0.02 where they go to the worker idle longest, as here: among workers with one request
/// each that one is likelier to be at a long one.
fn variance(cases: &mut Cases) {
    let table = [
        ("central-queue", 1.20, ""),
        ("central-queue", 1.29, ", second program"),
        ("least-loaded", 1.77, ", second program"),
        ("power-of-2", 30.6, ""),
        ("round-robin", 200.0, ""),
        ("random", 229.0, ""),
    ];
    for (policy, reference, by) in table {
        // Queues fill in E[S²] / (1 - load)² service times, which are thousands.
        let service = Service::Bimodal(0.005, 201.0);
        let config = Config { service, jobs: 20_000_000, ..config(policy, 100, 0.9) };
        let name = format!("{policy}, n 100, 0.9, bimodal{by}");
        cases.add(name, config, reference, SIMULATED, "S");
    }
}

/// Counts told every so often; ties drawn.
fn stale(cases: &mut Cases) {
    for (age, means) in [(1, [4.04, 2.96, 1.84]), (10, [23.4, 5.09, 3.08])] {
        for (policy, reference) in
            ["snapshot", "snapshot-two", "snapshot-own"].into_iter().zip(means)
        {
            let name = format!("{policy}:{age}, n 100, 0.9");
            cases.add(
                name,
                config(&format!("{policy}:{age}"), 100, 0.9),
                reference,
                SIMULATED,
                "S",
            );
        }
    }
}

/// Balancers that know only their own requests; each shuffles its workers.
fn several(cases: &mut Cases) {
    for (balancers, reference) in [(1, 1.07), (2, 1.64), (10, 3.62), (100, 6.99)] {
        let name = format!("least-loaded, {balancers} balancers, n 100, 0.9");
        let config = Config { balancers, ..config("least-loaded", 100, 0.9) };
        cases.add(name, config, reference, SIMULATED, "S");
    }
    for (subset, reference) in [(2, 4.11), (5, 3.15), (20, 4.62), (100, 6.92)] {
        let name = format!("least-loaded, 100 balancers, {subset} workers each, n 100, 0.9");
        // All of them are no subset: the same case as without.
        let subset = (subset < 100).then_some(subset);
        let config = Config { balancers: 100, subset, ..config("least-loaded", 100, 0.9) };
        cases.add(name, config, reference, SIMULATED, "S");
    }
}

/// A figure that must ascend from one policy to the next.
pub(crate) struct Order {
    /// Of what, as its rows are called.
    pub(crate) name: &'static str,
    pub(crate) figure: Figure,
    pub(crate) policies: Vec<(&'static str, Config)>,
}

impl Order {
    /// The names of its rows: one for each two policies that follow each other.
    pub(crate) fn rows(&self) -> Vec<String> {
        let row = |pair: &[(&str, Config)]| format!("{}: {} < {}", self.name, pair[0].0, pair[1].0);
        self.policies.windows(2).map(row).collect()
    }

    /// Whether one of its rows has this in its name.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.rows().iter().any(|row| row.contains(word))
    }
}

/// What must be in order.
pub(crate) fn orders() -> Vec<Order> {
    let all = ["central-queue", "least-loaded", "power-of-5", "power-of-3", "power-of-2", "random"];
    let mut orders =
        vec![order("mean, n 100, 0.9", Figure::Mean, &all, |policy| config(policy, 100, 0.9))];
    // Prequal, table 1: 100 clients, 100 replicas, service max(0, N(80, 80)) ms. The
    // other tenants that slow some replicas down are not published, so that only orders
    // can be looked for: those of the table that hold here, between policies whose queues do
    // not grow without end. One that does would come last whatever it does.
    let mut look = |name, of: fn(&str) -> Config, chains: &[&[&'static str]]| {
        orders.extend(chains.iter().map(|chain| order(name, Figure::P99, chain, of)));
    };
    look(
        "p99, 100 balancers, every fourth worker at speed 0.4, 0.7",
        |policy| every_fourth(0.4, policy),
        &[&["prequal", "c3", "power-of-2"], &["c3", "least-loaded"]],
    );
    look(
        "p99, 100 balancers, every fourth worker at speed 0.7, 0.7",
        |policy| every_fourth(0.7, policy),
        &[
            &["prequal", "power-of-2", "round-robin"],
            &["prequal", "least-loaded", "round-robin"],
            &["c3", "power-of-2", "random"],
            &["c3", "least-loaded", "random"],
        ],
    );
    look(
        "p99, 100 balancers, workers alike, 0.9",
        |policy| Config {
            balancers: 100,
            service: Service::Normal(1.0),
            ..config(policy, 100, 0.9)
        },
        &[&["prequal", "c3", "power-of-2", "random"], &["c3", "least-loaded", "random"]],
    );
    orders
}

fn order(
    name: &'static str,
    figure: Figure,
    policies: &[&'static str],
    of: impl Fn(&str) -> Config,
) -> Order {
    let policies = policies.iter().map(|&policy| (policy, of(policy))).collect();
    Order { name, figure, policies }
}

/// Clients and replicas at load 0.7, every fourth replica of this speed.
fn every_fourth(speed: f64, policy: &str) -> Config {
    Config {
        balancers: 100,
        service: Service::Normal(1.0),
        discipline: Discipline::Sharing,
        slots: NonZeroU32::MIN.saturating_add(3),
        speeds: vec![1.0, 1.0, 1.0, speed],
        ..config(policy, 100, 0.7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_there_twice() {
        let mut names: Vec<String> = all().into_iter().map(|case| case.name).collect();
        names.extend(orders().iter().flat_map(Order::rows));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn orders_are_found_by_what_their_rows_say() {
        let of = |word: &str| orders().iter().filter(|order| order.has(word)).count();
        assert_eq!((of("prequal < c3"), of("c3"), of("workers alike"), of("<")), (2, 6, 2, 9));
        assert_eq!((of("central-queue < least-loaded"), of("prequal < random")), (1, 0));
    }
}
