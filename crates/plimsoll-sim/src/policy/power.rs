//! The least pending of d workers drawn, by the balancer's own counts.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996;
//! Vvedenskaya, Dobrushin and Karpelevich, 1996. Among equals the first drawn.

use super::View;
use crate::streams::Stream;

/// See the module.
#[derive(Debug)]
pub(crate) struct Power {
    pub(super) choices: u32,
    pub(super) with_replacement: bool,
}

impl Power {
    pub(super) fn choose(&self, view: &View<'_>, rng: &mut Stream) -> u32 {
        let mut draws = Draws::new(self.choices, self.with_replacement, view.known.count);
        let mut best = draws.next(rng);
        for _ in 1..self.choices {
            let other = draws.next(rng);
            if view.own[other as usize] < view.own[best as usize] {
                best = other;
            }
        }
        best
    }
}

/// Workers drawn one after another.
pub(super) struct Draws {
    count: u32,
    /// Those drawn so far, where none may come twice.
    drawn: Option<Vec<u32>>,
}

impl Draws {
    pub(super) fn new(choices: u32, with_replacement: bool, count: u32) -> Self {
        let room = choices.min(count) as usize;
        let drawn = (!with_replacement && choices > 1).then(|| Vec::with_capacity(room.min(16)));
        Self { count, drawn }
    }

    pub(super) fn next(&mut self, rng: &mut Stream) -> u32 {
        loop {
            let place = rng.below(self.count);
            match &mut self.drawn {
                Some(drawn) if drawn.contains(&place) => {}
                Some(drawn) => {
                    drawn.push(place);
                    return place;
                }
                None => return place,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Purpose;

    #[test]
    fn distinct_draws_are_distinct_and_all_come() {
        let mut rng = Stream::new(1, 0, Purpose::Choices);
        let mut draws = Draws::new(5, false, 5);
        let mut all: Vec<u32> = (0..5).map(|_| draws.next(&mut rng)).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn with_replacement_a_worker_may_come_twice() {
        let mut rng = Stream::new(1, 0, Purpose::Choices);
        let twice = (0..1000).filter(|_| {
            let mut draws = Draws::new(2, true, 4);
            draws.next(&mut rng) == draws.next(&mut rng)
        });
        assert!((150..350).contains(&twice.count()));
    }
}
