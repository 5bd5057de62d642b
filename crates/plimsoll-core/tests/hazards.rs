//! What really goes wrong in dispatchers, each as a test of that name. The
//! rows are those of the hazard list: where it was seen, and what it was.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use plimsoll_core::{
    Blocked, Completion, Config, Dispatch, Health, Lease, Outcome, Penalty, Pool, Refusal, Request,
    Ticket, Time, WorkerId, WorkerSpec,
};

const NOW: Time = Time::ZERO;

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

fn after(seconds: u64) -> Time {
    NOW + Duration::from_secs(seconds)
}

fn pool_of(capacities: &[u32]) -> (Pool<u32>, Vec<WorkerId>) {
    let mut pool = Pool::new(Config { line: 200_000, audit_every: 1, ..Config::default() });
    let specs = capacities.iter().map(|&capacity| WorkerSpec::new(number(capacity)));
    let ids = specs.map(|spec| pool.add(spec, NOW)).collect();
    (pool, ids)
}

fn take(pool: &mut Pool<u32>) -> Lease {
    pool.try_dispatch(&Request::default(), NOW).expect("a worker has room")
}

fn wait(pool: &mut Pool<u32>, request: &Request<'_>, tag: u32) -> Ticket {
    match pool.dispatch(request, tag, NOW) {
        Dispatch::InLine(ticket) => ticket,
        other => panic!("{other:?}, but it should wait"),
    }
}

fn give_back(pool: &mut Pool<u32>, lease: Lease) {
    pool.completed(lease, Completion::Succeeded, NOW).unwrap();
}

fn served(pool: &mut Pool<u32>) -> (Lease, u32) {
    match pool.poll_outcome() {
        Some(Outcome::Assigned { lease, tag, .. }) => (lease, tag),
        other => panic!("{other:?}, but the line should be served"),
    }
}

fn check(pool: &Pool<u32>) {
    pool.check_invariants().unwrap();
    let audit = pool.audit();
    assert_eq!((audit.regretted, audit.idle_while_waiting), (0, 0));
}

// How a least-loaded dispatcher goes wrong.

/// grpc-gcp-java #234: the count is raised after the choice, not with it.
#[test]
fn the_count_rises_with_the_choice() {
    let (mut pool, ids) = pool_of(&[8, 8]);
    for round in 1..=8 {
        let both = [take(&mut pool).worker(), take(&mut pool).worker()];
        assert_ne!(both[0], both[1]);
        assert!(ids.iter().all(|&id| pool.worker(id).unwrap().pending == round));
    }
}

/// Akka.NET #2996, vllm-ascend #15251: ties go to the first index.
#[test]
fn ties_do_not_go_to_the_first_index() {
    let (mut pool, _) = pool_of(&[100; 10]);
    for _ in 0..100_000 {
        let lease = take(&mut pool);
        give_back(&mut pool, lease);
    }
    assert!(pool.workers().all(|worker| worker.dispatched == 10_000));
}

/// `worker_pool`'s `best_worker`: the running request is not counted, only the queue.
#[test]
fn the_running_request_counts() {
    let (mut pool, _) = pool_of(&[2, 2]);
    let busy = take(&mut pool).worker();
    assert_ne!(take(&mut pool).worker(), busy);
}

/// piscina #1056: a worker that is still starting looks emptiest.
#[test]
fn a_starting_worker_gets_nothing() {
    let (mut pool, ids) = pool_of(&[2]);
    let mut spec = WorkerSpec::new(number(5));
    spec.health = Health::Starting;
    let starting = pool.add(spec, NOW);
    assert_eq!([take(&mut pool).worker(), take(&mut pool).worker()], [ids[0], ids[0]]);
    // What it alone could take waits for it, and is not refused.
    let large = Request { cost: number(5), ..Request::default() };
    wait(&mut pool, &large, 1);
    assert_eq!(pool.poll_outcome(), None);
    check(&pool);
    pool.set_health(starting, Health::Up, NOW).unwrap();
    let (lease, tag) = served(&mut pool);
    assert_eq!((lease.worker(), tag), (starting, 1));
    check(&pool);
}

