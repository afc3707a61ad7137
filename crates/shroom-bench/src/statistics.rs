//! Medians and spread: rounds are few and noise is one-sided, so no mean and no deviation.

use serde::{Deserialize, Serialize};

/// What the rounds say about one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
    pub(crate) rounds: usize,
}

impl Summary {
    /// Of some values; `None` when there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: median(&sorted)?,
            least: *sorted.first()?,
            greatest: *sorted.last()?,
            rounds: sorted.len(),
        })
    }

    /// Half of the range as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        match self.median {
            0.0 => 0.0,
            median => (self.greatest - self.least) / 2.0 / median,
        }
    }
}

/// Of sorted values; the mean of the two in the middle when their number is even.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(match sorted.len() % 2 {
        0 => (sorted[middle - 1] + upper) / 2.0,
        _ => upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of(&[]), None);
        let odd = Summary::of(&[3.0, 1.0, 100.0]).unwrap();
        assert_eq!(
            (odd.median, odd.least, odd.greatest, odd.rounds),
            (3.0, 1.0, 100.0, 3)
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(even.median, 2.5);
        assert_eq!(Summary::of(&[10.0, 8.0, 12.0]).unwrap().spread(), 0.2);
        assert_eq!(Summary::of(&[0.0]).unwrap().spread(), 0.0);
    }
}
