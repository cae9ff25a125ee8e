//! Starts the guest under a command prefix, in batches, and judges the result.

use anyhow::{Context as _, Error, Result, bail};
use bounded::{Bounded as _, PATIENCE};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What to run, and how.
pub struct Options {
    /// The guest program on this machine; used to list the cases.
    pub guest: PathBuf,
    /// The guest program as the command behind the prefix has to name it.
    pub guest_inside: PathBuf,
    /// Words before the guest's path; empty runs natively.
    pub prefix: Vec<String>,
    /// Known gaps: case name to reason. A gap that passes is a failure.
    pub gaps: BTreeMap<String, String>,
    /// Only cases whose name starts with one of these; all when empty.
    pub only: Vec<String>,
    /// Batches at the same time.
    pub jobs: usize,
    /// Cases per start of the prefix.
    pub batch: usize,
    /// Time limit of a case in seconds.
    pub timeout: u64,
    /// Print each verdict as it comes.
    pub verbose: bool,
}

impl Options {
    /// The defaults for a guest program, natively.
    pub fn new(guest: impl Into<PathBuf>) -> Self {
        let guest = guest.into();
        Self {
            guest_inside: guest.clone(),
            guest,
            prefix: Vec::new(),
            gaps: BTreeMap::new(),
            only: Vec::new(),
            jobs: 2,
            batch: 50,
            timeout: 20,
            verbose: false,
        }
    }
}

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As on Linux.
    Passed,
    /// Not applicable here, with the reason.
    Skipped(String),
    /// Not as on Linux, with the reason.
    Failed(String),
}

/// How the reason of a gap starts whose case passes at times.
const SOMETIMES: &str = "sometimes:";

/// The verdicts of one run, judged against the known gaps.
pub struct Summary {
    /// Every case that was run.
    pub verdicts: BTreeMap<String, Verdict>,
    gaps: BTreeMap<String, String>,
    took: Duration,
}

impl Summary {
    fn pick<T>(&self, f: impl Fn(&str, &Verdict) -> Option<T>) -> Vec<T> {
        self.verdicts.iter().filter_map(|(n, v)| f(n, v)).collect()
    }

    /// Cases that failed without being a known gap, with the reason.
    pub fn failures(&self) -> Vec<(String, String)> {
        self.pick(|name, verdict| match verdict {
            Verdict::Failed(why) if !self.gaps.contains_key(name) => {
                Some((name.into(), why.clone()))
            }
            _ => None,
        })
    }

    /// Known gaps that passed: their entry has to go.
    pub fn closed_gaps(&self) -> Vec<String> {
        self.pick(|name, verdict| {
            let gap = self
                .gaps
                .get(name)
                .filter(|why| !why.starts_with(SOMETIMES));
            (*verdict == Verdict::Passed && gap.is_some()).then(|| name.into())
        })
    }

    /// Gap entries that name no case at all. Only meaningful for a full run.
    pub fn stale_gaps(&self) -> Vec<String> {
        let names = self.gaps.keys();
        names
            .filter(|name| !self.verdicts.contains_key(*name))
            .cloned()
            .collect()
    }

    /// Whether everything was as expected.
    pub fn is_good(&self) -> bool {
        self.failures().is_empty() && self.closed_gaps().is_empty()
    }

    /// Several lines for people: failures, skips by reason, totals.
    pub fn report(&self) -> String {
        let mut out = String::new();
        let mut skips: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut passed, mut known) = (0, 0);
        for (name, verdict) in &self.verdicts {
            match verdict {
                Verdict::Passed => passed += 1,
                Verdict::Skipped(why) => *skips.entry(why).or_default() += 1,
                Verdict::Failed(_) if self.gaps.contains_key(name) => known += 1,
                Verdict::Failed(_) => {}
            }
        }
        let (failures, closed) = (self.failures(), self.closed_gaps());
        for (name, why) in &failures {
            let _ = writeln!(out, "FAILED {name}: {why}");
        }
        for name in &closed {
            let _ = writeln!(out, "UNEXPECTED PASS {name}: remove it from the known gaps");
        }
        for (why, count) in &skips {
            let _ = writeln!(out, "skipped {count}: {why}");
        }
        let _ = writeln!(
            out,
            "{} cases in {:.1} s: {passed} passed, {} failed, {known} known gaps, {} skipped, {} unexpected passes",
            self.verdicts.len(),
            self.took.as_secs_f64(),
            failures.len(),
            skips.values().sum::<usize>(),
            closed.len()
        );
        out
    }
}

/// Reads a list of known gaps: `NAME REASON` a line, `#` starts a comment.
pub fn read_gaps(path: &Path) -> Result<BTreeMap<String, String>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut gaps = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, reason)) = line.split_once(char::is_whitespace) else {
            bail!("{}:{}: a gap needs a reason", path.display(), number + 1);
        };
        gaps.insert(name.to_string(), reason.trim().to_string());
    }
    Ok(gaps)
}

