//! Bad input, and the ends of every range: a typed error, never a panic.

use std::cmp::Ordering;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use plimsoll_core::{
    Blocked, Completion, Config, Dispatch, DispatchToError, Health, Outcome, Pool, Refusal,
    Request, Time, UnknownWorker, WorkerId, WorkerSpec,
};

const NOW: Time = Time::ZERO;

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

fn costing(cost: u32) -> Request<'static> {
    Request { cost: number(cost), ..Request::default() }
}

fn unknown_to_every_call(pool: &mut Pool<()>, id: WorkerId) {
    let unknown = Err(UnknownWorker(id));
    assert_eq!(pool.remove(id, NOW), unknown);
    assert_eq!(pool.set_health(id, Health::Up, NOW), unknown);
    assert_eq!(pool.set_draining(id, false, NOW), unknown);
    assert_eq!(pool.set_weight(id, NonZeroU16::MIN, NOW), unknown);
    assert_eq!(pool.set_capacity(id, number(9), NOW), unknown);
    assert_eq!(pool.start_ramp(id, Duration::from_secs(1), NOW), unknown);
    let to = pool.dispatch_to(id, number(1));
    assert_eq!(to, Err(DispatchToError::Unknown(UnknownWorker(id))));
    assert_eq!(pool.poll_timeout(), None);
    pool.check_invariants().unwrap();
}

#[test]
fn stale_ids_are_unknown_to_every_call() {
    let mut pool: Pool<()> = Pool::new(Config::default());
    let id = pool.add(WorkerSpec::new(number(1)), NOW);
    let lease = pool.try_dispatch(&Request::default(), NOW).unwrap();
    pool.remove(id, NOW).unwrap();
    unknown_to_every_call(&mut pool, id);
    assert!(pool.worker(id).unwrap().draining, "it still has a lease out");
    pool.completed(lease, Completion::Succeeded, NOW).unwrap();
    assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(id)));
    unknown_to_every_call(&mut pool, id);
    let again = pool.add(WorkerSpec::new(number(1)), NOW);
    unknown_to_every_call(&mut pool, id);
    assert_eq!(pool.worker(id), None);
    assert_eq!(pool.worker(again).unwrap().capacity.get(), 1);
    assert_eq!((id.to_string(), again.to_string()), ("0.0".into(), "0.1".into()));
    assert_eq!(UnknownWorker(id).to_string(), "worker 0.0 is not in the pool");
    // An id of another pool, past all slots of this one.
    let mut other: Pool<()> = Pool::new(Config::default());
    other.add(WorkerSpec::new(number(1)), NOW);
    let far = other.add(WorkerSpec::new(number(1)), NOW);
    unknown_to_every_call(&mut pool, far);
}

#[test]
fn a_ticket_is_void_once_its_request_has_left() {
    let mut pool: Pool<&str> = Pool::new(Config::default());
    pool.add(WorkerSpec::new(number(1)), NOW);
    let lease = pool.try_dispatch(&Request::default(), NOW).unwrap();
    let Dispatch::InLine(ticket) = pool.dispatch(&Request::default(), "a", NOW) else { panic!() };
    pool.completed(lease, Completion::Succeeded, NOW).unwrap();
    assert_eq!(pool.cancel(ticket, NOW), None, "it was served");
    let Some(Outcome::Assigned { ticket: told, .. }) = pool.poll_outcome() else { panic!() };
    assert_eq!(told, ticket);
}

#[test]
fn refusals_say_why() {
    let mut pool: Pool<u8> = Pool::new(Config { line: 0, ..Config::default() });
    let refused = |pool: &mut Pool<u8>, request: &Request<'_>| match pool.dispatch(request, 7, NOW)
    {
        Dispatch::Refused(reason, 7) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut pool, &costing(1)), Refusal::NoWorker);
    let id = pool.add(WorkerSpec::new(number(4)), NOW);
    assert_eq!(refused(&mut pool, &costing(5)), Refusal::CostTooLarge);
    assert_eq!(refused(&mut pool, &costing(u32::MAX)), Refusal::CostTooLarge);
    let late = Request { deadline: Some(NOW), ..costing(1) };
    assert_eq!(refused(&mut pool, &late), Refusal::DeadlinePassed);
    let excluding = Request { excluded: &[id], ..costing(4) };
    assert_eq!(refused(&mut pool, &excluding), Refusal::EveryWorkerExcluded);
    let _full = pool.try_dispatch(&costing(4), NOW).unwrap();
    assert_eq!(refused(&mut pool, &costing(1)), Refusal::LineFull);
    // A second worker that is too small for it changes nothing for the large.
    let small = pool.add(WorkerSpec::new(number(3)), NOW);
    assert_eq!(refused(&mut pool, &excluding), Refusal::EveryWorkerExcluded);
    let both = [id, small];
    let either = Request { excluded: &both, ..costing(3) };
    assert_eq!(refused(&mut pool, &either), Refusal::EveryWorkerExcluded);
    pool.set_health(id, Health::Down, NOW).unwrap();
    assert_eq!(refused(&mut pool, &excluding), Refusal::CostTooLarge);
    pool.set_draining(small, true, NOW).unwrap();
    assert_eq!(refused(&mut pool, &costing(1)), Refusal::NoWorker);
    let words = [
        (Refusal::LineFull, "line is full"),
        (Refusal::NoWorker, "no worker"),
        (Refusal::EveryWorkerExcluded, "excludes every worker"),
        (Refusal::CostTooLarge, "costs more"),
        (Refusal::DeadlinePassed, "deadline passed"),
    ];
    assert!(words.iter().all(|(reason, text)| reason.to_string().contains(text)));
}

