//! Each policy against its definition, with fixed seeds.

use std::num::{NonZeroU16, NonZeroU32};

use plimsoll_core::{
    Completion, Config, Dispatch, Health, Lease, Outcome, Policy, Pool, Request, Time, WorkerId,
    WorkerSpec,
};

const NOW: Time = Time::ZERO;

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

fn pool_of(policy: Policy, seed: u64, capacities: &[u32]) -> (Pool<()>, Vec<WorkerId>) {
    let mut pool = Pool::new(Config { policy, seed, audit_every: 1, ..Config::default() });
    let specs = capacities.iter().map(|&capacity| WorkerSpec::new(number(capacity)));
    let ids = specs.map(|spec| pool.add(spec, NOW)).collect();
    (pool, ids)
}

fn take(pool: &mut Pool<()>) -> Lease {
    let lease = pool.try_dispatch(&Request::default(), NOW).expect("a worker has room");
    pool.check_invariants().unwrap();
    lease
}

fn give_back(pool: &mut Pool<()>, lease: Lease) {
    pool.completed(lease, Completion::Succeeded, NOW).unwrap();
    pool.check_invariants().unwrap();
}

/// Who gets each of so many requests, one at a time.
fn one_at_a_time(pool: &mut Pool<()>, requests: usize) -> Vec<usize> {
    let one = |_| {
        let lease = take(pool);
        let slot = lease.worker().index();
        give_back(pool, lease);
        slot
    };
    (0..requests).map(one).collect()
}

fn shares(slots: &[usize], workers: usize) -> Vec<u32> {
    let mut shares = vec![0; workers];
    for &slot in slots {
        shares[slot] += 1;
    }
    shares
}

/// Pearson's statistic of counts that should all be equal.
fn chi_square(counts: &[u32]) -> f64 {
    let expected =
        f64::from(counts.iter().sum::<u32>()) / f64::from(u32::try_from(counts.len()).unwrap());
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

#[test]
fn least_loaded_fills_level_by_level() {
    let (mut pool, _) = pool_of(Policy::LeastLoaded, 3, &[100; 5]);
    for round in 1..=20 {
        for _ in 0..5 {
            let _charge = take(&mut pool);
        }
        assert!(pool.workers().all(|worker| worker.pending == round));
    }
    assert_eq!((pool.audit().audits, pool.audit().regret), (100, 0.0));
}

#[test]
fn least_loaded_shares_by_weight() {
    let (mut pool, ids) = pool_of(Policy::LeastLoaded, 3, &[1000; 3]);
    for (&id, weight) in ids.iter().zip([1, 2, 7]) {
        pool.set_weight(id, NonZeroU16::new(weight).unwrap(), NOW).unwrap();
    }
    for _ in 0..1000 {
        let _charge = take(&mut pool);
    }
    let pending: Vec<u32> = pool.workers().map(|worker| worker.pending).collect();
    assert_eq!(pending, [100, 200, 700]);
}

#[test]
fn ties_rotate() {
    let (mut pool, _) = pool_of(Policy::LeastLoaded, 5, &[4; 10]);
    let slots = one_at_a_time(&mut pool, 1000);
    for turn in slots.windows(10) {
        assert_eq!(shares(turn, 10), [1; 10], "within ten requests each gets one");
    }
}

#[test]
fn least_loaded_takes_the_one_idle_longest() {
    let (mut pool, ids) = pool_of(Policy::LeastLoaded, 5, &[4; 3]);
    let mut leases: Vec<Lease> = (0..3).map(|_| take(&mut pool)).collect();
    leases.sort_by_key(Lease::worker);
    let [a, b, c] = <[Lease; 3]>::try_from(leases).unwrap();
    for lease in [b, a, c] {
        give_back(&mut pool, lease);
    }
    let order = one_at_a_time(&mut pool, 3);
    assert_eq!(order, [ids[1].index(), ids[0].index(), ids[2].index()]);
}

#[test]
fn first_order_is_shuffled_by_the_seed() {
    let order = |seed, policy| {
        let (mut pool, _) = pool_of(policy, seed, &[1; 4]);
        let leases: Vec<usize> = (0..4).map(|_| take(&mut pool).worker().index()).collect();
        leases
    };
    for policy in [Policy::LeastLoaded, Policy::RoundRobin] {
        assert_eq!(order(7, policy), order(7, policy), "a seed says it all");
        // 24 orders, 200 expected of each.
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..4800 {
            *counts.entry(order(seed, policy)).or_insert(0_u32) += 1;
        }
        let counts: Vec<u32> = counts.into_values().collect();
        assert_eq!(counts.len(), 24);
        // 23 degrees of freedom: above 49.7 once in a thousand.
        assert!(chi_square(&counts) < 49.7, "{counts:?}");
    }
}

/// Many balancers whose one worker comes back must not all find it at the same moment.
#[test]
fn a_worker_that_comes_up_is_shuffled_by_the_seed_too() {
    for policy in [Policy::LeastLoaded, Policy::RoundRobin] {
        for is_new in [true, false] {
            let mut counts = [0; 6];
            for seed in 0..6000 {
                let (mut pool, ids) = pool_of(policy, seed, &[1; 6]);
                let mut id = ids[0];
                if is_new {
                    pool.remove(id, NOW).unwrap();
                    assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(id)));
                    let spec = WorkerSpec::new(number(1));
                    id = pool.add(WorkerSpec { health: Health::Starting, ..spec }, NOW);
                } else {
                    pool.set_health(id, Health::Starting, NOW).unwrap();
                }
                pool.set_health(id, Health::Up, NOW).unwrap();
                let turn: Vec<Lease> = (0..6).map(|_| take(&mut pool)).collect();
                counts[turn.iter().position(|lease| lease.worker() == id).unwrap()] += 1;
            }
            // 5 degrees of freedom: above 20.5 once in a thousand.
            assert!(chi_square(&counts) < 20.5, "{policy}, new: {is_new}: {counts:?}");
        }
    }
}