/// Ray #50313, ingress-nginx #9025: a worker that fails fast looks emptiest.
#[test]
fn failing_fast_attracts_nothing() {
    let (mut pool, ids) = pool_of(&[1000; 10]);
    let mut slow = Vec::new();
    for _ in 0..2000 {
        let lease = take(&mut pool);
        if lease.worker() == ids[0] {
            pool.completed(lease, Completion::Failed, NOW).unwrap();
        } else {
            slow.push(lease);
        }
    }
    let magnet = pool.worker(ids[0]).unwrap();
    assert!(magnet.dispatched <= 200, "no more than its share: {magnet:?}");
    assert_eq!((magnet.failed, magnet.completed), (magnet.dispatched, magnet.dispatched));
    assert!(magnet.penalty > 0);
    check(&pool);
    // It is forgiven in time.
    while let Some(at) = pool.poll_timeout() {
        pool.handle_timeout(at);
        check(&pool);
    }
    assert_eq!(pool.worker(ids[0]).unwrap().penalty, 0);
    assert_eq!(take(&mut pool).worker(), ids[0]);
}

/// Caddy #7966, Traefik #4845: a cold worker gets everything at once.
#[test]
fn slow_start_on_join() {
    let (mut pool, _) = pool_of(&[1000; 3]);
    for _ in 0..300 {
        let _charge = take(&mut pool);
    }
    let mut spec = WorkerSpec::new(number(160));
    spec.health = Health::Starting;
    let cold = pool.add(spec, NOW);
    pool.start_ramp(cold, Duration::from_secs(16), NOW).unwrap();
    pool.set_health(cold, Health::Up, NOW).unwrap();
    let mut carried = Vec::new();
    for second in 1..=16_u32 {
        for _ in 0..40 {
            let _charge = take(&mut pool);
        }
        let cold = pool.worker(cold).unwrap();
        assert_eq!(cold.capacity_in_force, 10 * second.min(16));
        assert!(cold.pending <= cold.capacity_in_force);
        carried.push(cold.pending);
        assert_eq!(pool.poll_timeout(), Some(after(u64::from(second))).filter(|_| second < 16));
        pool.handle_timeout(after(u64::from(second)));
        check(&pool);
    }
    assert!(carried[0] <= 10, "{carried:?}");
    assert!(carried.windows(2).all(|pair| pair[0] < pair[1]), "{carried:?}");
}

/// Slow start again while one runs, and for a worker that leaves.
#[test]
fn a_ramp_starts_anew_and_ends_with_its_worker() {
    let (mut pool, ids) = pool_of(&[160, 1]);
    pool.start_ramp(ids[0], Duration::from_secs(16), NOW).unwrap();
    pool.handle_timeout(after(9));
    assert_eq!(pool.worker(ids[0]).unwrap().capacity_in_force, 100);
    pool.start_ramp(ids[0], Duration::from_secs(32), after(9)).unwrap();
    assert_eq!(pool.worker(ids[0]).unwrap().capacity_in_force, 10);
    assert_eq!(pool.poll_timeout(), Some(after(11)), "the old ramp's steps are void");
    pool.set_capacity(ids[0], number(8), NOW).unwrap();
    assert_eq!(pool.worker(ids[0]).unwrap().capacity_in_force, 1, "never below 1");
    pool.remove(ids[0], after(10)).unwrap();
    assert_eq!(pool.poll_timeout(), None);
    assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(ids[0])));
}

/// Envoy #44989: requests still connecting are not counted.
#[test]
fn connecting_requests_count_until_taken_back() {
    let (mut pool, ids) = pool_of(&[50, 50]);
    let connecting: Vec<Lease> = (0..20).map(|_| take(&mut pool)).collect();
    assert!(ids.iter().all(|&id| pool.worker(id).unwrap().pending == 10));
    pool.set_health(ids[0], Health::Down, NOW).unwrap();
    for (tag, lease) in (0..).zip(connecting) {
        if lease.worker() == ids[0] {
            pool.take_back(lease, &Request::default(), tag, NOW).unwrap();
            assert_eq!(served(&mut pool).0.worker(), ids[1]);
        }
        check(&pool);
    }
    let [left, right] = [ids[0], ids[1]].map(|id| pool.worker(id).unwrap());
    assert_eq!((left.pending, left.dispatched, right.pending), (0, 0, 20));
    assert_eq!((left.failed, left.penalty), (0, 0), "it is not blamed");
}

