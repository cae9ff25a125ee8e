//! What was measured, and what follows from it.

use crate::catalogue::{Group, Unit};
use crate::stats::{self, Spread};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of runs without a runtime.
pub const NATIVE: &str = "native";

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Round {
    /// A figure that passed all checks.
    Value(f64),
    /// A wrong result, or none.
    Failed(String),
    /// Not possible here.
    Skipped(String),
}

/// One item under all runtimes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The item's name.
    pub name: String,
    /// What it is.
    pub what: String,
    /// Its group.
    pub group: Group,
    /// Its unit.
    pub unit: Unit,
    /// Rounds by runtime; a round has the same place everywhere.
    pub rounds: BTreeMap<String, Vec<Round>>,
}

/// A runtime that took part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taker {
    /// Its name.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// The first lines of `--version`.
    pub version: String,
}

/// Where and how it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Seconds since 1970.
    pub when: u64,
    /// The host's kernel.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    /// Online CPUs.
    pub cpus: usize,
    /// Load average of a minute when it began: above a few tenths, something else was running.
    pub load_before: f64,
    /// Rounds asked for.
    pub rounds: usize,
    /// Less work in each.
    pub quick: bool,
    /// The command that did it.
    pub command: String,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Where and how.
    pub setting: Setting,
    /// Runtimes in the order of reports, native first.
    pub runtimes: Vec<Taker>,
    /// The runtime that others are set against.
    pub base: String,
    /// The runtime that this is about.
    pub subject: String,
    /// Items in the order of reports.
    pub items: Vec<Measured>,
}

/// How an item went under a runtime.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All rounds gave a figure.
    Figure(Spread),
    /// At least one round failed: how many of how many, and how the first did.
    Failed(usize, usize, String),
    /// Not measured.
    Skipped(String),
}

impl Measured {
    /// How it went under a runtime.
    pub fn outcome(&self, runtime: &str) -> Outcome {
        let rounds = self.rounds.get(runtime).map_or(&[][..], Vec::as_slice);
        let mut failures = rounds.iter().filter_map(|r| match r {
            Round::Failed(why) => Some(why),
            _ => None,
        });
        if let Some(first) = failures.next() {
            return Outcome::Failed(1 + failures.count(), rounds.len(), first.clone());
        }
        let skipped = rounds.iter().find_map(|r| match r {
            Round::Skipped(why) => Some(why.clone()),
            _ => None,
        });
        match (skipped, stats::spread(&self.values(runtime))) {
            (None, Some(spread)) => Outcome::Figure(spread),
            (why, _) => Outcome::Skipped(why.unwrap_or_else(|| "not run".into())),
        }
    }

    fn values(&self, runtime: &str) -> Vec<f64> {
        self.rounds
            .get(runtime)
            .into_iter()
            .flatten()
            .filter_map(|r| match r {
                Round::Value(v) => Some(*v),
                _ => None,
            })
            .collect()
    }

    /// Costs round by round; none at all where a round failed.
    fn costs(&self, runtime: &str) -> Vec<Option<f64>> {
        if !matches!(self.outcome(runtime), Outcome::Figure(_)) {
            return Vec::new();
        }
        self.rounds
            .get(runtime)
            .into_iter()
            .flatten()
            .map(|r| match r {
                Round::Value(v) if self.unit.cost(*v).is_finite() => Some(self.unit.cost(*v)),
                _ => None,
            })
            .collect()
    }

    /// What `of` costs where `to` costs 1, round by round.
    pub fn ratios(&self, of: &str, to: &str) -> Vec<Option<f64>> {
        stats::ratios(&self.costs(of), &self.costs(to))
    }

    /// Median and range of that.
    pub fn ratio(&self, of: &str, to: &str) -> Option<Spread> {
        stats::spread(
            &self
                .ratios(of, to)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
        )
    }
}

impl Results {
    /// The items of a group.
    pub fn group(&self, group: Group) -> impl Iterator<Item = &Measured> {
        self.items.iter().filter(move |i| i.group == group)
    }

    /// The geometric mean of the ratios of a group's items, and of how many.
    pub fn mean(&self, group: Group, of: &str, to: &str) -> Option<(Spread, usize)> {
        let ratios: Vec<_> = self
            .group(group)
            .map(|i| i.ratios(of, to))
            .filter(|r| r.iter().any(Option::is_some))
            .collect();
        Some((stats::mean_of_items(&ratios)?, ratios.len()))
    }

