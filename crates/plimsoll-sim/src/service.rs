//! How long requests take: distributions of mean 1, or times from a file.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::streams::Stream;
use crate::units::{index, real, within};

/// The distribution of the service times. All but [`Empirical`](Self::Empirical)
/// have mean 1 second.
///
/// ```
/// use plimsoll_sim::Service;
///
/// let service: Service = "bimodal:0.005:201".parse().unwrap();
/// assert!((service.mean() - 1.0).abs() < 1e-12);
/// assert!((service.second_moment() - 50.75).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// Exponential.
    Exponential,
    /// All alike.
    Deterministic,
    /// The exponential of a normal variable with this standard deviation.
    Lognormal(f64),
    /// This share of the requests takes that many times as long as the rest.
    Bimodal(f64, f64),
    /// Bounded Pareto with this exponent, the longest that many times the shortest.
    Pareto(f64, f64),
    /// A normal variable of mean 1 and this standard deviation, negative ones
    /// taken as 0, scaled to mean 1.
    Normal(f64),
    /// Two exponentials of balanced means with this squared coefficient of variation.
    Hyperexponential(f64),
    /// Drawn from these times, in seconds.
    Empirical(Arc<[f64]>),
}

impl Service {
    /// The mean, in seconds.
    ///
    /// ```
    /// use plimsoll_sim::Service;
    ///
    /// assert_eq!(Service::Empirical([1.0, 3.0].into()).mean(), 2.0);
    /// ```
    pub fn mean(&self) -> f64 {
        match self {
            Self::Empirical(times) => times.iter().sum::<f64>() / real(times.len() as u64),
            _ => 1.0,
        }
    }

    /// The mean of the square, in seconds squared: what Pollaczek and
    /// Khinchine's formula asks for.
    ///
    /// ```
    /// use plimsoll_sim::Service;
    ///
    /// assert_eq!(Service::Exponential.second_moment(), 2.0);
    /// ```
    pub fn second_moment(&self) -> f64 {
        match *self {
            Self::Exponential => 2.0,
            Self::Deterministic => 1.0,
            Self::Lognormal(sigma) => (sigma * sigma).exp(),
            Self::Bimodal(share, times) => {
                let short = bimodal_short(share, times);
                short * short * (1.0 - share + share * times * times)
            }
            Self::Pareto(exponent, span) => {
                pareto_moment(exponent, span, 2.0) / pareto_moment(exponent, span, 1.0).powi(2)
            }
            Self::Normal(deviation) => {
                let (density, below) = normal_at(1.0 / deviation);
                let square = (1.0 + deviation * deviation) * below + deviation * density;
                square / clipped_mean(deviation).powi(2)
            }
            Self::Hyperexponential(variation) => 1.0 + variation,
            Self::Empirical(ref times) => {
                times.iter().map(|time| time * time).sum::<f64>() / real(times.len() as u64)
            }
        }
    }

    /// Whether it can be drawn from.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::Exponential | Self::Deterministic => Ok(()),
            Self::Lognormal(sigma) => within("the sigma", sigma, 0.0, 10.0),
            Self::Bimodal(share, times) => within("the share", share, 0.0, 1.0)
                .and_then(|()| within("the factor", times, 1e-6, 1e6)),
            Self::Pareto(exponent, span) => within("the exponent", exponent, 0.1, 100.0)
                .and_then(|()| within("the span", span, 1.001, 1e9)),
            Self::Normal(deviation) => within("the deviation", deviation, 1e-6, 100.0),
            Self::Hyperexponential(variation) => {
                within("the squared variation", variation, 1.0, 1e6)
            }
            Self::Empirical(ref times) => {
                if !times.iter().any(|&time| time > 0.0) {
                    return Err("there is no service time above 0".into());
                }
                times.iter().try_for_each(|&time| within("the service time", time, 0.0, 1e10))
            }
        }
    }

    /// How to draw from it.
    pub(crate) fn sampler(&self) -> Sampler {
        match *self {
            Self::Exponential => Sampler::Exponential,
            Self::Deterministic => Sampler::Constant(1.0),
            Self::Lognormal(sigma) => Sampler::Lognormal { mu: -sigma * sigma / 2.0, sigma },
            Self::Bimodal(share, times) => {
                let short = bimodal_short(share, times);
                Sampler::Two { share, short, long: short * times }
            }
            Self::Pareto(exponent, span) => Sampler::Pareto {
                shortest: 1.0 / pareto_moment(exponent, span, 1.0),
                cut: 1.0 - span.powf(-exponent),
                power: -1.0 / exponent,
            },
            Self::Normal(deviation) => {
                Sampler::Clipped { deviation, scale: 1.0 / clipped_mean(deviation) }
            }
            Self::Hyperexponential(variation) => {
                // Balanced means: each branch has half of the work.
                let first = f64::midpoint(1.0, ((variation - 1.0) / (variation + 1.0)).sqrt());
                Sampler::Branches {
                    first,
                    means: [0.5 / first, 0.5 / (1.0 - first).max(f64::MIN_POSITIVE)],
                }
            }
            Self::Empirical(ref times) => Sampler::Empirical(Arc::clone(times)),
        }
    }
}

/// A distribution with its constants worked out.
#[derive(Clone, Debug)]
pub(crate) enum Sampler {
    Exponential,
    Constant(f64),
    Lognormal { mu: f64, sigma: f64 },
    Two { share: f64, short: f64, long: f64 },
    Pareto { shortest: f64, cut: f64, power: f64 },
    Clipped { deviation: f64, scale: f64 },
    Branches { first: f64, means: [f64; 2] },
    Empirical(Arc<[f64]>),
}

