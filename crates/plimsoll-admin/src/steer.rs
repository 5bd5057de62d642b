//! What an operator has done to a worker.

use std::num::{NonZeroU16, NonZeroU32};
use std::str::FromStr;
use std::sync::Arc;

use plimsoll::WorkerId;

use crate::overview::{Overview, Seen};

/// What is to be different of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It gets nothing new.
    Drain,
    /// It gets requests again.
    Resume,
    /// Its share of the work.
    Weight(NonZeroU16),
    /// The most that it has at a time.
    Capacity(NonZeroU32),
}

/// Does it, to the worker that the balancer of this name knows by this id; false when there is
/// none any more.
pub type Steer = Arc<dyn Fn(&str, WorkerId, Order) -> bool + Send + Sync>;

/// The last part of a path under `/workers`, which says what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Drain,
    Resume,
    Weight,
    Capacity,
}

impl Verb {
    pub(crate) const ALL: [(&str, Self); 4] = [
        ("drain", Self::Drain),
        ("resume", Self::Resume),
        ("weight", Self::Weight),
        ("capacity", Self::Capacity),
    ];

    /// With the number that was sent, where there must be one.
    ///
    /// # Errors
    ///
    /// What would be right.
    pub(crate) fn order(self, sent: &str) -> Result<Order, String> {
        Ok(match self {
            Self::Drain => Order::Drain,
            Self::Resume => Order::Resume,
            Self::Weight => Order::Weight(number("weight", sent, u32::from(u16::MAX))?),
            Self::Capacity => Order::Capacity(number("capacity", sent, u32::MAX)?),
        })
    }
}

fn number<N: FromStr>(what: &str, sent: &str, most: u32) -> Result<N, String> {
    sent.trim().parse().map_err(|_| {
        format!("a {what} is a whole number from 1 to {most}, sent as the body: curl -d 4 …/{what}")
    })
}

/// Why there is no such worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfound {
    Unknown(String),
    Ambiguous(String),
}

/// How many are listed at the most.
const LISTED: usize = 20;

impl Overview {
    /// The worker that an operator means: by its id, or by its name where no other has it.
    pub(crate) fn find(&self, meant: &str) -> Result<Seen<'_>, Unfound> {
        if let Some(found) = self.seen().find(|worker| worker.id() == meant) {
            return Ok(found);
        }
        let named: Vec<_> = self.seen().filter(|worker| worker.label() == meant).collect();
        let list = |workers: &mut dyn Iterator<Item = Seen<'_>>| {
            let mut ids: Vec<_> = workers.take(LISTED + 1).map(|worker| worker.id()).collect();
            if ids.len() > LISTED {
                ids[LISTED] = "…".into();
            }
            ids.join(", ")
        };
        match &named[..] {
            [only] => Ok(*only),
            [] => {
                let there = list(&mut self.seen());
                let there = if there.is_empty() { "none".into() } else { there };
                let word = self.word;
                Err(Unfound::Unknown(format!("there is no {word} '{meant}', but {there}")))
            }
            _ => {
                let there = list(&mut named.iter().copied());
                Err(Unfound::Ambiguous(format!("'{meant}' may be one of {there}: say which")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use plimsoll::{Balancer, WorkerSpec};

    use super::*;
    use crate::overview::{PoolView, WorkerView};

    fn pool(name: &str, workers: &[&str]) -> PoolView {
        let balancer = Balancer::new();
        for _ in workers {
            balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
        }
        let workers = workers.iter().map(|name| WorkerView::new(*name)).collect();
        PoolView { name: Some(name.into()), ..PoolView::new(balancer.snapshot(), workers) }
    }

    #[test]
    fn a_name_suffices_where_it_is_the_only_one() {
        let overview = Overview::new("backend", vec![pool("a", &["x", "y"]), pool("b", &["x"])]);
        let found = |meant| overview.find(meant).map(|worker| worker.id());
        assert_eq!(found("b/x").unwrap(), "b/x");
        assert_eq!(found("y").unwrap(), "a/y");
        let ambiguous = Unfound::Ambiguous("'x' may be one of a/x, b/x: say which".into());
        assert_eq!(found("x"), Err(ambiguous));
        let unknown = Unfound::Unknown("there is no backend 'z', but a/x, a/y, b/x".into());
        assert_eq!(found("z"), Err(unknown));
    }

    #[test]
    fn who_leaves_gives_its_name_to_who_stays() {
        let mut pool = pool("a", &["x", "x", "y"]);
        (pool.workers[0].leaves, pool.workers[2].leaves) = (true, true);
        let overview = Overview::new("backend", vec![pool]);
        let ids: Vec<_> = overview.seen().map(|worker| worker.id()).collect();
        assert_eq!(ids, ["a/x~0.0", "a/x", "a/y"]);
        assert!(!overview.find("x").unwrap().view.leaves);
        assert!(overview.find("a/x~0.0").unwrap().view.leaves);
    }

    #[test]
    fn numbers_that_cannot_be() {
        assert_eq!(Verb::Weight.order(" 7\n"), Ok(Order::Weight(NonZeroU16::new(7).unwrap())));
        assert_eq!(Verb::Resume.order("anything"), Ok(Order::Resume));
        for wrong in ["", "0", "-1", "1.5", "65536", "x", "to=4"] {
            let said = Verb::Weight.order(wrong).unwrap_err();
            assert!(said.contains("from 1 to 65535"), "{said}");
        }
        assert!(
            Verb::Capacity.order("65536").is_ok() && Verb::Capacity.order("4294967296").is_err()
        );
    }
}