/// Envoy: weights or slow start switch the algorithm off.
#[test]
fn weights_do_not_switch_the_order_off() {
    let (mut pool, ids) = pool_of(&[1000, 1000]);
    pool.set_weight(ids[0], NonZeroU16::new(3).unwrap(), NOW).unwrap();
    pool.start_ramp(ids[1], Duration::from_secs(1), NOW).unwrap();
    // Busy with other work: the next ones go elsewhere, whatever the weights.
    let _busy = pool.dispatch_to(ids[0], number(500)).unwrap();
    for _ in 0..8 {
        assert_eq!(take(&mut pool).worker(), ids[1]);
    }
    check(&pool);
}

/// tower #856: a cached index outlives a removal.
#[test]
fn an_old_id_never_reaches_the_worker_in_its_slot() {
    let (mut pool, ids) = pool_of(&[4]);
    pool.remove(ids[0], NOW).unwrap();
    let next = pool.add(WorkerSpec::new(number(4)), NOW);
    assert_eq!(next.index(), ids[0].index());
    assert_ne!(next, ids[0]);
    assert_eq!(pool.worker(ids[0]), None);
    assert!(pool.remove(ids[0], NOW).is_err());
    assert!(pool.set_capacity(ids[0], number(1), NOW).is_err());
    assert!(pool.dispatch_to(ids[0], number(1)).is_err());
    // A stale id excludes nothing.
    let request = Request { excluded: &ids, ..Request::default() };
    assert_eq!(pool.try_dispatch(&request, NOW).unwrap().worker(), next);
    check(&pool);
}

/// vLLM, dynamo: a request is charged as 1 though requests differ a hundredfold.
#[test]
fn cost_is_charged_and_settled() {
    let (mut pool, ids) = pool_of(&[200, 200]);
    let heavy = Request { cost: number(100), ..Request::default() };
    let heavy = pool.try_dispatch(&heavy, NOW).unwrap();
    let light: Vec<Lease> = (0..100).map(|_| take(&mut pool)).collect();
    assert!(light.iter().all(|lease| lease.worker() != heavy.worker()));
    assert_eq!(pool.pending(), 200);
    give_back(&mut pool, heavy);
    for lease in light {
        give_back(&mut pool, lease);
    }
    assert!(ids.iter().all(|&id| pool.worker(id).unwrap().pending == 0));
    check(&pool);
}

// Pending-count bugs.

/// `HAProxy` 099c1b244: queue length never decremented on aborted streams.
#[test]
fn abort_100k_requests_in_queue() {
    let (mut pool, _) = pool_of(&[1]);
    let running = take(&mut pool);
    let deadline = Some(after(1));
    let mut tickets = Vec::new();
    for tag in 0..100_000 {
        let timed = tag % 4 == 0;
        let request = Request { deadline: deadline.filter(|_| timed), ..Request::default() };
        let ticket = wait(&mut pool, &request, tag);
        if !timed {
            tickets.push((ticket, tag));
        }
    }
    assert_eq!(pool.waiting(), 100_000);
    // From the middle outward, in an order that has nothing to do with arrival.
    for place in 0..tickets.len() {
        let (ticket, tag) = tickets[place * 40_507 % tickets.len()];
        assert_eq!(pool.cancel(ticket, NOW), Some(tag));
    }
    assert_eq!(pool.waiting(), 25_000);
    assert_eq!(pool.poll_timeout(), deadline);
    pool.handle_timeout(after(1));
    for _ in 0..25_000 {
        let outcome = pool.poll_outcome();
        let expected = Refusal::DeadlinePassed;
        assert!(matches!(outcome, Some(Outcome::Refused { reason, .. }) if reason == expected));
    }
    assert_eq!((pool.waiting(), pool.poll_outcome(), pool.poll_timeout()), (0, None, None));
    give_back(&mut pool, running);
    assert_eq!(pool.pending(), 0);
    check(&pool);
}

