//! Repeated samples of one measure. Pure but for [`repeat`], which runs what is
//! measured.

use std::fmt;

use anyhow::Result;

/// Samples of one measure, at least one, all in the same unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    sorted: Vec<f64>,
}

impl Samples {
    /// The samples; `None` when there is none or one is no number.
    #[must_use]
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some(Self { sorted: values })
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// The one in the middle; of an even number, the mean of the two there.
    #[must_use]
    pub fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        if self.sorted.len().is_multiple_of(2) {
            f64::midpoint(self.sorted[middle - 1], self.sorted[middle])
        } else {
            self.sorted[middle]
        }
    }
}

impl fmt::Display for Samples {
    /// `median (min to max)`, or the one value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, median, max) = (self.min(), self.median(), self.max());
        if self.sorted.len() == 1 {
            return f.write_str(&number(median));
        }
        write!(f, "{} ({} to {})", number(median), number(min), number(max))
    }
}

/// Measures so many times, once at least.
///
/// # Errors
/// When a measurement fails; a failed one is not left out.
#[allow(dead_code, reason = "for the benches that measure more than once")]
pub fn repeat(times: u32, mut measure: impl FnMut() -> Result<f64>) -> Result<Samples> {
    let values = (0..times.max(1))
        .map(|_| measure())
        .collect::<Result<Vec<_>>>()?;
    Samples::new(values).ok_or_else(|| anyhow::anyhow!("a measurement gave no number"))
}

/// A number with three digits that say something.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size < f64::EPSILON {
        "0".into()
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// How many times `ours` is of `theirs`, as `×1.30`.
#[must_use]
pub fn ratio(ours: f64, theirs: f64) -> String {
    ratios(&[ours], &[theirs])
}

/// How many times ours is of theirs, each sample against the one that was taken
/// beside it, as `×1.30 (1.10 to 1.52)`; `-` where there are none to compare.
#[must_use]
pub fn ratios(ours: &[f64], theirs: &[f64]) -> String {
    let pairs = ours.iter().zip(theirs);
    let pairs = pairs.filter(|(_, theirs)| **theirs > f64::EPSILON);
    let all = Samples::new(pairs.map(|(ours, theirs)| ours / theirs).collect());
    let Some(ratios) = all else {
        return "-".into();
    };
    let (min, median, max) = (ratios.min(), ratios.median(), ratios.max());
    if ratios.sorted.len() == 1 {
        return format!("×{median:.2}");
    }
    format!("×{median:.2} ({min:.2} to {max:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even() {
        for (values, median, shown) in [
            (vec![3.0], 3.0, "3.00"),
            (vec![9.0, 1.0, 2.0], 2.0, "2.00 (1.00 to 9.00)"),
            (vec![4.0, 1.0], 2.5, "2.50 (1.00 to 4.00)"),
        ] {
            let samples = Samples::new(values).unwrap();
            assert!((samples.median() - median).abs() < 1e-9);
            assert_eq!(samples.to_string(), shown);
        }
        assert_eq!(Samples::new(vec![]), None);
        assert_eq!(Samples::new(vec![f64::NAN]), None);
    }

    #[test]
    fn a_failed_measurement_is_not_left_out() {
        let mut left = vec![Ok(1.0), Err(anyhow::anyhow!("broke")), Ok(2.0)];
        assert!(repeat(3, || left.pop().unwrap()).is_err());
    }

    #[test]
    fn each_sample_is_compared_with_the_one_beside_it() {
        assert_eq!(ratio(13.0, 10.0), "×1.30");
        assert_eq!(ratios(&[13.0], &[0.0]), "-");
        assert_eq!(ratios(&[], &[1.0]), "-");
        // Each against its neighbour: a busy moment is in both.
        let (ours, theirs) = ([10.0, 1.0, 6.0], [5.0, 1.0, 4.0]);
        assert_eq!(ratios(&ours, &theirs), "×1.50 (1.00 to 2.00)");
    }
}
