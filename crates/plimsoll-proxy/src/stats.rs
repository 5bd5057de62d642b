//! Counts of the proxy's own; what the balancer counts is in its snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::exchange::Record;
use crate::refusal::Refusal;

#[derive(Default)]
pub(crate) struct Stats {
    requests: AtomicU64,
    retries: AtomicU64,
    failed_handshakes: AtomicU64,
    /// As [`Refusal::KINDS`] has them.
    refused: [AtomicU64; Refusal::KINDS.len()],
}

impl Stats {
    /// An exchange is over.
    pub(crate) fn note(&self, record: &Record) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = record.refusal {
            self.refused(refusal);
        }
    }

    fn refused(&self, refusal: Refusal) {
        let mut counts = Refusal::KINDS.iter().zip(&self.refused);
        if let Some((_, count)) = counts.find(|(kind, _)| **kind == refusal.kind()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection was refused, with whatever requests it would have had.
    pub(crate) fn refused_connection(&self) {
        self.refused(Refusal::TooManyConnections);
    }

    /// A request is tried again.
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A client and its listener came to no agreement about TLS.
    pub(crate) fn failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How many requests were refused for each reason.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (String, f64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed) as f64);
        Refusal::KINDS.iter().map(|&kind| kind.to_owned()).zip(counts)
    }
}
