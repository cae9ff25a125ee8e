//! Plots of ratios on a logarithmic axis.

use super::ratio;
use crate::results::{Measured, Outcome, Results};
use crate::stats::Spread;
use std::fmt::Write;

const ROW: f64 = 22.0;
const LEFT: f64 = 170.0;
const WIDTH: f64 = 900.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 28.0;
const TICKS: &[f64] = &[
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
];

/// Text that stands in markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The class of a runtime's marks: its place among those that are compared.
pub fn class(results: &Results, runtime: &str) -> usize {
    if runtime == results.subject {
        return 0;
    }
    1 + results
        .runtimes
        .iter()
        .filter(|r| r.name != results.subject && r.name != results.base)
        .position(|r| r.name == runtime)
        .unwrap_or(0)
        % 5
}

struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Holds 1 and all values, with round ends.
    fn new(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .fold((0.8f64, 1.25f64), |(l, h), v| (l.min(v), h.max(v)));
        Self {
            low: low / 1.15,
            high: high * 1.15,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        TICKS
            .iter()
            .copied()
            .filter(|t| (self.low..=self.high).contains(t))
    }
}

/// One row an item, one dot a runtime: its cost where the base's is 1, with the range of the rounds.
pub fn ratios(results: &Results, items: &[&Measured]) -> String {
    let others: Vec<&str> = results
        .runtimes
        .iter()
        .map(|r| r.name.as_str())
        .filter(|n| *n != results.base)
        .collect();
    let of = |item: &Measured, runtime: &str| item.ratio(runtime, &results.base);
    let axis = Axis::new(items.iter().flat_map(|i| {
        others
            .iter()
            .filter_map(|o| of(i, o))
            .flat_map(|s| [s.low, s.high])
            .collect::<Vec<_>>()
    }));
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let height = TOP + items.len() as f64 * ROW + 8.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Cost relative to {}\">\n",
        escape(&results.base)
    );
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let class = if (tick - 1.0).abs() < 1e-9 {
            "one"
        } else {
            "grid"
        };
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{}×</text>",
            height - 8.0,
            TOP - 8.0,
            tick
        );
    }
    for (row, item) in items.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        let y = TOP + (row as f64 + 0.5) * ROW;
        let _ = writeln!(
            out,
            "<g><title>{}</title><text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(&item.what),
            LEFT - 10.0,
            y + 4.0,
            escape(&item.name)
        );
        // The subject last: on top.
        let mut order = others.clone();
        order.sort_by_key(|o| *o == results.subject);
        for runtime in order {
            if let (Outcome::Figure(figure), Some(s)) = (item.outcome(runtime), of(item, runtime)) {
                let class = class(results, runtime);
                out.push_str(&dot(
                    &axis,
                    y,
                    class,
                    runtime,
                    &item.unit.show(figure.median),
                    s,
                ));
            }
        }
        out.push_str(&crosses(results, item, y));
    }
    out.push_str("</svg>\n");
    out
}

/// A cross for each runtime that failed, beside the plot.
fn crosses(results: &Results, item: &Measured, y: f64) -> String {
    let mut out = String::new();
    let mut x = WIDTH - RIGHT + 10.0;
    for runtime in &results.runtimes {
        let Outcome::Failed(n, of, why) = item.outcome(&runtime.name) else {
            continue;
        };
        let class = if runtime.name == results.base {
            "base".to_owned()
        } else {
            format!("c{}", class(results, &runtime.name))
        };
        let _ = writeln!(
            out,
            "<g><title>{} failed in {n} of {of}: {}</title><text class=\"{class} failed\" x=\"{x:.1}\" y=\"{:.1}\">✕</text></g>",
            escape(&runtime.name),
            escape(&why),
            y + 5.0
        );
        x += 14.0;
    }
    out
}

fn dot(axis: &Axis, y: f64, class: usize, runtime: &str, figure: &str, s: Spread) -> String {
    let (low, x, high) = (axis.x(s.low), axis.x(s.median), axis.x(s.high));
    format!(
        "<g class=\"c{class}\"><title>{}: {figure}, {}× ({} to {})</title>\
         <line class=\"range\" x1=\"{low:.1}\" y1=\"{y:.1}\" x2=\"{high:.1}\" y2=\"{y:.1}\"/>\
         <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>\n",
        escape(runtime),
        ratio(s.median),
        ratio(s.low),
        ratio(s.high)
    )
}

/// One bar a runtime, from zero.
pub fn bars(results: &Results, item: &Measured) -> String {
    let figures: Vec<_> = results
        .runtimes
        .iter()
        .map(|r| (r.name.as_str(), item.outcome(&r.name)))
        .collect();
    let most = figures
        .iter()
        .filter_map(|(_, o)| match o {
            Outcome::Figure(s) => Some(s.high),
            _ => None,
        })
        .fold(f64::MIN_POSITIVE, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let height = figures.len() as f64 * ROW + 6.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(&item.name)
    );
    let scale = |v: f64| v / most * (WIDTH - LEFT - 130.0);
    for (row, (runtime, outcome)) in figures.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
        let y = row as f64 * ROW + 3.0;
        let class = if *runtime == results.base {
            "base".to_owned()
        } else {
            format!("c{}", class(results, runtime))
        };
        let (width, text) = match outcome {
            Outcome::Figure(s) => (scale(s.median), item.unit.show(s.median)),
            Outcome::Failed(..) => (0.0, "FAILED".into()),
            Outcome::Skipped(_) => (0.0, "–".into()),
        };
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            LEFT - 10.0,
            y + 14.0,
            escape(runtime),
            ROW - 6.0,
            LEFT + width + 8.0,
            y + 13.0
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn the_axis_holds_everything() {
        let axis = Axis::new([0.25, 40.0, f64::NAN, 0.0].into_iter());
        assert!(axis.x(0.25) > LEFT && axis.x(40.0) < WIDTH - RIGHT);
        assert!(axis.x(0.25) < axis.x(1.0) && axis.x(1.0) < axis.x(40.0));
        assert!(axis.ticks().any(|t| (t - 1.0).abs() < 1e-9));
        assert!(axis.x(1e9) <= WIDTH);
    }

    #[test]
    fn every_item_has_a_row_and_failures_a_mark() {
        let r = sample();
        let items: Vec<_> = r.items.iter().collect();
        let svg = ratios(&r, &items);
        assert_eq!(svg.matches("class=\"name\"").count(), items.len());
        assert!(svg.contains("ours failed in 1 of 3") && svg.contains("&lt;is&gt; &amp; does"));
        // Native and ours of null and redis, native of git and node.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(bars(&r, &r.items[2]).contains("FAILED"));
    }
}