/// `HAProxy` 6be02d1c6: an endless loop when all servers are saturated.
#[test]
fn all_full_is_bounded() {
    let (mut pool, _) = pool_of(&[1, 1]);
    pool.set_line(3);
    let leases = [take(&mut pool), take(&mut pool)];
    for tag in 0..3 {
        wait(&mut pool, &Request::default(), tag);
    }
    for tag in 3..1000 {
        let refused = pool.dispatch(&Request::default(), tag, NOW);
        assert_eq!(refused, Dispatch::Refused(Refusal::LineFull, tag));
    }
    assert_eq!(pool.try_dispatch(&Request::default(), NOW), Err(Blocked::WouldWait));
    check(&pool);
    for (tag, lease) in (0..).zip(leases) {
        give_back(&mut pool, lease);
        assert_eq!(served(&mut pool).1, tag);
    }
    assert_eq!((pool.waiting(), pool.pending()), (1, 2));
    check(&pool);
}

/// `HAProxy` e28e647fe: a loop when the retry must avoid the only server.
#[test]
fn retry_with_one_backend() {
    let (mut pool, ids) = pool_of(&[4]);
    let lease = take(&mut pool);
    pool.completed(lease, Completion::Failed, NOW).unwrap();
    let elsewhere = Request { excluded: &ids, ..Request::default() };
    let refused = pool.dispatch(&elsewhere, 1, NOW);
    assert_eq!(refused, Dispatch::Refused(Refusal::EveryWorkerExcluded, 1));
    // Twice in the list is once.
    let twice = [ids[0], ids[0]];
    let twice = Request { excluded: &twice, ..Request::default() };
    assert_eq!(pool.try_dispatch(&twice, NOW), Err(Blocked::Refused(Refusal::EveryWorkerExcluded)));
    let other = pool.add(WorkerSpec::new(number(1)), NOW);
    assert_eq!(pool.try_dispatch(&twice, NOW).unwrap().worker(), other);
    // Now it waits for the other one, and the first serves those behind it.
    wait(&mut pool, &elsewhere, 2);
    assert_eq!(take(&mut pool).worker(), ids[0]);
    check(&pool);
    pool.remove(other, NOW).unwrap();
    let given_up = pool.poll_outcome();
    let reason = Refusal::EveryWorkerExcluded;
    assert!(matches!(given_up, Some(Outcome::Refused { reason: r, tag: 2, .. }) if r == reason));
    check(&pool);
}

/// `HAProxy` 913b2d6c8, f59297e49: reposition races with changes of its server.
#[test]
fn a_storm_of_changes_while_releasing() {
    let (mut pool, mut ids) = pool_of(&[3; 8]);
    let mut leases = Vec::new();
    for round in 0..4000_u32 {
        let place = (round.wrapping_mul(2_654_435_761) >> 16) as usize;
        let id = ids[place % ids.len()];
        match round % 8 {
            0 => {
                pool.remove(id, NOW).unwrap();
                ids.retain(|&other| other != id);
                ids.push(pool.add(WorkerSpec::new(number(3)), NOW));
            }
            1 => pool.set_health(id, Health::Down, NOW).unwrap(),
            2 => {
                let weight = NonZeroU16::new(1 + (round % 5) as u16).unwrap();
                pool.set_weight(id, weight, NOW).unwrap();
            }
            3 => pool.set_capacity(id, number(1 + round % 4), NOW).unwrap(),
            4 => ids.iter().for_each(|&id| pool.set_health(id, Health::Up, NOW).unwrap()),
            _ => {}
        }
        if let Dispatch::Assigned(lease, _) = pool.dispatch(&Request::default(), round, NOW) {
            leases.push(lease);
        }
        if !leases.is_empty() && round % 3 > 0 {
            let lease = leases.swap_remove(place % leases.len());
            give_back(&mut pool, lease);
        }
        while let Some(outcome) = pool.poll_outcome() {
            if let Outcome::Assigned { lease, .. } = outcome {
                leases.push(lease);
            }
        }
        assert_eq!(pool.pending(), leases.len() as u64);
        check(&pool);
    }
}

