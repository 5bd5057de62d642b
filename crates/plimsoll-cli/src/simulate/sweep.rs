//! A setting that takes several values, one after another.

use std::num::NonZeroU32;
use std::str::FromStr;

use plimsoll_sim::Config;

use super::args::count;

/// Points of a range, if it does not say how many.
const POINTS: u32 = 10;

/// Ranges of whole numbers up to this long are taken whole.
const WHOLE: f64 = 20.0;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sweep {
    pub(crate) name: Name,
    /// Ascending, whole where the setting is.
    pub(crate) values: Vec<f64>,
}

/// What is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Load,
    Workers,
    Balancers,
    Capacity,
}

impl Name {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Workers => "workers",
            Self::Balancers => "balancers",
            Self::Capacity => "capacity",
        }
    }
}

impl Sweep {
    pub(crate) fn is_load(&self) -> bool {
        self.name == Name::Load
    }

    pub(crate) fn apply(&self, config: &mut Config, value: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "they were read as whole numbers of 32 bits"
        )]
        let whole = value as u32;
        match self.name {
            Name::Load => config.load = value,
            Name::Workers => config.workers = whole,
            Name::Balancers => config.balancers = whole,
            Name::Capacity => config.capacity = NonZeroU32::new(whole),
        }
    }
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "it is load=, workers=, balancers= or capacity=, and values, as in \
            load=0.5..0.99, load=0.5..0.99:20 or workers=6,7,8";
        let known = || KNOWN.to_owned();
        let (name, values) = text.split_once('=').ok_or_else(known)?;
        let names = [Name::Load, Name::Workers, Name::Balancers, Name::Capacity];
        let name = names.into_iter().find(|it| it.as_str() == name).ok_or_else(known)?;
        let number = |text: &str| {
            if name == Name::Load {
                let load: Option<f64> = text.parse().ok();
                return load.filter(|load| *load > 0.0 && *load <= 1000.0).ok_or_else(known);
            }
            count(text)
                .map(f64::from)
                .map_err(|wrong| format!("{}= {text}: {wrong}; {KNOWN}", name.as_str()))
        };
        let Some((from, to)) = values.split_once("..") else {
            let mut values = values.split(',').map(number).collect::<Result<Vec<f64>, String>>()?;
            values.sort_by(f64::total_cmp);
            return Ok(Self { name, values });
        };
        let (to, points) = match to.split_once(':') {
            None => (to, None),
            Some((to, points)) => (to, Some(points.parse::<u32>().map_err(|_| known())?)),
        };
        let (from, to) = (number(from)?, number(to)?);
        if points.is_some_and(|points| !(2..=1000).contains(&points)) || from >= to {
            return Err(format!("a range ascends, and has 2 to 1000 points; {KNOWN}"));
        }
        Ok(Self { name, values: range(name, from, to, points) })
    }
}

/// Loads as evenly as the response times that they make: in 1 / (1 - load), as
/// far as they are below 1. Whole numbers by equal factors, or each.
fn range(name: Name, from: f64, to: f64, points: Option<u32>) -> Vec<f64> {
    if name != Name::Load && points.is_none() && to - from < WHOLE {
        return std::iter::successors(Some(from), |value| Some(value + 1.0))
            .take_while(|&value| value <= to)
            .collect();
    }
    let points = points.unwrap_or(POINTS);
    let part = |nth: u32| f64::from(nth) / f64::from(points - 1);
    let value = |nth: u32| match name {
        _ if nth == 0 => from,
        _ if nth == points - 1 => to,
        Name::Load if to < 1.0 => {
            let (first, last) = ((1.0 - from).ln(), (1.0 - to).ln());
            let left = (first + (last - first) * part(nth)).exp();
            // As many digits as what is left to 1 needs.
            let digits = 10_f64.powf((2.0 - left.log10().floor()).max(4.0));
            ((1.0 - left) * digits).round() / digits
        }
        Name::Load => ((from + (to - from) * part(nth)) * 1e4).round() / 1e4,
        _ => (from * (to / from).powf(part(nth))).round(),
    };
    let mut values: Vec<f64> = (0..points).map(value).collect();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<f64> {
        text.parse::<Sweep>().unwrap().values
    }

    #[test]
    fn lists_are_as_given_and_ranges_have_their_ends() {
        assert_eq!(values("load=0.9,0.5"), [0.5, 0.9]);
        assert_eq!(values("workers=6..8"), [6.0, 7.0, 8.0]);
        assert_eq!(values("capacity=1..1000:4"), [1.0, 10.0, 100.0, 1000.0]);
        let loads = values("load=0.5..0.99");
        assert_eq!((loads.len(), loads[0], loads[9]), (10, 0.5, 0.99));
        assert!(loads.is_sorted());
        assert_eq!(values("load=1..3:3"), [1.0, 2.0, 3.0]);
        assert_eq!(values("load=0.99..0.99999:3"), [0.99, 0.999_684, 0.999_99]);
        assert_eq!(values("load=0.12345..0.98765:2"), [0.12345, 0.98765]);
    }

    #[test]
    fn what_is_no_sweep_is_told() {
        let bad = "load load= load=0.9..0.5 speed=1..2 workers=0..3 load=0.1..0.9:1 \
            workers=4294967295 capacity=1..20000000";
        for bad in bad.split_whitespace().chain([""]) {
            let told = bad.parse::<Sweep>().unwrap_err();
            assert!(told.contains("load=0.5..0.99"), "{bad}: {told}");
        }
    }
}