/// The names of all cases of a guest program.
pub fn list(guest: &Path) -> Result<Vec<String>> {
    let output = Command::new(guest).arg("--list").finish_within(PATIENCE);
    let output = output.map_err(Error::msg)?;
    if !output.status.success() {
        bail!("{} --list: {}", guest.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(Into::into)
        .collect())
}

/// Runs the chosen cases.
pub fn run(options: &Options) -> Result<Summary> {
    let start = Instant::now();
    let mut names = list(&options.guest)?;
    if !options.only.is_empty() {
        names.retain(|name| options.only.iter().any(|want| name.starts_with(want)));
    }
    if names.is_empty() {
        bail!("no case has such a name");
    }
    let batches: Vec<&[String]> = names.chunks(options.batch.max(1)).collect();
    let next = AtomicUsize::new(0);
    let give_up = AtomicBool::new(false);
    let verdicts = Mutex::new(BTreeMap::new());
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if give_up.load(Ordering::Relaxed) {
                        return;
                    }
                    match run_batch(options, batch) {
                        Ok(found) => {
                            if let Ok(mut all) = verdicts.lock() {
                                all.extend(found);
                            }
                        }
                        Err(e) => {
                            give_up.store(true, Ordering::Relaxed);
                            if let Ok(mut all) = errors.lock() {
                                all.push(e);
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some(e) = errors.into_inner().unwrap_or_default().pop() {
        return Err(e);
    }
    Ok(Summary {
        verdicts: verdicts.into_inner().unwrap_or_default(),
        gaps: options.gaps.clone(),
        took: start.elapsed(),
    })
}

/// Starts in a row that may end before the first case before we give up.
const DEAD_STARTS: u32 = 3;

fn run_batch(options: &Options, batch: &[String]) -> Result<Vec<(String, Verdict)>> {
    let mut found = Vec::new();
    let mut rest: VecDeque<&String> = batch.iter().collect();
    let mut dead_starts = 0;
    while !rest.is_empty() {
        let end = run_start(options, &mut rest, &mut found)?;
        match (end, rest.pop_front()) {
            (_, None) => {}
            (End::InCase(why), Some(name)) => {
                dead_starts = 0;
                note(options, &mut found, name, Verdict::Failed(why));
            }
            (End::BeforeCase(why), Some(name)) => {
                dead_starts += 1;
                if dead_starts >= DEAD_STARTS {
                    bail!("the command before the guest does not run it: {why}");
                }
                rest.push_front(name);
            }
        }
    }
    Ok(found)
}

fn note(options: &Options, found: &mut Vec<(String, Verdict)>, name: &str, verdict: Verdict) {
    if options.verbose {
        match &verdict {
            Verdict::Passed => println!("ok {name}"),
            Verdict::Skipped(why) => println!("skip {name}: {why}"),
            Verdict::Failed(why) => println!("FAILED {name}: {why}"),
        }
    }
    found.push((name.into(), verdict));
}

/// Where one start of the guest ended.
enum End {
    /// While the first of the remaining cases ran.
    InCase(String),
    /// Without running anything.
    BeforeCase(String),
}

/// One start of the guest for the remaining cases; takes those that got a
/// verdict off the queue.
fn run_start(
    options: &Options,
    rest: &mut VecDeque<&String>,
    found: &mut Vec<(String, Verdict)>,
) -> Result<End> {
    let mut words = options.prefix.iter().cloned();
    let guest = options.guest_inside.to_string_lossy().into_owned();
    let program = words.next().unwrap_or_else(|| guest.clone());
    let mut command = Command::new(&program);
    command.args(words);
    if !options.prefix.is_empty() {
        command.arg(&guest);
    }
    command.args(["--timeout", &options.timeout.to_string()]);
    command.args(rest.iter().map(|name| name.as_str()));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let mut guest = command.try_run().map_err(Error::msg)?;

    // The guest ends a case that takes too long; the margin is for sandboxes
    // that no longer run the guest at all, and for slow starts.
    let patience = Duration::from_secs(options.timeout + 15);
    let mut running = false;
    let end = loop {
        let Some(line) = guest.line_within(patience) else {
            break Err(guest.give_up("no answer any more", patience));
        };
        if line.is_empty() {
            break guest.end_within(Duration::from_secs(10));
        }
        let Some(&front) = rest.front() else { continue };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if let Some(verdict) = parse(line, front) {
            note(options, found, front, verdict);
            rest.pop_front();
            running = false;
        } else if line.strip_prefix("run ") == Some(front) {
            running = true;
        }
    };
    let how = match end {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            format!("{}; stderr: {said}", describe(output.status))
        }
        Err(why) => why,
    };
    let chars: Vec<char> = how.replace('\n', " / ").chars().collect();
    let tail: String = chars[chars.len().saturating_sub(1000)..].iter().collect();
    let why = format!("the guest's command ended: {tail}");
    Ok(if running {
        End::InCase(why)
    } else {
        End::BeforeCase(why)
    })
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => format!("{status}"),
    }
}

fn parse(line: &str, name: &str) -> Option<Verdict> {
    let (word, rest) = line.split_once(' ')?;
    let why = rest.strip_prefix(name)?;
    let why = why.strip_prefix(':').unwrap_or(why).trim();
    match word {
        "ok" if why.is_empty() => Some(Verdict::Passed),
        "skip" => Some(Verdict::Skipped(why.into())),
        "FAILED" => Some(Verdict::Failed(why.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_lines() {
        assert_eq!(parse("ok a::b", "a::b"), Some(Verdict::Passed));
        assert_eq!(parse("ok a::bc", "a::b"), None);
        assert_eq!(
            parse("FAILED a::b: x: y", "a::b"),
            Some(Verdict::Failed("x: y".into()))
        );
        assert_eq!(
            parse("skip a::b: needs root", "a::b"),
            Some(Verdict::Skipped("needs root".into()))
        );
        assert_eq!(parse("noise", "a::b"), None);
    }
}
