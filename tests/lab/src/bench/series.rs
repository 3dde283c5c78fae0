//! Numbers of several rounds: median, least, greatest.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Series {
    pub(super) values: Vec<f64>,
}

impl Series {
    pub(super) fn of(values: Vec<f64>) -> Self {
        Self { values }
    }

    pub(super) fn median(&self) -> Option<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// What an agent costs in the long run, when it does not do the same each time.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.values.len()).ok().filter(|count| *count > 0)?;
        Some(self.values.iter().sum::<f64>() / f64::from(count))
    }

    /// The mean with the range.
    pub(super) fn mean_text(&self) -> String {
        match self.mean() {
            None => "–".to_owned(),
            Some(mean) => format!("{mean:.1} ({:.1} to {:.1})", self.least(), self.greatest()),
        }
    }

    fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn greatest(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.greatest() < 100.0 { 1 } else { 0 };
        match (self.median(), self.values.len()) {
            (None, _) => write!(f, "–"),
            (Some(median), 1) => write!(f, "{median:.digits$} (one round)"),
            (Some(median), _) => {
                write!(f, "{median:.digits$} ({:.digits$} to {:.digits$})", self.least(), self.greatest())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Series::of(vec![4.0, 1.0, 3.0, 2.0]).median(), Some(2.5));
        assert_eq!(Series::of(vec![5.0, 1.0, 3.0]).median(), Some(3.0));
        assert_eq!(Series::default().median(), None);
    }

    #[test]
    fn the_mean_counts_what_is_rare() {
        assert_eq!(Series::of(vec![1.0, 1.0, 1.0, 9.0]).mean(), Some(3.0));
        assert_eq!(Series::of(vec![1.0, 1.0, 1.0, 9.0]).mean_text(), "3.0 (1.0 to 9.0)");
        assert_eq!(Series::default().mean(), None);
    }

    #[test]
    fn it_is_shown_with_its_range() {
        assert_eq!(Series::of(vec![900.4, 800.0, 1000.0]).to_string(), "900 (800 to 1000)");
        assert_eq!(Series::of(vec![5.25]).to_string(), "5.2 (one round)");
        assert_eq!(Series::default().to_string(), "–");
    }
}