    /// Which ratios are worth a column: everyone to the base, the base to native, and the subject to everyone else.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let names: Vec<&str> = self.runtimes.iter().map(|r| r.name.as_str()).collect();
        let mut pairs = Vec::new();
        if self.base != NATIVE && names.contains(&NATIVE) {
            pairs.push((self.base.as_str(), NATIVE));
        }
        pairs.extend(
            names
                .iter()
                .filter(|n| **n != self.base && **n != NATIVE)
                .map(|n| (*n, self.base.as_str())),
        );
        pairs.extend(
            names
                .iter()
                .filter(|n| **n != self.base && **n != NATIVE && **n != self.subject)
                .map(|n| (self.subject.as_str(), *n)),
        );
        pairs.retain(|(of, to)| of != to);
        pairs
    }

    /// Where the subject costs more than `limit` times another, dearest first.
    pub fn dearer(&self, than: &str, limit: f64) -> Vec<(&Measured, Spread)> {
        let mut out: Vec<_> = self
            .items
            .iter()
            .filter_map(|i| Some((i, i.ratio(&self.subject, than)?)))
            .filter(|(_, s)| s.median > limit)
            .collect();
        out.sort_by(|a, b| b.1.median.total_cmp(&a.1.median));
        out
    }

    /// Everything that failed: item, runtime, how often of how often, why.
    pub fn failures(&self) -> Vec<(&str, &str, usize, usize, String)> {
        let mut out = Vec::new();
        for item in &self.items {
            for runtime in &self.runtimes {
                if let Outcome::Failed(n, of, why) = item.outcome(&runtime.name) {
                    out.push((item.name.as_str(), runtime.name.as_str(), n, of, why));
                }
            }
        }
        out
    }
}

/// Results to test reports with.
#[cfg(test)]
pub fn sample() -> Results {
    let values = |v: &[f64]| v.iter().map(|v| Round::Value(*v)).collect::<Vec<_>>();
    let item = |name: &str, group, unit, native: &[f64], runc: &[f64], ours: Vec<Round>| Measured {
        name: name.into(),
        what: format!("what {name} <is> & does"),
        group,
        unit,
        rounds: [
            (NATIVE.to_owned(), values(native)),
            ("runc".to_owned(), values(runc)),
            ("ours".to_owned(), ours),
        ]
        .into(),
    };
    let taker = |name: &str| Taker {
        name: name.into(),
        command: name.into(),
        version: "1".into(),
    };
    Results {
        setting: Setting {
            when: 1_700_000_000,
            kernel: "6.18".into(),
            cpu: "a CPU".into(),
            cpus: 2,
            load_before: 0.1,
            rounds: 3,
            quick: false,
            command: "runsc-bench".into(),
        },
        runtimes: vec![taker(NATIVE), taker("runc"), taker("ours")],
        base: "runc".into(),
        subject: "ours".into(),
        items: vec![
            item(
                "null",
                Group::Micro,
                Unit::Nanoseconds,
                &[90.0, 100.0, 110.0],
                &[100.0, 100.0, 100.0],
                values(&[200.0, 300.0, 400.0]),
            ),
            item(
                "redis",
                Group::Real,
                Unit::PerSecond,
                &[50_000.0, 50_000.0, 50_000.0],
                &[40_000.0, 40_000.0, 40_000.0],
                values(&[20_000.0, 10_000.0, 40_000.0]),
            ),
            item(
                "git",
                Group::Real,
                Unit::Seconds,
                &[1.0, 1.0, 1.0],
                &[1.0, 1.0, 1.0],
                vec![
                    Round::Value(0.01),
                    Round::Failed("wrong <hash>".into()),
                    Round::Value(0.01),
                ],
            ),
            item(
                "node",
                Group::Real,
                Unit::Seconds,
                &[1.0, 1.0, 1.0],
                &[1.0, 1.0, 1.0],
                vec![Round::Skipped("node is not installed".into()); 3],
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_round_spoils_the_item() {
        let r = sample();
        let git = &r.items[2];
        assert_eq!(
            git.outcome("ours"),
            Outcome::Failed(1, 3, "wrong <hash>".into())
        );
        assert_eq!(git.ratio("ours", "runc"), None);
        assert!(matches!(r.items[3].outcome("ours"), Outcome::Skipped(_)));
        assert!(matches!(git.outcome("nobody"), Outcome::Skipped(_)));
        assert_eq!(r.failures().len(), 1);
    }

    #[test]
    fn means_are_of_what_worked() {
        let r = sample();
        let (mean, count) = r.mean(Group::Real, "ours", "runc").unwrap();
        assert_eq!(count, 1);
        // Half the requests is twice the cost.
        assert_eq!((mean.low, mean.median, mean.high), (1.0, 2.0, 4.0));
        assert!(r.mean(Group::Start, "ours", "runc").is_none());
    }

    #[test]
    fn ratios_of_pairs_not_of_medians() {
        let mut r = sample();
        r.items[0].rounds.insert(
            "runc".into(),
            [100.0, 300.0, 200.0].map(Round::Value).to_vec(),
        );
        let ratio = r.items[0].ratio("ours", "runc").unwrap();
        assert_eq!((ratio.low, ratio.median, ratio.high), (1.0, 2.0, 2.0));
    }

    #[test]
    fn pairs_and_hot_spots() {
        let r = sample();
        assert_eq!(r.pairs(), [("runc", NATIVE), ("ours", "runc")]);
        let dear: Vec<_> = r
            .dearer("runc", 2.5)
            .into_iter()
            .map(|(i, _)| i.name.as_str())
            .collect();
        assert_eq!(dear, ["null"]);
    }

    #[test]
    fn json_and_back() {
        let r = sample();
        let text = serde_json::to_string(&r).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), r);
    }
}