#[test]
fn a_new_policy_shuffles_too() {
    let order = |seed| {
        let (mut pool, _) = pool_of(Policy::Random, seed, &[1; 6]);
        pool.set_policy(Policy::LeastLoaded);
        assert_eq!(pool.policy(), Policy::LeastLoaded);
        (0..6).map(|_| take(&mut pool).worker().index()).collect::<Vec<_>>()
    };
    assert!((0..10).any(|seed| order(seed) != order(10)));
}

#[test]
fn power_of_two_takes_the_lesser_of_a_uniform_pair() {
    // Loads are all different, so who is chosen tells the rank in the pair:
    // of the 15 pairs of 6 workers the r-th least loaded is the lesser of 5 - r.
    let (mut pool, ids) = pool_of(Policy::PowerOfTwo, 11, &[100; 6]);
    for (rank, &id) in ids.iter().enumerate() {
        for _ in 0..rank {
            let _charge = pool.dispatch_to(id, number(1)).unwrap();
        }
    }
    let shares = shares(&one_at_a_time(&mut pool, 15_000), 6);
    assert_eq!(shares[5], 0, "the most loaded is the lesser of no pair");
    let statistic: f64 = [5, 4, 3, 2, 1]
        .iter()
        .zip(&shares)
        .map(|(pairs, &share)| {
            let expected = 1000.0 * f64::from(*pairs);
            (f64::from(share) - expected).powi(2) / expected
        })
        .sum();
    // 4 degrees of freedom: above 18.5 once in a thousand.
    assert!(statistic < 18.5, "{shares:?}");
    let audit = pool.audit();
    assert_eq!(audit.audits, 15_000);
    // Only the pairs with the least loaded of all are not regretted: a third.
    let regretted = 15_000 - u64::from(shares[0]);
    assert_eq!(audit.regretted, regretted);
    let regret: u32 = (0..).zip(&shares).map(|(rank, share)| rank * share).sum();
    assert!((audit.regret - f64::from(regret)).abs() < 1e-6);
    assert!((audit.mean_regret() - f64::from(regret) / 15_000.0).abs() < 1e-9);
}

