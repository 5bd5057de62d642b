//! Balancers and their workers on a simulated network, in virtual time, with seeds.
//!
//! All that they say goes by way of a server, over connections that keep their order, as TCP does;
//! what one loses it loses with all that follows. Workers are cut off, killed, stopped, or end and
//! come back; so are balancers, beside which others take over while they know of it or not. There
//! all must hold, exactly one answer or error to each request included; what a broken connection
//! had on its way, or a balancer died with, is excused. On a worse network (messages lost alone,
//! repeated and out of order) what must hold is that nothing runs twice that may not, and that the
//! books are right in the end.
//!
//! `PLIMSOLL_SEED` runs one seed, `PLIMSOLL_SEEDS` so many (32).
//!
//! | file | what it is |
//! |---|---|
//! | `main.rs` | what must hold |
//! | `world.rs` | time, the server, and what befalls whom |
//! | `balancers.rs` | balancers: one that leads, one that does not know that it does not |
//! | `workers.rs` | workers |
//! | `draw.rs` | what is drawn from a seed |

mod balancers;
mod draw;
mod workers;
mod world;

use std::time::Duration;

use self::world::{Fate, LINE, WORKERS, World};

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("PLIMSOLL_SEED"), number("PLIMSOLL_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, many) => (1..=many.unwrap_or(32)).collect(),
    }
}

#[test]
fn each_request_has_one_answer_or_error_whatever_becomes_of_workers_and_balancers() {
    let (mut again, mut adopted, mut closing) = (0, 0, 0);
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed, false);
        world.run();
        settled(&world);
        let mut unanswered = 0;
        for (number, fate) in &world.fates {
            let Fate { answers, errors, begun, .. } = fate;
            let replies = answers + errors;
            let least = u32::from(!world.is_excused(fate));
            let most = 1 + fate.torn;
            assert!(
                (least..=most).contains(&replies),
                "request {number} began {begun} times, with {answers} answers, {errors} errors: \
                 {fate:?}"
            );
            unanswered += usize::from(replies == 0);
        }
        // A line and what workers have, each time.
        let most = world.deaths * (LINE + WORKERS * 4) + world.cuts * 4;
        assert!(unanswered <= most, "{unanswered} requests were lost with balancers");
        // Nobody dispatches for half of the time, in some.
        assert!(world.workers.iter().map(|worker| worker.runs).sum::<u64>() > 50);
        if world.is_harmless && world.is_kind {
            assert_eq!(world.leader().dispatcher.counts().lost, 0, "workers only left");
        }
        for balancer in &world.balancers {
            let counts = balancer.dispatcher.counts();
            if world.is_harmless && world.cuts == 0 {
                assert_eq!(counts.given_up, 0, "whoever was silent has left");
            }
            (again, adopted) = (again + counts.again, adopted + counts.adopted);
            closing += counts.refused[6];
        }
    }
    println!("{again} given again, {adopted} adopted, {closing} refused by one that retired");
}

#[test]
fn nothing_runs_twice_that_may_not_on_a_rough_network() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed, true);
        world.run_until(Duration::from_secs(6));
        world.is_calm = true;
        world.run();
        settled(&world);
    }
}

/// All are well: nothing is out, nobody waits, and audits found nothing.
fn settled(world: &World) {
    let dispatcher = &world.leader().dispatcher;
    let audit = dispatcher.audit();
    assert_eq!((dispatcher.pending(), dispatcher.waiting()), (0, 0));
    assert_eq!((audit.regretted, audit.idle_while_waiting), (0, 0));
    assert_eq!(dispatcher.workers().count(), WORKERS);
    let counts = dispatcher.counts();
    assert!(audit.audits > 0 || counts.requests == 0, "{counts:?}");
}
