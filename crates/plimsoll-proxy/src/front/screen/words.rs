//! Eight bytes at a time.
//!
//! [`below`] and [`equal`] are 0 exactly when no byte of the word is what is
//! looked for. They do not say which one is: a borrow may mark further bytes
//! next to one that is.

const ONES: u64 = u64::MAX / 0xff;
const TOPS: u64 = ONES * 0x80;

/// Not 0 when some byte is below `bound`, which is at most 0x80.
#[inline]
pub(super) fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS
}

/// Not 0 when some byte is `byte`.
#[inline]
pub(super) fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Not 0 when some byte is 0x80 or above.
#[inline]
pub(super) fn high(word: u64) -> u64 {
    word & TOPS
}

/// Whether all bytes stand in clean words. A word may be of the letter `a`
/// in part, or of bytes that another word had.
#[inline]
pub(super) fn all(bytes: &[u8], is_clean: impl Fn(u64) -> bool) -> bool {
    let is_clean = |word: [u8; 8]| is_clean(u64::from_le_bytes(word));
    let Some(&last) = bytes.last_chunk() else {
        let mut word = [b'a'; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        return is_clean(word);
    };
    let (words, _) = bytes.as_chunks();
    words.iter().all(|&word| is_clean(word)) && is_clean(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_in_each_place() {
        for length in 0..=24 {
            for place in 0..length {
                for byte in 0..=0xff {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    assert_eq!(all(&bytes, |word| below(word, 0x21) == 0), byte >= 0x21);
                    assert_eq!(all(&bytes, |word| below(word, 1) == 0), byte != 0);
                    assert_eq!(all(&bytes, |word| equal(word, 0x7f) == 0), byte != 0x7f);
                    assert_eq!(all(&bytes, |word| high(word) == 0), byte < 0x80);
                }
            }
        }
    }
}