/// `HAProxy` 5541d4995: queued just after the last one finished, and then forgotten.
#[test]
fn whoever_waits_is_served_by_the_next_completion() {
    let (mut pool, _) = pool_of(&[1]);
    let mut lease = take(&mut pool);
    for tag in 0..1000 {
        wait(&mut pool, &Request::default(), tag);
        give_back(&mut pool, lease);
        let (next, served) = served(&mut pool);
        assert_eq!(served, tag);
        lease = next;
        check(&pool);
    }
}

/// `HAProxy` f1064c738: raised at one counter, lowered at another.
#[test]
fn a_lease_goes_back_to_the_pool_that_made_it() {
    let (mut mine, _) = pool_of(&[4]);
    let (mut other, _) = pool_of(&[4]);
    let (my_lease, foreign) = (take(&mut mine), take(&mut other));
    assert!(mine.completed(foreign, Completion::Succeeded, NOW).is_err());
    assert_eq!((mine.pending(), other.pending()), (1, 1));
    let foreign = take(&mut other);
    let (error, tag) = mine.take_back(foreign, &Request::default(), 5, NOW).unwrap_err();
    assert_eq!((error.to_string().contains("not made"), tag), (true, 5));
    assert_eq!(mine.waiting(), 0);
    give_back(&mut mine, my_lease);
    check(&mine);
}

/// llm-d-router #1739: an endpoint flaps, and the decrement lands on its new counter.
#[test]
fn a_stale_lease_touches_nothing() {
    let (mut pool, ids) = pool_of(&[4]);
    let old = take(&mut pool);
    pool.remove(ids[0], NOW).unwrap();
    assert_eq!(pool.poll_outcome(), None, "it stays until its last lease is back");
    let new = pool.add(WorkerSpec::new(number(4)), NOW);
    let lease = take(&mut pool);
    assert_eq!(lease.worker(), new);
    give_back(&mut pool, old);
    assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(ids[0])));
    assert_eq!(pool.worker(new).unwrap().pending, 1);
    give_back(&mut pool, lease);
    check(&pool);
}

/// `SkyPilot` #10444: the count sinks on the success path only.
#[test]
fn every_way_out_gives_back() {
    let (mut pool, ids) = pool_of(&[8]);
    let [a, b, c] = [take(&mut pool), take(&mut pool), take(&mut pool)];
    give_back(&mut pool, a);
    pool.completed(b, Completion::Failed, NOW).unwrap();
    pool.take_back(c, &Request { excluded: &ids, ..Request::default() }, 1, NOW).unwrap();
    let outcome = pool.poll_outcome();
    assert!(matches!(outcome, Some(Outcome::Refused { tag: 1, .. })), "{outcome:?}");
    let d = take(&mut pool);
    pool.remove(ids[0], NOW).unwrap();
    give_back(&mut pool, d);
    assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(ids[0])));
    assert_eq!((pool.pending(), pool.workers().count()), (0, 0));
    check(&pool);
}

/// `LiteLLM` #40401: a count that went below zero wins every pick.
#[test]
fn flapping_never_goes_negative() {
    let (mut pool, ids) = pool_of(&[16, 16]);
    let mut leases = Vec::new();
    for round in 0..500 {
        pool.set_health(ids[0], Health::Down, NOW).unwrap();
        leases.push(take(&mut pool));
        pool.set_health(ids[0], Health::Up, NOW).unwrap();
        leases.push(take(&mut pool));
        if round % 2 == 1 {
            for lease in leases.drain(..) {
                give_back(&mut pool, lease);
            }
            assert_eq!(pool.pending(), 0);
        }
        check(&pool);
    }
    let shares: Vec<u64> = pool.workers().map(|worker| worker.dispatched).collect();
    assert_eq!(shares.iter().sum::<u64>(), 1000);
}

