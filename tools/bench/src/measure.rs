//! Rounds: every item under every runtime in turn, so that what else the machine does hits all of them.

use crate::catalogue::{self, Group, Item, Unit};
use crate::protocol::Line;
use crate::results::{Measured, Round};
use crate::runtime::container::{self, Ran, Running};
use crate::runtime::stage::Stage;
use crate::runtime::{Runtime, processes};
use crate::stats;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds of each item.
    pub rounds: usize,
    /// Less work in each.
    pub quick: bool,
    /// Longest time of one run.
    pub timeout: Duration,
    /// How many containers are many.
    pub crowd: usize,
}

/// How far the guest's clock and ours may differ: a part of the time, and what waking a reader may take on a busy machine.
const CLOCK_PART: f64 = 0.15;
const CLOCK_SLACK: f64 = 0.15;

/// On a busy machine a line may arrive late. A clock that is wrong is so every time.
const CLOCK_TRIES: usize = 3;

/// What one run gave.
struct Run {
    round: Round,
    digest: Option<String>,
    /// The clocks did not agree.
    late: bool,
}

impl From<Round> for Run {
    fn from(round: Round) -> Self {
        Self {
            round,
            digest: None,
            late: false,
        }
    }
}

/// Everything that measuring needs.
pub struct Bench<'a> {
    /// Where containers run.
    pub stage: Stage,
    /// Runtimes, in the order of reports.
    pub runtimes: &'a [Runtime],
    /// How.
    pub plan: Plan,
}

impl Bench<'_> {
    /// Measures one item. `progress` hears of each figure as it comes: round, runtime, figure.
    pub fn item(
        &mut self,
        item: Item,
        progress: &mut dyn FnMut(usize, &str, &Round),
    ) -> Result<Vec<Measured>> {
        if item.group == Group::Idle {
            return self.idle(item, progress);
        }
        if item.group == Group::Real {
            // Files that are read for the first time come from the disk: that is nobody's cost.
            self.one(item, 0)?;
        }
        let mut runs: Vec<Vec<Run>> = self.runtimes.iter().map(|_| Vec::new()).collect();
        for round in 0..self.plan.rounds {
            // Somebody else goes first each time.
            for turn in 0..self.runtimes.len() {
                let at = (turn + round) % self.runtimes.len();
                let run = self.one(item, at)?;
                progress(round, &self.runtimes[at].name, &run.round);
                runs[at].push(run);
            }
        }
        judge_digests(&mut runs);
        let rounds = self
            .runtimes
            .iter()
            .zip(runs)
            .map(|(r, runs)| (r.name.clone(), runs.into_iter().map(|r| r.round).collect()))
            .collect();
        Ok(vec![measured(item, rounds)])
    }

    fn one(&mut self, item: Item, at: usize) -> Result<Run> {
        Ok(match item.group {
            Group::Micro => self.guest("micro", item.name, at)?,
            Group::Real => self.guest("real", item.name, at)?,
            _ => self.start(item, at)?.into(),
        })
    }

    fn guest(&mut self, kind: &str, name: &str, at: usize) -> Result<Run> {
        let mut args: Vec<String> = ["/bench/guest", kind, name].map(str::to_owned).to_vec();
        if self.plan.quick {
            args.push("quick".into());
        }
        for _ in 0..CLOCK_TRIES {
            let bundle = self.stage.bundle(&args)?;
            let ran = container::run(&self.runtimes[at], &bundle, self.plan.timeout)?;
            let run = judge(&ran);
            if !run.late {
                return Ok(run);
            }
        }
        let why = "the clock inside and the host's differ, again and again: one goes wrong";
        Ok(Round::Failed(why.into()).into())
    }

    /// The median of three starts.
    fn start(&mut self, item: Item, at: usize) -> Result<Round> {
        let mut times = Vec::new();
        for _ in 0..3 {
            let first = item.name == catalogue::START_FIRST.name;
            let args = if first {
                ["/bench/guest", "hello"].map(str::to_owned).to_vec()
            } else {
                vec!["/bin/true".to_owned()]
            };
            let bundle = self.stage.bundle(&args)?;
            let ran = container::run(&self.runtimes[at], &bundle, self.plan.timeout)?;
            if let Some(why) = ran.trouble() {
                return Ok(Round::Failed(why));
            }
            let end = if first {
                ran.lines.first().map(|(at, _)| *at)
            } else {
                ran.ended.map(|(at, _)| at)
            };
            let Some(end) = end else {
                return Ok(Round::Failed("the program wrote nothing".into()));
            };
            times.push(end.duration_since(ran.started).as_secs_f64());
        }
        Ok(Round::Value(stats::median(&times).context("no starts")?))
    }

    /// Figures that come from the same runs are given with the first of their items.
    fn idle(
        &mut self,
        item: Item,
        progress: &mut dyn FnMut(usize, &str, &Round),
    ) -> Result<Vec<Measured>> {
        let crowd = [catalogue::CROWD_PSS, catalogue::CROWD_CPU];
        let (items, count) = if crowd.iter().any(|c| c.name == item.name) {
            (crowd.to_vec(), self.plan.crowd)
        } else {
            let one = [
                catalogue::IDLE_PSS,
                catalogue::IDLE_LARGEST,
                catalogue::IDLE_CPU,
            ];
            (one.to_vec(), 1)
        };
        let mut all = vec![BTreeMap::<String, Vec<Round>>::new(); items.len()];
        for round in 0..self.plan.rounds.min(3) {
            for turn in 0..self.runtimes.len() {
                let at = (turn + round) % self.runtimes.len();
                let name = &self.runtimes[at].name.clone();
                let figures = self.idle_once(at, count)?;
                for (item_of, into) in items.iter().zip(&mut all) {
                    let figure = match &figures {
                        Err(why) => Round::Failed(why.clone()),
                        Ok(figures) => Round::Value(match item_of.unit {
                            Unit::CpuPercent => figures.cpu,
                            _ if item_of.name == catalogue::IDLE_LARGEST.name => figures.largest,
                            _ => figures.pss,
                        }),
                    };
                    if item_of.name == item.name {
                        progress(round, name, &figure);
                    }
                    into.entry(name.clone()).or_default().push(figure);
                }
            }
        }
        Ok(items
            .into_iter()
            .zip(all)
            .map(|(item, rounds)| measured(item, rounds))
            .collect())
    }

    /// Starts so many containers, one after the other, and looks at them once all are idle.
    fn idle_once(&mut self, at: usize, count: usize) -> Result<Result<Idle, String>> {
        let runtime = &self.runtimes[at];
        let args = ["/bench/guest", "idle"].map(str::to_owned);
        let mut bundles = Vec::new();
        let mut all = Vec::new();
        let mut up = true;
        for _ in 0..count {
            let bundle = self.stage.bundle(&args)?;
            let mut running = Running::start(runtime, &bundle)?;
            up = running.wait_for_line(self.plan.timeout);
            bundles.push(bundle);
            all.push(running);
            if !up {
                break;
            }
        }
        let idle = if up {
            Some(look_at_idle(runtime, count, self.plan.quick))
        } else {
            None
        };
        let last = all.pop().context("no containers")?;
        for running in &mut all {
            running.stop();
        }
        // With the last one goes all that any of them left.
        let ran = last.finish();
        drop(all);
        Ok(idle.ok_or_else(|| {
            ran.trouble()
                .unwrap_or_else(|| "the container ended by itself".into())
        }))
    }
}

