//! Numbers, and the table they are printed in.

use std::time::Duration;

/// The value below which `share` (0 to 1) of the sorted samples lie; zero of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index among some thousand samples"
    )]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// One line a subject: the lower tenth and median in milliseconds, and the median of the ratios
/// to the first subject, round by round. Ratios within one run can be compared; times cannot.
pub(crate) fn print(title: &str, samples: &[(String, Vec<Duration>)]) -> String {
    let Some((first, base)) = samples.first() else {
        return String::new();
    };
    let mut text = format!(
        "{title}\n{:<10} {:>9} {:>9}   ratio to {first} (p25-p75)\n",
        "", "p10 ms", "p50 ms"
    );
    for (name, times) in samples {
        let milliseconds = sorted(times.iter().map(|time| time.as_secs_f64() * 1e3).collect());
        let paired = times.iter().zip(base);
        let ratios = sorted(
            paired
                .map(|(time, base)| time.as_secs_f64() / base.as_secs_f64())
                .collect(),
        );
        let line = format!(
            "{name:<10} {:>9.2} {:>9.2}   {:.2} ({:.2}-{:.2})\n",
            quantile(&milliseconds, 0.1),
            quantile(&milliseconds, 0.5),
            quantile(&ratios, 0.5),
            quantile(&ratios, 0.25),
            quantile(&ratios, 0.75),
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_paired_by_round() {
        let ms = |values: &[u64]| {
            values
                .iter()
                .map(|value| Duration::from_millis(*value))
                .collect()
        };
        let table = print(
            "t",
            &[
                ("a".into(), ms(&[1, 10, 100])),
                ("b".into(), ms(&[2, 20, 200])),
            ],
        );
        assert!(table.contains("2.00 (2.00-2.00)"), "{table}");
    }

    #[test]
    fn quantiles_of_nothing_are_zero() {
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
        assert!((quantile(&[1.0, 2.0, 3.0], 0.5) - 2.0).abs() < f64::EPSILON);
    }
}
