//! Medians, ratios that are paired by round, and how far both can be trusted.

use crate::random::Random;

/// How often the rounds are drawn anew.
const DRAWS: usize = 2000;

/// A median and the interval that holds 95 of 100 medians of rounds drawn anew (the bootstrap).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The value below which `share` (0 to 1) of the samples lie; none of none.
pub(crate) fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    of_sorted(&sorted, share)
}

/// The middle sample; none of none.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

fn of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index among some thousand samples"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied()
}

/// The ratios of two subjects in the rounds that both came through: ratios within a round can be
/// compared, times of two rounds cannot.
pub(crate) fn paired(times: &[Option<f64>], base: &[Option<f64>]) -> Vec<f64> {
    let both = times.iter().zip(base);
    both.filter_map(|(time, base)| Some((*time)? / base.filter(|base| *base > 0.0)?))
        .collect()
}

/// The median with its interval; none of none.
pub(crate) fn estimate(samples: &[f64]) -> Option<Estimate> {
    let median = median(samples)?;
    // the same draws for the same numbers: a table can be made again
    let mut random = Random::new(0x5eed);
    let draw = |random: &mut Random| {
        let index = |_| samples.get(random.below(samples.len())).copied();
        let mut drawn: Vec<f64> = (0..samples.len()).filter_map(index).collect();
        drawn.sort_by(f64::total_cmp);
        of_sorted(&drawn, 0.5)
    };
    let mut medians: Vec<f64> = (0..DRAWS).filter_map(|_| draw(&mut random)).collect();
    medians.sort_by(f64::total_cmp);
    Some(Estimate {
        median,
        low: of_sorted(&medians, 0.025)?,
        high: of_sorted(&medians, 0.975)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn quantiles_do_not_depend_on_the_order_and_nothing_has_none() {
        assert!(is(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0));
        assert!(is(quantile(&[3.0, 1.0, 2.0], 0.0), 1.0));
        assert!(is(quantile(&[3.0, 1.0, 2.0], 1.0), 3.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn ratios_are_of_the_same_round_and_skip_rounds_that_one_did_not_survive() {
        let ours = [Some(1.0), Some(10.0), None, Some(100.0)];
        let theirs = [Some(2.0), Some(20.0), Some(5.0), None];
        assert_eq!(paired(&ours, &theirs), [0.5, 0.5]);
    }

    #[test]
    fn equal_samples_leave_no_doubt() {
        let sure = estimate(&[4.0; 20]).expect("samples");
        assert!(is(Some(sure.low), 4.0) && is(Some(sure.high), 4.0));
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_more_rounds() {
        let spread = |count: u32| (0..count).map(|n| f64::from(n % 10)).collect::<Vec<_>>();
        let (few, many) = (estimate(&spread(20)), estimate(&spread(2000)));
        let width = |estimate: Option<Estimate>| {
            let Estimate { median, low, high } = estimate.expect("samples");
            assert!(low <= median && median <= high);
            high - low
        };
        assert!(width(many) < width(few));
    }

    #[test]
    fn the_interval_misses_the_truth_in_about_one_of_twenty() {
        // medians of 31 numbers drawn evenly from 0 to 1: the truth is a half
        let mut random = Random::new(7);
        let mut missed = 0;
        for _ in 0..60 {
            let sample: Vec<f64> = (0..31).map(|_| random.share()).collect();
            let Estimate { low, high, .. } = estimate(&sample).expect("samples");
            missed += usize::from(low > 0.5 || high < 0.5);
        }
        assert!(missed <= 9, "{missed} of 60");
    }
}