#[test]
fn dispatch_to_says_why_not() {
    let mut pool: Pool<()> = Pool::new(Config::default());
    let id = pool.add(WorkerSpec::new(number(2)), NOW);
    let lease = pool.dispatch_to(id, number(2)).unwrap();
    assert_eq!((lease.worker(), lease.cost().get()), (id, 2));
    let errors = [
        pool.dispatch_to(id, number(1)).unwrap_err(),
        {
            pool.set_health(id, Health::Starting, NOW).unwrap();
            pool.dispatch_to(id, number(1)).unwrap_err()
        },
        {
            pool.set_health(id, Health::Up, NOW).unwrap();
            pool.set_draining(id, true, NOW).unwrap();
            pool.dispatch_to(id, number(1)).unwrap_err()
        },
    ];
    assert_eq!(errors, [DispatchToError::NoRoom, DispatchToError::NotUp, DispatchToError::NotUp]);
    assert!(errors[0].to_string().contains("no room"));
    assert!(errors[1].to_string().contains("not up"));
    pool.completed(lease, Completion::Succeeded, NOW).unwrap();
    pool.remove(id, NOW).unwrap();
    let unknown = pool.dispatch_to(id, number(1)).unwrap_err();
    assert_eq!(unknown.to_string(), UnknownWorker(id).to_string());
    pool.check_invariants().unwrap();
}

#[test]
fn a_capacity_below_pending_lets_the_worker_sink() {
    let mut pool: Pool<u8> = Pool::new(Config::default());
    let id = pool.add(WorkerSpec::new(number(5)), NOW);
    let leases: Vec<_> = (0..5).map(|_| pool.try_dispatch(&costing(1), NOW).unwrap()).collect();
    pool.set_capacity(id, number(2), NOW).unwrap();
    for (back, lease) in leases.into_iter().enumerate() {
        let pending = pool.worker(id).unwrap().pending;
        let blocked = pool.try_dispatch(&costing(1), NOW);
        assert_eq!((pending as usize, blocked), (5 - back, Err(Blocked::WouldWait)));
        pool.completed(lease, Completion::Succeeded, NOW).unwrap();
        pool.check_invariants().unwrap();
        if pool.worker(id).unwrap().pending < 2 {
            let lease = pool.try_dispatch(&costing(1), NOW).unwrap();
            pool.completed(lease, Completion::Succeeded, NOW).unwrap();
            break;
        }
    }
}

#[test]
fn the_largest_costs_and_capacities() {
    let mut pool: Pool<u8> = Pool::new(Config::default());
    let mut spec = WorkerSpec::new(number(u32::MAX));
    spec.weight = NonZeroU16::MAX;
    let ids = [pool.add(spec, NOW), pool.add(spec, NOW)];
    let most = u32::MAX;
    let _first = pool.try_dispatch(&costing(most), NOW).unwrap();
    let _second = pool.try_dispatch(&costing(most - 1), NOW).unwrap();
    assert_eq!(pool.pending(), 2 * u64::from(most) - 1);
    let last = pool.try_dispatch(&costing(1), NOW).unwrap();
    assert_eq!(pool.try_dispatch(&costing(1), NOW), Err(Blocked::WouldWait));
    assert_eq!(pool.try_dispatch(&costing(most), NOW), Err(Blocked::WouldWait));
    let loads = ids.map(|id| pool.worker(id).unwrap().load);
    assert_eq!(loads[0], loads[1]);
    pool.completed(last, Completion::Succeeded, NOW).unwrap();
    pool.check_invariants().unwrap();
    // Its capacity shrinks to 1 while all of it is in use.
    pool.set_capacity(ids[0], number(1), NOW).unwrap();
    pool.start_ramp(ids[0], Duration::MAX, NOW).unwrap();
    pool.check_invariants().unwrap();
    pool.handle_timeout(Time::from_nanos(u64::MAX));
    assert_eq!(pool.poll_timeout(), None);
    pool.check_invariants().unwrap();
}

