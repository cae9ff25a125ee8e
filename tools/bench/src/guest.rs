//! What runs inside: `runsc-bench-guest micro NAME`, `real NAME`, `hello`, `idle`.
//!
//! `micro NAME SECONDS` goes on for about that long, for a profiler to look at.

use crate::micro::{self, Effort};
use crate::protocol::{Line, say};
use crate::workloads::{self, Cx};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// Does what the words say, and tells the host. Failures are told as lines, too.
pub fn main(words: &[String]) {
    if let Err(e) = run(words) {
        say(&Line::Failed {
            reason: format!("{e:#}"),
        });
    }
}

fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["micro", name] => micro(name, Effort::FULL),
        ["micro", name, "quick"] => micro(name, Effort::QUICK),
        ["micro", name, seconds] => {
            let seconds: u32 = seconds.parse().context("seconds")?;
            let batches = usize::try_from(seconds)?.saturating_mul(50);
            micro(
                name,
                Effort {
                    batches,
                    ..Effort::FULL
                },
            )
        }
        ["real", name] => real(name, false),
        ["real", name, "quick"] => real(name, true),
        ["hello"] => {
            say(&Line::Begin);
            Ok(())
        }
        ["idle"] => {
            say(&Line::Begin);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        _ => {
            bail!(
                "what is {words:?}? Wanted: micro NAME [quick|SECONDS], real NAME [quick], hello or idle"
            )
        }
    }
}

fn micro(name: &str, effort: Effort) -> Result<()> {
    let op = micro::all()
        .find(|op| op.name == name)
        .with_context(|| format!("no operation {name:?}"))?;
    let mut body = (op.setup)().context("set-up")?;
    let batch = micro::calibrate(&mut body, effort.batch)?;
    say(&Line::Begin);
    let start = Instant::now();
    let timing = micro::time(&mut body, batch, effort.batches);
    say(&Line::End {
        seconds: start.elapsed().as_secs_f64(),
    });
    say(&Line::Result {
        value: timing?.nanoseconds,
        digest: None,
    });
    Ok(())
}

fn real(name: &str, quick: bool) -> Result<()> {
    let workload = workloads::all()
        .find(|w| w.name == name)
        .with_context(|| format!("no workload {name:?}"))?;
    if let Some(program) = workloads::missing(workload) {
        say(&Line::Skipped {
            reason: format!("{program} is not installed"),
        });
        return Ok(());
    }
    let found = (workload.run)(&Cx { quick })?;
    say(&Line::Result {
        value: found.value,
        digest: found.digest,
    });
    Ok(())
}
