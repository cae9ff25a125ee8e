//! Medians, ratios of pairs, geometric means.

use serde::{Deserialize, Serialize};

/// A middle value with the range it came from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

/// The median: the middle value, or the mean of the two in the middle. None of nothing, or where a value is not a number.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    Some(if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    })
}

/// Median and range.
pub fn spread(values: &[f64]) -> Option<Spread> {
    Some(Spread {
        median: median(values)?,
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The geometric mean of positive values. None of nothing, or where a value is not positive and finite.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return None;
    }
    let logs: f64 = values.iter().map(|v| v.ln()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of items")]
    let count = values.len() as f64;
    Some((logs / count).exp())
}

/// Round by round, `of` over `to`. Rounds in which either is missing or not positive have no ratio.
pub fn ratios(of: &[Option<f64>], to: &[Option<f64>]) -> Vec<Option<f64>> {
    of.iter()
        .zip(to)
        .map(|(of, to)| match (of, to) {
            (Some(of), Some(to)) if *of > 0.0 && *to > 0.0 => Some(of / to),
            _ => None,
        })
        .collect()
}

/// The geometric mean over items of their medians of ratios, and the range of the means of the single rounds.
///
/// Each element is one item's ratios, round by round. An item without any ratio is left out; a round counts for the range only where
/// every item that is in has a ratio.
pub fn mean_of_items(items: &[Vec<Option<f64>>]) -> Option<Spread> {
    let items: Vec<_> = items
        .iter()
        .filter(|i| i.iter().any(Option::is_some))
        .collect();
    let medians: Vec<f64> = items
        .iter()
        .filter_map(|i| median(&i.iter().flatten().copied().collect::<Vec<_>>()))
        .collect();
    let middle = geometric_mean(&medians)?;
    let rounds = items.iter().map(|i| i.len()).max().unwrap_or(0);
    let of_rounds: Vec<f64> = (0..rounds)
        .filter_map(|round| {
            let one: Option<Vec<f64>> = items
                .iter()
                .map(|i| i.get(round).copied().flatten())
                .collect();
            geometric_mean(&one?)
        })
        .chain([middle])
        .collect();
    let range = spread(&of_rounds)?;
    Some(Spread {
        median: middle,
        ..range
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} {b}");
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        close(median(&[3.0, 1.0, 2.0]).unwrap(), 2.0);
        close(median(&[4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
        close(median(&[7.0]).unwrap(), 7.0);
    }

    #[test]
    fn spreads_hold_their_median() {
        let s = spread(&[5.0, 1.0, 9.0]).unwrap();
        assert_eq!((s.low, s.median, s.high), (1.0, 5.0, 9.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn geometric_means() {
        close(geometric_mean(&[1.0, 4.0]).unwrap(), 2.0);
        close(geometric_mean(&[2.0, 2.0, 2.0]).unwrap(), 2.0);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
        assert_eq!(geometric_mean(&[1.0, f64::INFINITY]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn ratios_are_of_pairs() {
        let of = [Some(2.0), None, Some(3.0), Some(1.0)];
        let to = [Some(1.0), Some(1.0), Some(0.0), Some(4.0)];
        assert_eq!(ratios(&of, &to), [Some(2.0), None, None, Some(0.25)]);
    }

    #[test]
    fn means_leave_out_what_has_no_ratio() {
        let items = vec![
            vec![Some(1.0), Some(2.0), Some(4.0)],
            vec![None, None, None],
            vec![Some(8.0), Some(8.0), Some(8.0)],
        ];
        let s = mean_of_items(&items).unwrap();
        close(s.median, 4.0);
        close(s.low, 8f64.sqrt());
        close(s.high, 32f64.sqrt());
        assert_eq!(mean_of_items(&[vec![None]]), None);
    }

    #[test]
    fn a_round_with_a_gap_gives_no_range() {
        let items = vec![vec![Some(1.0), Some(100.0)], vec![Some(1.0), None]];
        let s = mean_of_items(&items).unwrap();
        close(s.low, 1.0);
        close(s.high, 50.5f64.sqrt());
    }
}
