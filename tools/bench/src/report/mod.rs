//! Results as JSON, as a text table, and as an HTML page with plots.

pub mod html;
pub mod json;
mod svg;
pub mod text;

/// A ratio for people: three digits.
fn ratio(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A date of the UTC calendar (Howard Hinnant's algorithm for civil dates).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        rest / 3600,
        rest % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::date(0), "1970-01-01 00:00 UTC");
        assert_eq!(super::date(1_700_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(super::date(1_709_164_800), "2024-02-29 00:00 UTC");
    }

    #[test]
    fn ratios() {
        let shown: Vec<_> = [0.031, 1.0, 9.996, 41.26, 241.3].map(super::ratio).to_vec();
        assert_eq!(shown, ["0.03", "1.00", "10.0", "41.3", "241"]);
    }
}
