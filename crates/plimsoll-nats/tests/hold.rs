//! What a worker takes, answers and refuses, and when it leaves.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use plimsoll_core::Time;
use plimsoll_nats::{Answer, Hold, LeaseId, Taken};

const EPOCH: u64 = 17;
const ONE: NonZeroU32 = NonZeroU32::MIN;

fn lease(epoch: u64, number: u64) -> LeaseId {
    LeaseId { epoch, number }
}

/// The answer to its next beat.
fn answer_of(hold: &mut Hold, number: u64, now: Time) -> Answer {
    let beat = hold.beat(now).number;
    Answer { number, beat, every_ms: 250, lost_after_ms: 3000 }
}

/// A worker that a balancer has answered.
fn known() -> Hold {
    let mut hold = Hold::new(1, 4, NonZeroU16::MIN);
    let answer = answer_of(&mut hold, 1, Time::ZERO);
    hold.answered(EPOCH, &answer, Time::ZERO);
    hold
}

#[test]
fn it_leaves_when_its_balancer_knows_and_not_before_what_was_on_its_way_is_refused() {
    let now = Time::ZERO;
    let mut hold = known();
    // The answer to a beat from before it was told to end says nothing.
    let before = answer_of(&mut hold, 2, now);
    hold.end();
    let after = answer_of(&mut hold, 3, now);
    hold.answered(EPOCH, &before, now);
    assert!(!hold.may_leave(now));
    assert_eq!(hold.take(EPOCH, lease(EPOCH, 1), ONE, now), Taken::No);
    hold.answered(EPOCH, &after, now);
    assert!(hold.may_leave(now));
}

#[test]
fn it_leaves_when_what_runs_has_ended() {
    let now = Time::ZERO;
    let mut hold = known();
    assert_eq!(hold.take(EPOCH, lease(EPOCH, 1), ONE, now), Taken::Yes);
    hold.end();
    let answer = answer_of(&mut hold, 2, now);
    hold.answered(EPOCH, &answer, now);
    assert!(!hold.may_leave(now));
    assert!(hold.finished(lease(EPOCH, 1)));
    assert!(hold.may_leave(now));
}

#[test]
fn it_waits_for_no_balancer_that_is_not_there() {
    let mut hold = Hold::new(1, 4, NonZeroU16::MIN);
    hold.end();
    assert!(hold.may_leave(Time::ZERO));
    let mut hold = known();
    hold.end();
    assert!(!hold.may_leave(Time::ZERO + Duration::from_millis(2600)));
    assert!(hold.may_leave(Time::ZERO + Duration::from_millis(2700)));
}

#[test]
fn a_new_generation_says_anew_that_it_ends() {
    let now = Time::ZERO;
    let mut hold = known();
    hold.end();
    hold.begin_anew(0);
    let answer = answer_of(&mut hold, 1, now);
    assert_eq!(hold.beat(now).capacity, 0);
    hold.answered(EPOCH, &answer, now);
    assert!(hold.may_leave(now));
}

#[test]
fn what_an_earlier_leader_sends_late_is_refused_and_what_it_sent_before_runs_once() {
    let now = Time::ZERO;
    let mut hold = known();
    let early = lease(EPOCH, 1);
    assert_eq!(hold.take(EPOCH, early, ONE, now), Taken::Yes);
    let answer = answer_of(&mut hold, 1, now);
    hold.answered(EPOCH + 1, &answer, now);
    assert_eq!(hold.take(EPOCH + 1, lease(EPOCH + 1, 1), ONE, now), Taken::Yes);
    // Its balancer is told, and tells the requester.
    assert_eq!(hold.take(EPOCH, lease(EPOCH, 2), ONE, now), Taken::No);
    assert_eq!(hold.take(EPOCH, early, ONE, now), Taken::Twice);
    assert!(hold.finished(early));
}
