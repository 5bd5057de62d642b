//! Byte queues whose memory follows their contents both ways: they grow by a
//! part, not to the double, and shrink when they have emptied, since many of
//! them share one bound.

use std::collections::VecDeque;

/// Queues of up to this many bytes are left as they are.
const SMALL: usize = 64 * 1024;

/// Adds `bytes` at the back.
pub(crate) fn append(queue: &mut VecDeque<u8>, bytes: &[u8]) {
    let needed = queue.len() + bytes.len();
    if needed > queue.capacity() && needed > SMALL {
        queue.reserve_exact(bytes.len() + needed / 8);
    }
    queue.extend(bytes);
}

/// Moves the first `len` bytes to the end of `to`.
pub(crate) fn take(queue: &mut VecDeque<u8>, len: usize, to: &mut Vec<u8>) {
    let (front, back) = queue.as_slices();
    if let Some(part) = front.get(..len) {
        to.extend_from_slice(part);
    } else {
        to.extend_from_slice(front);
        to.extend_from_slice(&back[..len - front.len()]);
    }
    discard(queue, len);
}

/// Drops the first `len` bytes.
pub(crate) fn discard(queue: &mut VecDeque<u8>, len: usize) {
    queue.drain(..len);
    if queue.capacity() > SMALL && queue.len() < queue.capacity() / 2 {
        queue.shrink_to(SMALL.max(queue.len() + queue.len() / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_memory_follows() {
        let mut queue = VecDeque::new();
        let (mut taken, mut expected) = (Vec::new(), Vec::new());
        for round in 0..2_000_usize {
            let piece = vec![u8::try_from(round % 251).unwrap(); round % 700];
            append(&mut queue, &piece);
            expected.extend_from_slice(&piece);
            if round % 3 == 0 {
                let len = queue.len() / 2;
                take(&mut queue, len, &mut taken);
            }
        }
        assert!(queue.capacity() <= SMALL.max(queue.len() * 3));
        let len = queue.len();
        take(&mut queue, len, &mut taken);
        assert_eq!(taken, expected);
        assert!(queue.capacity() <= SMALL);
    }
}
