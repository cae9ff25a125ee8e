//! Everything that was measured, and what follows from it, as JSON.

use crate::catalogue::Group;
use crate::results::{Measured, Outcome, Results};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The document: `setting`, `runtimes`, `base`, `subject`, `items` with all rounds, and a `summary` derived from these.
pub fn write(results: &Results) -> Result<String> {
    let mut document = serde_json::to_value(results)?;
    document["summary"] = json!({
        "items": results.items.iter().map(|i| item(results, i)).collect::<Vec<_>>(),
        "geometric_means": means(results),
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Reads such a document; the summary is made anew.
pub fn read(text: &str) -> Result<Results> {
    serde_json::from_str(text).context("not a file that --json wrote")
}

fn item(results: &Results, item: &Measured) -> Value {
    let figures: serde_json::Map<_, _> = results
        .runtimes
        .iter()
        .map(|r| {
            let figure = match item.outcome(&r.name) {
                Outcome::Figure(s) => json!({"median": s.median, "low": s.low, "high": s.high}),
                Outcome::Failed(n, of, why) => json!({"failed": why, "times": n, "of": of}),
                Outcome::Skipped(why) => json!({"skipped": why}),
            };
            (r.name.clone(), figure)
        })
        .collect();
    let ratios: serde_json::Map<_, _> = results
        .pairs()
        .into_iter()
        .filter_map(|(of, to)| {
            let s = item.ratio(of, to)?;
            Some((
                format!("{of}/{to}"),
                json!({"median": s.median, "low": s.low, "high": s.high}),
            ))
        })
        .collect();
    json!({"name": item.name, "figures": figures, "cost_ratios": ratios})
}

fn means(results: &Results) -> Value {
    let mut out = serde_json::Map::new();
    for group in [Group::Micro, Group::Real] {
        for (of, to) in results.pairs() {
            if let Some((s, count)) = results.mean(group, of, to) {
                out.insert(
                    format!("{} {of}/{to}", group.name()),
                    json!({"mean": s.median, "low": s.low, "high": s.high, "items": count}),
                );
            }
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn the_document_can_be_read_again() {
        let text = write(&sample()).unwrap();
        assert_eq!(read(&text).unwrap(), sample());
        let value: Value = serde_json::from_str(&text).unwrap();
        let summary = &value["summary"];
        assert_eq!(
            summary["items"][0]["cost_ratios"]["ours/runc"]["median"],
            3.0
        );
        assert_eq!(summary["items"][2]["figures"]["ours"]["times"], 1);
        assert_eq!(summary["geometric_means"]["real ours/runc"]["items"], 1);
        assert!(read("{}").is_err());
    }
}