/// Traefik #13913: counts in flight are reset on reload.
#[test]
fn counts_survive_a_reload() {
    let (mut pool, ids) = pool_of(&[4000; 3]);
    let leases: Vec<Lease> = (0..3000).map(|_| take(&mut pool)).collect();
    for &id in &ids {
        pool.set_capacity(id, number(2000), NOW).unwrap();
        pool.set_weight(id, NonZeroU16::new(2).unwrap(), NOW).unwrap();
    }
    pool.set_policy(pool.policy());
    assert!(pool.workers().all(|worker| worker.pending == 1000));
    for lease in leases {
        give_back(&mut pool, lease);
    }
    assert_eq!(pool.pending(), 0);
    check(&pool);
}

/// sozu's fixes: gauges that run below zero, count twice, or leak.
#[test]
fn draining_counts_to_zero() {
    let (mut pool, ids) = pool_of(&[3, 3]);
    let leases: Vec<Lease> = (0..6).map(|_| take(&mut pool)).collect();
    pool.set_draining(ids[0], true, NOW).unwrap();
    wait(&mut pool, &Request::default(), 1);
    for lease in leases {
        give_back(&mut pool, lease);
        check(&pool);
    }
    let (lease, _) = served(&mut pool);
    assert_eq!(lease.worker(), ids[1], "a draining worker gets nothing new");
    assert_eq!(pool.worker(ids[0]).unwrap().pending, 0);
    assert!(pool.worker(ids[0]).unwrap().draining);
    pool.set_draining(ids[0], false, NOW).unwrap();
    assert_eq!(take(&mut pool).worker(), ids[0]);
}

// The line.

/// A request that stopped the line and is then passed over must not hide other
/// workers' room from those behind it.
#[test]
fn passed_over_after_it_stopped_the_line() {
    let (mut pool, ids) = pool_of(&[5, 2]);
    let filling = pool.dispatch_to(ids[0], number(5)).unwrap();
    let not_first = Request { cost: number(2), excluded: &ids[..1], ..Request::default() };
    let _busy = pool.dispatch_to(ids[1], number(1)).unwrap();
    wait(&mut pool, &not_first, 1);
    wait(&mut pool, &Request { excluded: &ids[..1], ..Request::default() }, 2);
    check(&pool);
    give_back(&mut pool, filling);
    assert_eq!(served(&mut pool).1, 2);
    check(&pool);
}

/// The head of the line is not overtaken by small requests for ever.
#[test]
fn a_large_request_is_not_starved() {
    let (mut pool, _) = pool_of(&[4]);
    let mut leases: Vec<Lease> = (0..4).map(|_| take(&mut pool)).collect();
    wait(&mut pool, &Request { cost: number(4), ..Request::default() }, 0);
    for tag in 1..=4 {
        wait(&mut pool, &Request::default(), tag);
    }
    for lease in leases.drain(1..) {
        give_back(&mut pool, lease);
        assert_eq!(pool.poll_outcome(), None, "room for 1 or 3 is not room for the head");
        assert_eq!(pool.try_dispatch(&Request::default(), NOW), Err(Blocked::WouldWait));
        check(&pool);
    }
    give_back(&mut pool, leases.remove(0));
    assert_eq!(served(&mut pool).1, 0);
    assert_eq!(pool.waiting(), 4);
    check(&pool);
}

/// A request taken back stands where it stood, before all that came later.
#[test]
fn a_request_taken_back_keeps_its_place() {
    let (mut pool, ids) = pool_of(&[2]);
    pool.set_line(2);
    let [first, second] = [take(&mut pool), take(&mut pool)];
    wait(&mut pool, &Request::default(), 3);
    wait(&mut pool, &Request::default(), 4);
    pool.set_health(ids[0], Health::Starting, NOW).unwrap();
    // Over the bound, and in any order.
    pool.take_back(second, &Request::default(), 2, NOW).unwrap();
    pool.take_back(first, &Request::default(), 1, NOW).unwrap();
    assert_eq!((pool.waiting(), pool.longest_wait(after(2))), (4, Some(Duration::from_secs(2))));
    pool.set_health(ids[0], Health::Up, NOW).unwrap();
    let mut order = Vec::new();
    for _ in 0..4 {
        let (lease, tag) = served(&mut pool);
        order.push(tag);
        give_back(&mut pool, lease);
    }
    assert_eq!(order, [1, 2, 3, 4]);
    check(&pool);
}

