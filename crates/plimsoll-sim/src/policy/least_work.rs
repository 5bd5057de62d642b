//! The least work, of d workers drawn: whoever knows how long requests take.
//!
//! Work is what this balancer has given and its worker has not done yet: it
//! runs off while time passes. Hellemans and Van Houdt, "On the Power-of-d-choices
//! with Least Loaded Server Selection", 2018.

use super::View;
use super::power::Draws;
use crate::streams::Stream;
use crate::units::scaled;

/// See the module.
#[derive(Debug)]
pub(crate) struct LeastWork {
    choices: u32,
    with_replacement: bool,
    /// When each worker will have done what it was given.
    free_at: Vec<u64>,
}

impl LeastWork {
    pub(super) fn new(known: u32, choices: u32, with_replacement: bool) -> Self {
        Self { choices, with_replacement, free_at: vec![0; known as usize] }
    }

    pub(super) fn choose(&mut self, view: &View<'_>, rng: &mut Stream) -> u32 {
        let mut draws = Draws::new(self.choices, self.with_replacement, view.known.count);
        let mut best = draws.next(rng);
        for _ in 1..self.choices {
            let other = draws.next(rng);
            // An idle worker is not more idle for having been so for longer.
            let at = |place: u32| self.free_at[place as usize].max(view.now);
            if at(other) < at(best) {
                best = other;
            }
        }
        let pace = view.fleet.pace(view.known.worker(best));
        let free_at = &mut self.free_at[best as usize];
        *free_at = (*free_at).max(view.now).saturating_add(scaled(view.service, pace));
        best
    }
}