/// What idle containers cost.
struct Idle {
    /// Bytes for each of them.
    pss: f64,
    /// Bytes of the largest process.
    largest: f64,
    /// Hundredths of a CPU for all of them.
    cpu: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and nanoseconds of small containers"
)]
fn look_at_idle(runtime: &Runtime, count: usize, quick: bool) -> Idle {
    let (settle, watch) = if quick { (1, 2) } else { (3, 5) };
    let look = || -> Vec<processes::Usage> {
        processes::descendants()
            .into_iter()
            .filter_map(processes::usage)
            // Natively the container is its program; the rest is this tool.
            .filter(|u| !runtime.is_native() || u.command.starts_with("/bench/guest"))
            .collect()
    };
    std::thread::sleep(Duration::from_secs(settle));
    let (start, before) = (Instant::now(), look());
    std::thread::sleep(Duration::from_secs(watch));
    let (elapsed, after) = (start.elapsed().as_nanos() as f64, look());
    let cpu: u64 = after
        .iter()
        .filter_map(|a| {
            let earlier = before.iter().find(|b| b.pid == a.pid)?.cpu;
            Some(a.cpu.saturating_sub(earlier))
        })
        .sum();
    let pss: u64 = after.iter().map(|u| u.pss).sum();
    Idle {
        pss: pss as f64 / count as f64,
        largest: after.iter().map(|u| u.rss).max().unwrap_or(0) as f64,
        cpu: cpu as f64 / elapsed * 100.0,
    }
}

fn measured(item: Item, rounds: BTreeMap<String, Vec<Round>>) -> Measured {
    Measured {
        name: item.name.into(),
        what: item.what.into(),
        group: item.group,
        unit: item.unit,
        rounds,
    }
}

