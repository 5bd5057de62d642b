//! Time as the shell tells it: nanoseconds since an origin of the shell's choice.

use core::ops::Add;
use core::time::Duration;

/// A moment, in nanoseconds since an origin that the shell chooses.
///
/// The pool only compares moments and adds durations to them. A shell passes
/// the monotonic clock's reading, a simulator its virtual time.
///
/// ```
/// use plimsoll_core::Time;
/// use core::time::Duration;
///
/// let later = Time::ZERO + Duration::from_micros(3);
/// assert_eq!(later, Time::from_nanos(3_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the origin.
    ///
    /// ```
    /// use plimsoll_core::Time;
    ///
    /// assert!(Time::ZERO < Time::from_nanos(1));
    /// ```
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    ///
    /// ```
    /// use plimsoll_core::Time;
    /// use core::time::Duration;
    ///
    /// assert_eq!((Time::ZERO + Duration::from_micros(3)).as_nanos(), 3_000);
    /// ```
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this moment is; `None` when it is before it.
    ///
    /// ```
    /// use plimsoll_core::Time;
    /// use core::time::Duration;
    ///
    /// let (a, b) = (Time::from_nanos(5), Time::from_nanos(8));
    /// assert_eq!(b.since(a), Some(Duration::from_nanos(3)));
    /// assert_eq!(a.since(b), None);
    /// ```
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// A sum past the last representable moment (584 years) is that moment:
    /// "never" is what a caller with such a duration means.
    fn add(self, after: Duration) -> Self {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