/// A deadline is kept in line too, by whichever call comes first.
#[test]
fn a_request_past_its_deadline_is_not_dispatched() {
    let (mut pool, _) = pool_of(&[1]);
    let soon = Request { deadline: Some(after(5)), ..Request::default() };
    let lease = take(&mut pool);
    wait(&mut pool, &soon, 1);
    wait(&mut pool, &Request::default(), 2);
    assert_eq!(pool.poll_timeout(), Some(after(5)));
    pool.completed(lease, Completion::Succeeded, after(5)).unwrap();
    let refused = pool.poll_outcome();
    let reason = Refusal::DeadlinePassed;
    assert!(matches!(refused, Some(Outcome::Refused { reason: r, tag: 1, .. }) if r == reason));
    assert_eq!(served(&mut pool).1, 2);
    assert_eq!(pool.poll_timeout(), None);
    assert_eq!(pool.try_dispatch(&soon, after(5)), Err(Blocked::Refused(reason)));
    check(&pool);
}

/// Penalties of the largest step and weight stay in range.
#[test]
fn the_largest_penalty_does_not_overflow() {
    let penalty = Penalty { step: u16::MAX, most: u16::MAX, half_life: Duration::ZERO };
    let mut pool: Pool<u32> = Pool::new(Config { penalty, ..Config::default() });
    let mut spec = WorkerSpec::new(number(u32::MAX));
    spec.weight = NonZeroU16::MAX;
    let id = pool.add(spec, NOW);
    let all = Request { cost: number(u32::MAX), ..Request::default() };
    for _ in 0..3 {
        let lease = pool.try_dispatch(&all, NOW).unwrap();
        assert!(pool.worker(id).unwrap().load >= pool.worker(id).unwrap().load);
        assert_eq!(pool.try_dispatch(&Request::default(), NOW), Err(Blocked::WouldWait));
        pool.completed(lease, Completion::Failed, NOW).unwrap();
        assert_eq!(pool.worker(id).unwrap().penalty, u32::from(u16::MAX) * u32::from(u16::MAX));
        check(&pool);
    }
    // A half-life of nothing is taken as 1 ms, or this would never end.
    assert_eq!(pool.poll_timeout(), Some(NOW + Duration::from_millis(1)));
    pool.handle_timeout(after(1));
    assert_eq!((pool.worker(id).unwrap().penalty, pool.poll_timeout()), (0, None));
}

/// What a failure costs can change; a penalty that stands keeps its size and
/// the moment of its next halving.
#[test]
fn a_changed_penalty_is_for_the_failures_to_come() {
    let penalty = Penalty { step: 8, most: 100, half_life: Duration::from_secs(10) };
    let mut pool: Pool<u32> = Pool::new(Config { penalty, ..Config::default() });
    let id = pool.add(WorkerSpec::new(number(1)), NOW);
    let fail = |pool: &mut Pool<u32>, at| {
        let lease = pool.try_dispatch(&Request::default(), at).unwrap();
        pool.completed(lease, Completion::Failed, at).unwrap();
        pool.worker(id).unwrap().penalty
    };
    assert_eq!(fail(&mut pool, NOW), 8);
    pool.set_penalty(Penalty { step: 1, most: 100, half_life: Duration::from_secs(50) });
    assert_eq!((fail(&mut pool, NOW), pool.poll_timeout()), (9, Some(after(10))));
    pool.handle_timeout(after(10));
    assert_eq!((pool.worker(id).unwrap().penalty, pool.poll_timeout()), (4, Some(after(60))));
    check(&pool);
}
