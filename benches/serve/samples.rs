//! Several measurements of one thing.

/// Their median; of an even number the mean of the two in the middle. NaN of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let all = sorted(values);
    let middle = all.len() / 2;
    match all.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => all[middle],
        _ => f64::midpoint(all[middle - 1], all[middle]),
    }
}

/// Median, least and largest, with so many digits behind the point.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>, digits: usize) -> String {
    let all = sorted(values);
    let [least, .., most] = &all[..] else { return format!("{:.digits$}", median(all)) };
    format!("{:.digits$} ({least:.digits$}-{most:.digits$})", median(all.iter().copied()))
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<_> = values.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all
}
