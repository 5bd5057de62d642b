//! What a backend may have: as it is told, and as an operator has steered it since.

use std::num::{NonZeroU16, NonZeroU32};

use crate::config::BackendConfig;

/// Of one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) capacity: Term<NonZeroU32>,
    pub(crate) weight: Term<NonZeroU16>,
    /// An operator wants it to get nothing new.
    pub(crate) draining: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<T> {
    told: T,
    steered: Option<T>,
}

impl Terms {
    pub(crate) fn new(told: &BackendConfig) -> Self {
        Self { capacity: Term::new(told.capacity), weight: Term::new(told.weight), draining: false }
    }

    /// What is as an operator has steered it.
    pub(crate) fn steered(&self) -> Vec<&'static str> {
        let terms = [
            ("draining", self.draining),
            ("capacity", self.capacity.steered.is_some()),
            ("weight", self.weight.steered.is_some()),
        ];
        terms.iter().filter_map(|&(term, steered)| steered.then_some(term)).collect()
    }
}

impl<T: Copy + PartialEq> Term<T> {
    fn new(told: T) -> Self {
        Self { told, steered: None }
    }

    pub(crate) fn in_force(&self) -> T {
        self.steered.unwrap_or(self.told)
    }

    /// It is told. Another value than before ends what was steered.
    pub(crate) fn tell(&mut self, told: T) {
        if told != self.told {
            *self = Self::new(told);
        }
    }

    /// It is steered; what is told is in force again by being steered to it.
    pub(crate) fn steer(&mut self, to: T) {
        self.steered = (to != self.told).then_some(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_steered_holds_until_another_value_is_told() {
        let mut term = Term::new(1);
        term.steer(5);
        term.tell(1);
        assert_eq!(term.in_force(), 5);
        term.tell(2);
        assert_eq!(term.in_force(), 2);
        term.steer(5);
        term.steer(2);
        term.tell(2);
        assert_eq!((term.in_force(), term.steered), (2, None));
    }
}