/// What a run of the guest is worth.
fn judge(ran: &Ran) -> Run {
    let failed = |why: String| Run::from(Round::Failed(why));
    let mut begin = None;
    let mut seen_end = false;
    let mut result = None;
    for (at, line) in &ran.lines {
        match line {
            Line::Begin => begin = Some(*at),
            Line::End { seconds } => {
                seen_end = true;
                let Some(begin) = begin else {
                    return failed("the end came before the beginning".into());
                };
                if let Err(why) = clocks_agree(*seconds, at.duration_since(begin).as_secs_f64()) {
                    return Run {
                        late: true,
                        ..failed(why)
                    };
                }
            }
            Line::Result { value, digest } => result = Some((*value, digest.clone())),
            Line::Failed { reason } => return failed(reason.clone()),
            Line::Skipped { reason } => return Round::Skipped(reason.clone()).into(),
        }
    }
    if let Some(why) = ran.trouble() {
        return failed(why);
    }
    match result {
        Some((value, digest)) if seen_end && value.is_finite() && value > 0.0 => Run {
            digest,
            ..Round::Value(value).into()
        },
        Some((value, _)) => failed(format!("a figure of {value}, timed part seen: {seen_end}")),
        None => failed("no result".into()),
    }
}

/// A runtime whose clock is wrong must not look fast.
fn clocks_agree(inside: f64, outside: f64) -> Result<(), String> {
    if (inside - outside).abs() > CLOCK_PART * outside + CLOCK_SLACK {
        return Err(format!(
            "the clock inside says {inside:.3} s for what took {outside:.3} s outside"
        ));
    }
    Ok(())
}

/// All digests of an item must be the same: that of the first runtime (native, where it takes part) is right.
fn judge_digests(runs: &mut [Vec<Run>]) {
    let right = runs.iter().flatten().find_map(|r| r.digest.clone());
    for run in runs.iter_mut().flatten() {
        if run.digest.is_some() && run.digest != right {
            run.round = Round::Failed("the output is not that of the first runtime".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ran(lines: &[(u64, Line)], status: i32) -> Ran {
        let started = Instant::now();
        Ran {
            lines: lines
                .iter()
                .map(|(ms, l)| (started + Duration::from_millis(*ms), l.clone()))
                .collect(),
            junk: Vec::new(),
            started,
            ended: Some((started, ExitStatus::from_raw(status << 8))),
            stderr: String::new(),
            leftovers: Vec::new(),
        }
    }

    fn result(value: f64) -> Line {
        Line::Result {
            value,
            digest: None,
        }
    }

    #[test]
    fn a_result_needs_its_timed_part_and_a_good_end() {
        let fine = [
            (0, Line::Begin),
            (1000, Line::End { seconds: 1.01 }),
            (1001, result(5.0)),
        ];
        assert_eq!(judge(&ran(&fine, 0)).round, Round::Value(5.0));
        for bad in [
            judge(&ran(&fine, 1)),
            judge(&ran(&fine[..2], 0)),
            judge(&ran(&fine[2..], 0)),
            judge(&ran(&[], 0)),
            judge(&ran(
                &[
                    (0, Line::Begin),
                    (1, Line::End { seconds: 0.0 }),
                    (1, result(0.0)),
                ],
                0,
            )),
        ] {
            assert!(matches!(bad.round, Round::Failed(_)));
        }
    }

    #[test]
    fn a_slow_clock_is_caught() {
        let lines = [
            (0, Line::Begin),
            (2000, Line::End { seconds: 1.0 }),
            (2001, result(5.0)),
        ];
        assert!(judge(&ran(&lines, 0)).late);
        assert!(clocks_agree(0.2, 0.25).is_ok());
        assert!(clocks_agree(2.0, 1.0).is_err());
    }

    #[test]
    fn what_was_said_wins_over_the_status() {
        let lines = [(
            0,
            Line::Failed {
                reason: "sum".into(),
            },
        )];
        assert_eq!(judge(&ran(&lines, 1)).round, Round::Failed("sum".into()));
        let lines = [(0, Line::Skipped { reason: "x".into() })];
        assert_eq!(judge(&ran(&lines, 0)).round, Round::Skipped("x".into()));
    }

    #[test]
    fn other_output_is_wrong_output() {
        let run = |digest: Option<&str>| Run {
            digest: digest.map(str::to_owned),
            ..Round::Value(1.0).into()
        };
        let mut runs = [
            vec![run(Some("a")), run(Some("a"))],
            vec![run(Some("a")), run(Some("b"))],
            vec![run(None)],
        ];
        judge_digests(&mut runs);
        assert!(matches!(runs[1][1].round, Round::Failed(_)));
        assert_eq!(
            runs.iter()
                .flatten()
                .filter(|r| matches!(r.round, Round::Value(_)))
                .count(),
            4
        );
    }
}
