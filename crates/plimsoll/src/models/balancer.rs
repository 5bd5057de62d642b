//! Leases and the hand-over from one to the next in line.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::future::block_on;
use loom::thread;

use super::balancer_at_rest;
use crate::{Balancer, Lease, WorkerSpec};

/// One worker of capacity 1, and the lease that is out.
fn full() -> (Balancer<u8>, Lease<u8>) {
    let balancer = Balancer::new();
    balancer.add(7, WorkerSpec::new(1.try_into().unwrap()));
    let lease = balancer.try_acquire().unwrap();
    (balancer, lease)
}

/// Takes a place in line, if need be, and goes away.
fn come_and_go(balancer: &Balancer<u8>) {
    let mut acquire = pin!(balancer.acquire());
    let _ = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn hand_over_to_a_task() {
    loom::model(|| {
        let (balancer, lease) = full();
        let thread = thread::spawn(move || drop(lease));
        drop(block_on(balancer.acquire()).unwrap());
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn hand_over_to_a_thread() {
    loom::model(|| {
        let (balancer, lease) = full();
        let thread = thread::spawn(move || drop(lease));
        drop(balancer.acquire_blocking(Duration::MAX).unwrap());
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn drop_against_hand_over() {
    loom::model(|| {
        let (balancer, lease) = full();
        let thread = thread::spawn(move || drop(lease));
        come_and_go(&balancer);
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn drop_against_hand_over_passes_it_on() {
    loom::model(|| {
        let (balancer, lease) = full();
        let goes = balancer.clone();
        let threads =
            [thread::spawn(move || drop(lease)), thread::spawn(move || come_and_go(&goes))];
        drop(block_on(balancer.acquire()).unwrap());
        for thread in threads {
            thread.join().unwrap();
        }
        balancer_at_rest(&balancer);
    });
}

#[test]
fn time_out_against_hand_over() {
    loom::model(|| {
        let (balancer, lease) = full();
        let thread = thread::spawn(move || drop(lease));
        drop(balancer.acquire_blocking(Duration::ZERO));
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn waker_replaced_during_hand_over() {
    loom::model(|| {
        let (balancer, lease) = full();
        let thread = thread::spawn(move || drop(lease));
        let mut acquire = Box::pin(balancer.acquire());
        // First by a waker that nobody heeds, then by one that counts.
        match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(lease) => drop(lease.unwrap()),
            Poll::Pending => drop(block_on(acquire).unwrap()),
        }
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn removal_against_the_last_lease() {
    loom::model(|| {
        let (balancer, lease) = full();
        let id = lease.id();
        let thread = thread::spawn(move || drop(lease));
        let removal = balancer.remove(id).unwrap();
        assert_eq!(removal.wait(Duration::MAX).unwrap(), 7);
        thread.join().unwrap();
        balancer_at_rest(&balancer);
    });
}

#[test]
fn removal_against_acquire() {
    loom::model(|| {
        let (balancer, lease) = full();
        let id = lease.id();
        let others = balancer.clone();
        let threads = [
            thread::spawn(move || drop(lease)),
            thread::spawn(move || drop(block_on(others.acquire()))),
        ];
        drop(balancer.remove(id).unwrap());
        for thread in threads {
            thread.join().unwrap();
        }
        balancer_at_rest(&balancer);
    });
}
