//! Axes: how far they go and where their ticks are.

use super::figure::Line;

/// One axis of a panel.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    pub(super) decimals: usize,
}

impl Axis {
    /// Whole numbers, such as layers, with a little room at both ends.
    pub(super) fn whole(name: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values);
        let step = nice_step((high - low) / 12.0).max(1.0);
        let pad = ((high - low) * 0.02).max(0.2);
        Self {
            name: name.to_owned(),
            ticks: multiples(step, low, high),
            low: low - pad,
            high: high + pad,
            decimals: 0,
        }
    }

    /// 0 to 1.
    pub(super) fn unit(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            low: 0.0,
            high: 1.0,
            ticks: multiples(0.2, 0.0, 1.0),
            decimals: 1,
        }
    }

    /// Up to 1, down to 0 or as far as the lines go.
    pub(super) fn cosine(name: &str, lines: &[Line]) -> Self {
        let (low, _) = bounds(values(lines));
        let low = if low < 0.0 { -1.0 } else { 0.0 };
        Self {
            low,
            ticks: multiples(0.25, low, 1.0),
            decimals: 2,
            ..Self::unit(name)
        }
    }

    /// From 0 to above the highest value.
    pub(super) fn from_zero(name: &str, lines: &[Line]) -> Self {
        let (_, high) = bounds(values(lines));
        Self::nice(name, 0.0, high.max(f64::MIN_POSITIVE))
    }

    /// A little around the values.
    pub(super) fn around(name: &str, lines: &[Line], which: impl Fn(&(f64, f64)) -> f64) -> Self {
        let (low, high) = bounds(lines.iter().flat_map(|l| &l.points).map(which));
        let pad = if high > low {
            0.06 * (high - low)
        } else {
            0.5 * high.abs().max(1.0)
        };
        Self::nice(name, low - pad, high + pad)
    }

    fn nice(name: &str, low: f64, high: f64) -> Self {
        let step = nice_step((high - low) / 7.0);
        let high = if low == 0.0 {
            (high / step).ceil() * step
        } else {
            high
        };
        Self {
            name: name.to_owned(),
            low,
            high,
            ticks: multiples(step, low, high),
            decimals: (-step.log10().floor()).clamp(0.0, 9.0) as usize,
        }
    }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    let points = lines.iter().flat_map(|l| &l.points).map(|p| p.1);
    let bands = lines.iter().flat_map(|l| &l.band);
    points.chain(bands.flat_map(|&(_, low, high)| [low, high]))
}

/// Least and largest; 0 to 1 without values.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|v| v.is_finite())
        .fold(None, |found: Option<(f64, f64)>, v| {
            let (low, high) = found.unwrap_or((v, v));
            Some((low.min(v), high.max(v)))
        })
        .unwrap_or((0.0, 1.0))
}

/// 1, 2 or 5 times a power of ten, at least `wanted`.
fn nice_step(wanted: f64) -> f64 {
    if !(wanted > 0.0 && wanted.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(wanted.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= wanted * (1.0 - 1e-9))
        .unwrap_or(10.0);
    factor * power
}

/// Multiples of `step` from `low` to `high`, at most 40.
fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    (0..40)
        .map(|n| (first + f64::from(n)) * step)
        .take_while(|&tick| tick <= high + 1e-9 * step)
        .map(|tick| tick + 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(nice_step(0.13), 0.2);
        assert_eq!(nice_step(1.0), 1.0);
        assert_eq!(nice_step(27.0 / 12.0), 5.0);
        assert_eq!(nice_step(f64::NAN), 1.0);
        let ticks = multiples(0.2, 0.0, 1.0);
        assert_eq!(ticks.len(), 6);
        assert_eq!(Axis::whole("x", [3.0].into_iter()).ticks, [3.0]);
        let axis = Axis::whole("x", (0..28).map(f64::from));
        assert_eq!(axis.ticks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
    }
}