impl Sampler {
    /// A service time, in seconds.
    #[inline]
    pub(crate) fn draw(&self, stream: &mut Stream) -> f64 {
        match *self {
            Self::Exponential => stream.exponential(),
            Self::Constant(time) => time,
            Self::Lognormal { mu, sigma } => (mu + sigma * stream.normal()).exp(),
            Self::Two { share, short, long } => {
                if stream.unit() < share {
                    long
                } else {
                    short
                }
            }
            // The inverse of the distribution function.
            Self::Pareto { shortest, cut, power } => {
                shortest * (1.0 - stream.unit() * cut).powf(power)
            }
            Self::Clipped { deviation, scale } => {
                (1.0 + deviation * stream.normal()).max(0.0) * scale
            }
            Self::Branches { first, means } => {
                stream.exponential() * means[usize::from(stream.unit() >= first)]
            }
            Self::Empirical(ref times) => times[stream.below(index(times.len())) as usize],
        }
    }
}

fn bimodal_short(share: f64, times: f64) -> f64 {
    1.0 / (1.0 - share + share * times)
}

/// The moment of a bounded Pareto variable whose shortest value is 1.
fn pareto_moment(exponent: f64, span: f64, order: f64) -> f64 {
    let whole = 1.0 - span.powf(-exponent);
    let gap = order - exponent;
    let inner = if gap.abs() < 1e-12 { span.ln() } else { (span.powf(gap) - 1.0) / gap };
    exponent * inner / whole
}

/// The mean of max(0, 1 + deviation × normal).
fn clipped_mean(deviation: f64) -> f64 {
    let (density, below) = normal_at(1.0 / deviation);
    below + deviation * density
}

/// The standard normal density at `x` ≥ 0, and the probability below it
/// (Abramowitz and Stegun, 1964, 26.2.17: within 7.5e-8).
fn normal_at(x: f64) -> (f64, f64) {
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let sum = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_53]
        .iter()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    (density, 1.0 - density * sum)
}

impl FromStr for Service {
    type Err = String;

    /// `NAME` or `NAME:NUMBER:…`, as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "it is exponential, deterministic, lognormal:SIGMA, \
            bimodal:SHARE:TIMES, pareto:EXPONENT:SPAN, normal:DEVIATION, \
            hyperexponential:VARIATION or file:PATH";
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<f64> =
            parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| KNOWN.to_owned())?;
        let service = match (name, numbers.as_slice()) {
            ("exponential", []) => Self::Exponential,
            ("deterministic", []) => Self::Deterministic,
            ("lognormal", &[sigma]) => Self::Lognormal(sigma),
            ("bimodal", &[share, times]) => Self::Bimodal(share, times),
            ("pareto", &[exponent, span]) => Self::Pareto(exponent, span),
            ("normal", &[deviation]) => Self::Normal(deviation),
            ("hyperexponential", &[variation]) => Self::Hyperexponential(variation),
            _ => return Err(KNOWN.into()),
        };
        service.check()?;
        Ok(service)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exponential => f.write_str("exponential"),
            Self::Deterministic => f.write_str("deterministic"),
            Self::Lognormal(sigma) => write!(f, "lognormal:{sigma}"),
            Self::Bimodal(share, times) => write!(f, "bimodal:{share}:{times}"),
            Self::Pareto(exponent, span) => write!(f, "pareto:{exponent}:{span}"),
            Self::Normal(deviation) => write!(f, "normal:{deviation}"),
            Self::Hyperexponential(variation) => write!(f, "hyperexponential:{variation}"),
            Self::Empirical(times) => write!(f, "{} given times", times.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Purpose;

    /// Each distribution's draws have the moments that its formulas tell.
    #[test]
    fn moments_are_those_of_the_draws() {
        let given = Service::Empirical([0.5, 1.0, 4.0].into());
        let texts = [
            "exponential",
            "deterministic",
            "lognormal:0.5",
            "bimodal:0.05:20",
            "pareto:1.5:100",
            "pareto:2:50",
            "normal:1",
            "normal:0.2",
            "hyperexponential:4",
            "hyperexponential:1",
        ];
        let mut all: Vec<Service> = texts.iter().map(|text| text.parse().unwrap()).collect();
        all.push(given);
        for service in all {
            let sampler = service.sampler();
            let mut stream = Stream::new(3, 0, Purpose::Services);
            let count = 400_000;
            let (mut sum, mut square) = (0.0, 0.0);
            for _ in 0..count {
                let time = sampler.draw(&mut stream);
                assert!(time >= 0.0);
                sum += time;
                square += time * time;
            }
            let (mean, second) = (sum / f64::from(count), square / f64::from(count));
            let wide = service.second_moment();
            assert!((mean / service.mean() - 1.0).abs() < 0.01, "{service}: mean {mean}");
            assert!((second / wide - 1.0).abs() < 0.04, "{service}: {second}, not {wide}");
        }
    }

    #[test]
    fn names_come_back() {
        for text in ["exponential", "lognormal:1.5", "bimodal:0.005:201", "pareto:1.5:1000"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
        for bad in ["", "exp", "lognormal", "lognormal:-1", "bimodal:2:3", "normal:x", "pareto:1"] {
            assert!(bad.parse::<Service>().is_err(), "{bad}");
        }
    }
}
