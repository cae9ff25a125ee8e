//! A table for terminals.

use super::{date, ratio};
use crate::catalogue::Group;
use crate::results::{Measured, Outcome, Results};
use std::fmt::Write;

/// All of it.
pub fn write(results: &Results) -> String {
    let mut out = String::new();
    let s = &results.setting;
    let _ = writeln!(
        out,
        "{}, Linux {}, {} CPUs ({}), {} rounds{}; load average before: {:.2}",
        date(s.when),
        s.kernel,
        s.cpus,
        s.cpu,
        s.rounds,
        if s.quick { ", quick" } else { "" },
        s.load_before
    );
    if let Some(warning) = noise(results) {
        let _ = writeln!(out, "{warning}");
    }
    for r in &results.runtimes {
        if !r.version.is_empty() {
            let _ = writeln!(out, "{}: {} ({})", r.name, r.command, r.version);
        }
    }
    for group in Group::ALL {
        let items: Vec<_> = results.group(group).collect();
        if !items.is_empty() {
            let _ = writeln!(out, "\n{}", group.title());
            out.push_str(&table(results, &items));
        }
    }
    out.push_str(&means(results));
    out.push_str(&hot(results));
    let failures = results.failures();
    if !failures.is_empty() {
        let _ = writeln!(out, "\nFailed (left out of the means)");
        for (item, runtime, n, of, why) in failures {
            let _ = writeln!(
                out,
                "  {item} under {runtime}, {n} of {of}: {}",
                one_line(&why)
            );
        }
    }
    out
}

/// A run beside other work is no measurement.
pub fn noise(results: &Results) -> Option<String> {
    (results.setting.load_before > 0.3).then(|| {
        "NOISY: something else was running. Only the ratios mean something, and these are rough.".to_owned()
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(item: &Measured, runtime: &str) -> String {
    match item.outcome(runtime) {
        Outcome::Figure(s) => item.unit.show(s.median),
        Outcome::Failed(..) => "FAILED".into(),
        Outcome::Skipped(_) => "-".into(),
    }
}

fn table(results: &Results, items: &[&Measured]) -> String {
    let pairs = results.pairs();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(results.runtimes.iter().map(|r| r.name.clone()));
    rows[0].extend(pairs.iter().map(|(of, to)| format!("{of}/{to}")));
    for item in items {
        let mut row = vec![item.name.clone()];
        row.extend(results.runtimes.iter().map(|r| cell(item, &r.name)));
        row.extend(pairs.iter().map(|(of, to)| {
            item.ratio(of, to).map_or_else(
                || "-".into(),
                |s| format!("{} ({}-{})", ratio(s.median), ratio(s.low), ratio(s.high)),
            )
        }));
        rows.push(row);
    }
    align(&rows)
}

/// Columns: the first to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|t| t.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (c, text) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - text.chars().count());
            if c == 0 {
                line.push_str(text);
                line.push_str(&pad);
            } else {
                line.push_str("  ");
                line.push_str(&pad);
                line.push_str(text);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn means(results: &Results) -> String {
    let mut rows = Vec::new();
    for group in [Group::Micro, Group::Real] {
        for (of, to) in results.pairs() {
            if let Some((s, count)) = results.mean(group, of, to) {
                rows.push(vec![
                    format!("{}, {of}/{to}", group.title()),
                    ratio(s.median),
                    format!("({}-{})", ratio(s.low), ratio(s.high)),
                    format!("of {count}"),
                ]);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\nGeometric means of cost ratios (range of single rounds)\n{}",
        align(&rows)
    )
}

/// Where the subject is dearest.
fn hot(results: &Results) -> String {
    let mut out = String::new();
    for other in &results.runtimes {
        if other.name == results.subject || other.name == crate::results::NATIVE {
            continue;
        }
        let limit = if other.name == results.base { 3.0 } else { 1.0 };
        let dear = results.dearer(&other.name, limit);
        if !dear.is_empty() {
            let list: Vec<_> = dear
                .iter()
                .map(|(i, s)| format!("{} {}", i.name, ratio(s.median)))
                .collect();
            let _ = writeln!(
                out,
                "\n{} costs more than {limit} times {}: {}",
                results.subject,
                other.name,
                list.join(", ")
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn the_table_has_figures_ratios_and_failures() {
        let text = write(&sample());
        for wanted in [
            "null",
            "100 ns",
            "300 ns",
            "3.00 (2.00-4.00)",
            "2.00 (1.00-4.00)",
            "20.0 k/s",
            "FAILED",
            "git under ours, 1 of 3: wrong <hash>",
            "Real workloads, ours/runc",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert!(!text.contains("NOISY"));
    }

    #[test]
    fn load_makes_a_warning() {
        let mut results = sample();
        results.setting.load_before = 2.0;
        assert!(write(&results).contains("NOISY"));
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".into(), "1 µs".into()],
            vec!["bbb".into(), "10 µs".into()],
        ];
        assert_eq!(align(&rows), "  a     1 µs\n  bbb  10 µs\n");
    }
}
