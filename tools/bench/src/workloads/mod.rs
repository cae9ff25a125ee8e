//! Real programs, each with input made here and output checked.
//!
//! Only the middle of a workload is timed: files are made before, and results are looked at after. A workload gives seconds, or
//! operations per second where a server is kept busy, and a digest of what was computed, which must be the same everywhere.

mod archive;
mod compile;
mod database;
mod git;
mod node;
mod python;
mod redis;
mod shell;
mod text;
mod tools;
mod web;

use crate::protocol::{Line, say};
use anyhow::Result;
use std::time::{Duration, Instant};

/// What a workload's figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds: fewer are better.
    Seconds,
    /// Operations per second: more are better.
    PerSecond,
}

/// A real program, or a script of some.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What is reported.
    pub unit: Unit,
    /// Programs that it uses; without one of them it is skipped.
    pub needs: &'static [&'static str],
    /// Does it.
    pub run: fn(&Cx) -> Result<Found>,
}

/// What a workload found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// In its unit.
    pub value: f64,
    /// A hash of the results that must not depend on the runtime.
    pub digest: Option<String>,
}

impl Found {
    /// So many seconds, and these results.
    fn time(took: Duration, results: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self {
            value: took.as_secs_f64(),
            digest: Some(tools::digest(results.as_ref())),
        })
    }

    /// So many operations in that time.
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    fn rate(operations: u64, took: Duration) -> Result<Self> {
        if operations == 0 || took.is_zero() {
            anyhow::bail!("{operations} operations in {took:?}");
        }
        Ok(Self {
            value: operations as f64 / took.as_secs_f64(),
            digest: None,
        })
    }
}

/// How a workload is to be run.
pub struct Cx {
    /// A quarter of the work.
    pub quick: bool,
}

impl Cx {
    /// The amount of work.
    fn scale(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(4) } else { full }
    }

    /// Does the timed part, and tells the host when.
    fn timed<T>(&self, job: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
        say(&Line::Begin);
        let start = Instant::now();
        let out = job();
        let took = start.elapsed();
        say(&Line::End {
            seconds: took.as_secs_f64(),
        });
        Ok((took, out?))
    }
}

/// All of them, in the order of reports.
pub fn all() -> impl Iterator<Item = &'static Workload> {
    [
        shell::ALL,
        python::ALL,
        compile::ALL,
        git::ALL,
        database::ALL,
        redis::ALL,
        web::ALL,
        node::ALL,
        archive::ALL,
        text::ALL,
    ]
    .into_iter()
    .flatten()
}

/// The program of a workload that is not in the path, if one isn't.
pub fn missing(workload: &Workload) -> Option<&'static str> {
    workload
        .needs
        .iter()
        .copied()
        .find(|program| tools::find(program).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|w| w.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_quick_amount_is_never_nothing() {
        let cx = Cx { quick: true };
        assert_eq!((cx.scale(1), cx.scale(300)), (1, 75));
        assert_eq!(Cx { quick: false }.scale(300), 300);
    }
}