#[test]
fn loads_compare_exactly() {
    let mut pool: Pool<()> = Pool::new(Config::default());
    let mut add = |weight, pending| {
        let mut spec = WorkerSpec::new(number(u32::MAX));
        spec.weight = NonZeroU16::new(weight).unwrap();
        let id = pool.add(spec, NOW);
        if pending > 0 {
            let _charge = pool.dispatch_to(id, number(pending)).unwrap();
        }
        pool.worker(id).unwrap().load
    };
    // (pending + 1) / weight: no rounding separates or merges two.
    let (half, two_quarters) = (add(2, 0), add(4, 1));
    assert_eq!(half, two_quarters);
    let (less, more) = (add(65_535, 4_294_836_223), add(65_534, 4_294_770_689));
    assert_eq!((less.cmp(&more), more.cmp(&less)), (Ordering::Less, Ordering::Greater));
    assert_ne!(less, more);
    assert!((half.as_f64() - 0.5).abs() < 1e-12);
    assert_eq!(less.partial_cmp(&more), Some(Ordering::Less));
}

/// Many distinct loads come and go: levels, their index, and both again.
#[test]
fn a_thousand_levels_rise_and_fall() {
    let mut pool: Pool<()> = Pool::new(Config { audit_every: 1, ..Config::default() });
    let mut draws = 1_u64;
    let mut draw = |bound: u64| {
        draws =
            draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((draws >> 33) % bound).unwrap()
    };
    for _ in 0..300 {
        let mut spec = WorkerSpec::new(number(1 + draw(500)));
        spec.weight = NonZeroU16::new(u16::try_from(1 + draw(65_535)).unwrap()).unwrap();
        pool.add(spec, NOW);
    }
    let mut leases = Vec::new();
    // Fill, churn, empty; twice.
    for phase in 0..6 {
        for step in 0..700 {
            let filling = [true, step % 2 == 0, false][phase % 3];
            if filling {
                if let Ok(lease) = pool.try_dispatch(&costing(1 + draw(20)), NOW) {
                    leases.push(lease);
                }
            } else if !leases.is_empty() {
                let place = draw(leases.len() as u64) as usize;
                let lease = leases.swap_remove(place);
                let how = if step % 7 == 0 { Completion::Failed } else { Completion::Succeeded };
                pool.completed(lease, how, NOW + Duration::from_millis(step)).unwrap();
            }
            pool.check_invariants().unwrap();
        }
        pool.handle_timeout(NOW + Duration::from_secs(100));
        pool.check_invariants().unwrap();
    }
    for lease in leases {
        pool.completed(lease, Completion::Succeeded, NOW).unwrap();
    }
    assert_eq!(pool.pending(), 0);
    assert_eq!(pool.audit().regretted, 0);
    assert!(pool.audit().audits > 1000);
}

#[test]
fn time_stops_at_its_end() {
    let end = Time::from_nanos(u64::MAX);
    assert_eq!(end + Duration::from_nanos(1), end);
    assert_eq!(NOW + Duration::MAX, end);
    assert_eq!((NOW + Duration::from_nanos(3)).as_nanos(), 3);
    assert_eq!(NOW.since(end), None);
}

#[test]
fn audits_come_every_so_often() {
    for (every, audits) in [(0, 0), (1, 12), (3, 4), (5, 2), (13, 0)] {
        let mut pool: Pool<u8> = Pool::new(Config { audit_every: every, ..Config::default() });
        pool.add(WorkerSpec::new(number(6)), NOW);
        let leases: Vec<_> = (0..6).map(|_| pool.try_dispatch(&costing(1), NOW).unwrap()).collect();
        for tag in 0..6 {
            assert!(matches!(pool.dispatch(&costing(1), tag, NOW), Dispatch::InLine(_)));
        }
        for lease in leases {
            pool.completed(lease, Completion::Succeeded, NOW).unwrap();
        }
        assert_eq!(pool.audit().audits, audits, "one in {every}");
        assert!(pool.audit().mean_regret().abs() < 1e-12);
    }
}
