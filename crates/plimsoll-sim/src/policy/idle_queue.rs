//! Join-idle-queue: a worker that becomes idle leaves a token with a balancer,
//! which gives its next request to the worker of its oldest token.
//!
//! Lu et al., "Join-Idle-Queue: A novel load balancing algorithm for dynamically
//! scalable web services", 2011. With a bound on the tokens kept it is the memory
//! of Hellemans and Van Houdt, "Performance Analysis of Load Balancing Policies
//! with Memory", 2020. Without a token a worker is drawn.

use std::collections::VecDeque;

use super::View;
use crate::streams::Stream;

/// See the module.
#[derive(Debug)]
pub(crate) struct IdleQueue {
    most: u32,
    tokens: VecDeque<u32>,
    /// Whose token is here: a worker leaves one at a time.
    left: Vec<bool>,
}

impl IdleQueue {
    /// Without a token: workers come by as they become idle, at first all of them.
    pub(super) fn new(known: u32, most: u32) -> Self {
        Self { most, tokens: VecDeque::new(), left: vec![false; known as usize] }
    }

    pub(super) fn choose(&mut self, view: &View<'_>, rng: &mut Stream) -> u32 {
        match self.tokens.pop_front() {
            Some(place) => {
                self.left[place as usize] = false;
                place
            }
            None => rng.below(view.known.count),
        }
    }

    pub(super) fn leave(&mut self, place: u32) {
        let left = &mut self.left[place as usize];
        if !*left && self.tokens.len() < self.most as usize {
            *left = true;
            self.tokens.push_back(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_leaves_one_token_and_no_more_than_fit_are_kept() {
        let mut queue = IdleQueue::new(5, 3);
        for place in [4, 0, 4, 2, 1] {
            queue.leave(place);
        }
        assert_eq!(queue.tokens, [4, 0, 2], "one of each worker, and no more than three");
        let first = queue.tokens.pop_front().unwrap();
        queue.left[first as usize] = false;
        queue.leave(0);
        assert_eq!(queue.tokens.len(), 2, "its token is here already");
        queue.leave(first);
        assert_eq!(queue.tokens, [0, 2, 4], "the oldest is the next");
    }
}