#[test]
fn power_of_two_takes_the_first_drawn_of_equals() {
    let (mut pool, _) = pool_of(Policy::PowerOfTwo, 12, &[4; 8]);
    let shares = shares(&one_at_a_time(&mut pool, 8000), 8);
    // 7 degrees of freedom: above 24.3 once in a thousand.
    assert!(chi_square(&shares) < 24.3, "{shares:?}");
}

#[test]
fn power_of_two_with_one_or_two_workers() {
    let (mut pool, ids) = pool_of(Policy::PowerOfTwo, 1, &[8]);
    for _ in 0..3 {
        assert_eq!(take(&mut pool).worker(), ids[0]);
    }
    // Two distinct workers are drawn: of two, both, so the lesser is sure.
    let second = pool.add(WorkerSpec::new(number(3)), NOW);
    for _ in 0..3 {
        assert_eq!(take(&mut pool).worker(), second);
    }
}

#[test]
fn random_is_uniform_whatever_the_load() {
    let (mut pool, ids) = pool_of(Policy::Random, 2, &[1000; 7]);
    for _ in 0..500 {
        let _charge = pool.dispatch_to(ids[0], number(1)).unwrap();
    }
    pool.set_weight(ids[1], NonZeroU16::new(100).unwrap(), NOW).unwrap();
    let shares = shares(&one_at_a_time(&mut pool, 7000), 7);
    // 6 degrees of freedom: above 22.5 once in a thousand.
    assert!(chi_square(&shares) < 22.5, "{shares:?}");
}

#[test]
fn drawing_skips_workers_that_cannot_take_the_request() {
    // 1 of 100 takes it: far beyond the rejected draws.
    for policy in [Policy::Random, Policy::PowerOfTwo] {
        let mut capacities = [1; 100];
        (capacities[40], capacities[60]) = (5, 5);
        let (mut pool, ids) = pool_of(policy, 9, &capacities);
        let request = Request { cost: number(5), ..Request::default() };
        let mut hits = [0, 0];
        for _ in 0..400 {
            let lease = pool.try_dispatch(&request, NOW).unwrap();
            hits[usize::from(lease.worker() == ids[60])] += 1;
            assert!([ids[40], ids[60]].contains(&lease.worker()));
            give_back(&mut pool, lease);
        }
        assert!(hits.iter().all(|&hits| hits > 140), "{policy}: {hits:?}");
        let only = Request { excluded: &ids[..50], ..request };
        assert_eq!(pool.try_dispatch(&only, NOW).unwrap().worker(), ids[60]);
        assert!(pool.try_dispatch(&only, NOW).is_err(), "it is full now");
    }
}

#[test]
fn round_robin_takes_turns_whatever_the_load() {
    let (mut pool, ids) = pool_of(Policy::RoundRobin, 4, &[1000; 4]);
    for _ in 0..500 {
        let _charge = pool.dispatch_to(ids[2], number(1)).unwrap();
    }
    pool.set_weight(ids[0], NonZeroU16::new(9).unwrap(), NOW).unwrap();
    let first: Vec<usize> = (0..4).map(|_| take(&mut pool).worker().index()).collect();
    for _ in 0..20 {
        let next: Vec<usize> = (0..4).map(|_| take(&mut pool).worker().index()).collect();
        assert_eq!(next, first);
    }
    assert_eq!(shares(&first, 4), [1; 4]);
}

#[test]
fn round_robin_keeps_turns_when_requests_complete() {
    let (mut pool, _) = pool_of(Policy::RoundRobin, 4, &[10; 3]);
    let [a, b, c] = [take(&mut pool), take(&mut pool), take(&mut pool)];
    let order = [a.worker(), b.worker(), c.worker()];
    give_back(&mut pool, a);
    let next = [take(&mut pool), take(&mut pool), take(&mut pool)];
    assert_eq!(next.map(|lease| lease.worker()), order);
}

