//! Each client's share of the line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Requests in line by the address that they came from.
#[derive(Default)]
pub(crate) struct Shares(Mutex<HashMap<IpAddr, usize>>);

/// A request in line.
pub(crate) struct Share<'a> {
    shares: &'a Shares,
    of: IpAddr,
}

impl Shares {
    /// Counts one more request of a client's; `None` when it has as many as it
    /// may.
    pub(crate) fn take(&self, of: IpAddr, most: usize) -> Option<Share<'_>> {
        let mut shares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.get(&of).is_some_and(|&count| count >= most) || most == 0 {
            return None;
        }
        *shares.entry(of).or_default() += 1;
        Some(Share { shares: self, of })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut shares = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shares.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                shares.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_no_more() {
        let shares = Shares::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = shares.take(one, 2);
        let second = shares.take(one, 2);
        assert!(first.is_some() && second.is_some() && shares.take(one, 2).is_none());
        assert!(shares.take(other, 2).is_some());
        drop(first);
        assert!(shares.take(one, 2).is_some());
        drop(second);
        assert!(shares.take(one, 0).is_none());
        assert!(shares.0.lock().unwrap().is_empty(), "who has left is forgotten");
    }
}