#[test]
fn round_robin_passes_over_full_and_excluded_workers() {
    let (mut pool, ids) = pool_of(Policy::RoundRobin, 4, &[1, 2, 3]);
    let got: Vec<usize> = (0..6).map(|_| take(&mut pool).worker().index()).collect();
    assert_eq!(shares(&got, 3), [1, 2, 3]);
    assert_eq!(shares(&got[..3], 3), [1; 3]);
    assert_eq!(got[5], 2);
    assert!(pool.try_dispatch(&Request::default(), NOW).is_err());

    let (mut pool, ids2) = pool_of(Policy::RoundRobin, 4, &[9; 3]);
    assert_eq!(ids, ids2);
    let request = Request { excluded: &ids2[1..2], ..Request::default() };
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(pool.try_dispatch(&request, NOW).unwrap().worker());
    }
    assert!(!turns.contains(&ids2[1]));
    assert_eq!((turns[0], turns[1]), (turns[2], turns[3]));
    assert_ne!(turns[0], turns[1]);
    // The one that was passed over has kept its turn.
    assert_eq!(take(&mut pool).worker(), ids2[1]);
}

#[test]
fn round_robin_counts_a_request_from_the_line_as_a_turn() {
    let (mut pool, ids) = pool_of(Policy::RoundRobin, 4, &[6, 6]);
    let large = pool.dispatch_to(ids[0], number(2)).unwrap();
    let _rest = [pool.dispatch_to(ids[0], number(1)), pool.dispatch_to(ids[1], number(4))];
    let request = Request { cost: number(4), ..Request::default() };
    assert!(matches!(pool.dispatch(&request, (), NOW), Dispatch::InLine(_)));
    give_back(&mut pool, large);
    let Some(Outcome::Assigned { lease, .. }) = pool.poll_outcome() else { panic!() };
    assert_eq!(lease.worker(), ids[0]);
    // It was first, with room for one more, and has had its turn.
    assert_eq!([take(&mut pool).worker(), take(&mut pool).worker()], [ids[1], ids[0]]);
}

#[test]
fn a_worker_that_had_no_turn_joins_at_the_end() {
    let (mut pool, ids) = pool_of(Policy::RoundRobin, 4, &[9; 4]);
    pool.set_health(ids[0], Health::Down, NOW).unwrap();
    let turn = one_at_a_time(&mut pool, 3);
    assert!(!turn.contains(&0));
    pool.set_health(ids[0], Health::Up, NOW).unwrap();
    assert_eq!(one_at_a_time(&mut pool, 4), [turn[0], turn[1], turn[2], 0]);
}

#[test]
fn policies_are_named() {
    for policy in Policy::ALL {
        assert_eq!(policy.to_string().parse(), Ok(policy));
        assert_eq!(format!("{policy:>14}").trim(), policy.name());
        let (pool, _) = pool_of(policy, 0, &[1]);
        assert_eq!((pool.policy(), pool.config().policy), (policy, policy));
    }
    let names = Policy::ALL.map(Policy::name);
    assert_eq!(names, ["least-loaded", "power-of-two", "round-robin", "random"]);
    let unknown = "fastest".parse::<Policy>().unwrap_err();
    assert!(names.iter().all(|name| unknown.to_string().contains(name)));
}

#[test]
fn every_policy_uses_all_room_and_no_more() {
    for policy in Policy::ALL {
        let (mut pool, ids) = pool_of(policy, 21, &[1, 4, 2, 7, 1]);
        let mut leases: Vec<Lease> = (0..15).map(|_| take(&mut pool)).collect();
        assert!(pool.try_dispatch(&Request::default(), NOW).is_err());
        for _ in 0..200 {
            give_back(&mut pool, leases.remove(0));
            leases.push(take(&mut pool));
        }
        pool.set_health(ids[3], Health::Down, NOW).unwrap();
        pool.check_invariants().unwrap();
        for lease in leases {
            give_back(&mut pool, lease);
        }
        assert_eq!(pool.pending(), 0);
        assert!((0..8).all(|_| take(&mut pool).worker() != ids[3]));
        pool.set_policy(Policy::ALL[(policy as usize + 1) % 4]);
        pool.check_invariants().unwrap();
        assert!(pool.try_dispatch(&Request::default(), NOW).is_err());
    }
}
