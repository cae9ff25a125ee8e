//! Compares OCI runtimes: `runsc-bench --runtime runc --runtime ours=target/release/runsc …`. See docs/BENCHMARKS.md.
#![deny(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use runsc_bench::catalogue::{self, Group, Item};
use runsc_bench::measure::{Bench, Plan};
use runsc_bench::report::{html, json, text};
use runsc_bench::results::{NATIVE, Results, Round, Setting, Taker};
use runsc_bench::runtime::stage::Stage;
use runsc_bench::runtime::{Runtime, native, processes};
use runsc_bench::{prefix, select};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

const EXAMPLES: &str = "\
Examples:
  runsc-bench --list
  runsc-bench --runtime runc --runtime ours=target/release/runsc \\
      --runtime 'gvisor=/opt/gvisor/runsc --platform=systrap --network=none' --json r.json --html r.html
  runsc-bench --runtime runc --runtime ours=target/release/runsc --quick 'read-*' 'futex-*' git-status
  runsc-bench --from r.json --html r.html        make the reports again

Exit status: 0 if every item worked under every runtime, 2 if some failed, 1 if nothing could be measured.";

/// Compares OCI runtimes with each other, and with no runtime, by small operations and real programs.
#[derive(Parser, Debug)]
#[command(version, about, after_help = EXAMPLES, max_term_width = 110)]
struct Args {
    /// What to measure: names, globs, or micro, real, start, idle [default: everything]
    patterns: Vec<String>,
    /// A runtime: the start of its command line, and what to call it; may be repeated
    #[arg(long, value_name = "[NAME=]COMMAND")]
    runtime: Vec<String>,
    /// Rounds of each item [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Less work and fewer rounds: a first impression
    #[arg(long)]
    quick: bool,
    /// Leave out the runs without a runtime
    #[arg(long)]
    no_native: bool,
    /// The runtime whose cost is 1 [default: runc if it takes part, else native]
    #[arg(long, value_name = "NAME")]
    base: Option<String>,
    /// The runtime that this is about [default: `ours` if it takes part, else the last]
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The tree that containers see as their root, under a layer that takes their changes
    #[arg(long, value_name = "DIR", default_value = "/")]
    rootfs: PathBuf,
    /// The program that measures inside [default: runsc-bench-guest beside this program]
    #[arg(long, value_name = "FILE")]
    guest: Option<PathBuf>,
    /// Longest time of one run in seconds
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// How many idle containers run side by side for the items crowd-*
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    crowd: u16,
    /// Write everything that was measured to FILE; kept up to date while it runs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the table to FILE rather than to standard output
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Measure nothing: make the reports from a file that --json wrote
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// List what can be measured
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("runsc-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|w| w == native::COMMAND) {
        let status = native::main(&words[1..])?;
        return Ok(ExitCode::from(u8::try_from(status).unwrap_or(255)));
    }
    let args = Args::parse();
    if args.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let results = match &args.from {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let mut results = json::read(&text)?;
            choose(&args, &mut results)?;
            results
        }
        None => measure(&args)?,
    };
    save(&args, &results)?;
    let table = text::write(&results);
    match &args.text {
        Some(file) => std::fs::write(file, table).with_context(|| file.display().to_string())?,
        // A reader that has gone (`| head`) is no failure.
        None => drop(std::io::stdout().write_all(table.as_bytes())),
    }
    Ok(if results.failures().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn list() {
    let mut out = String::new();
    for group in Group::ALL {
        out.push_str(&format!("{} ({})\n", group.title(), group.name()));
        for item in catalogue::all().iter().filter(|i| i.group == group) {
            out.push_str(&format!("  {:<22} {}\n", item.name, item.what));
        }
    }
    let _ = std::io::stdout().write_all(out.as_bytes());
}

fn save(args: &Args, results: &Results) -> Result<()> {
    if let Some(file) = &args.json {
        std::fs::write(file, json::write(results)?).with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &args.html {
        std::fs::write(file, html::write(results)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Base and subject, as asked for or by their names.
fn choose(args: &Args, results: &mut Results) -> Result<()> {
    let names: Vec<&str> = results.runtimes.iter().map(|r| r.name.as_str()).collect();
    let pick = |wanted: Option<&String>, option: &str, usual: &str, otherwise: &str| match wanted {
        Some(name) if names.contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => bail!("{option} {name}: there are only {}", names.join(", ")),
        None if names.contains(&usual) => Ok(usual.to_owned()),
        None => Ok(otherwise.to_owned()),
    };
    let base = pick(args.base.as_ref(), "--base", "runc", names[0])?;
    let last = names.iter().rev().find(|n| **n != base).copied();
    let subject = pick(
        args.subject.as_ref(),
        "--subject",
        "ours",
        last.unwrap_or(&base),
    )?;
    (results.base, results.subject) = (base, subject);
    Ok(())
}

fn runtimes(args: &Args) -> Result<Vec<Runtime>> {
    let mut all = Vec::new();
    if !args.no_native {
        all.push(Runtime::native()?);
    }
    for text in &args.runtime {
        let runtime = Runtime::named(prefix::parse(text)?)?;
        if all.iter().any(|r: &Runtime| r.name == runtime.name) {
            bail!("--runtime {text:?}: there is already one of that name");
        }
        all.push(runtime);
    }
    if all.is_empty() {
        bail!("nothing to run: give --runtime, or leave --no-native out");
    }
    Ok(all)
}

fn wanted(args: &Args) -> Result<Vec<Item>> {
    let items = catalogue::all();
    let names: Vec<_> = items.iter().map(|i| (i.group.name(), i.name)).collect();
    let useless = select::useless(&args.patterns, &names);
    if !useless.is_empty() {
        bail!(
            "nothing is called {}; --list shows what there is",
            useless.join(", ")
        );
    }
    Ok(items
        .into_iter()
        .filter(|i| select::wanted(&args.patterns, i.group.name(), i.name))
        .collect())
}

fn setting(args: &Args, rounds: usize) -> Setting {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo")
        .lines()
        .find_map(|l| {
            l.strip_prefix("model name")?
                .split_once(':')
                .map(|(_, n)| n.trim().to_owned())
        })
        .unwrap_or_default();
    Setting {
        when: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
        kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu,
        cpus: std::thread::available_parallelism().map_or(1, Into::into),
        load_before: file("/proc/loadavg")
            .split_whitespace()
            .next()
            .and_then(|l| l.parse().ok())
            .unwrap_or(0.0),
        rounds,
        quick: args.quick,
        command: std::env::args().collect::<Vec<_>>().join(" "),
    }
}

fn measure(args: &Args) -> Result<Results> {
    let items = wanted(args)?;
    let runtimes = runtimes(args)?;
    let rounds = usize::from(args.rounds.unwrap_or(if args.quick { 2 } else { 5 }));
    let takers = runtimes
        .iter()
        .map(|r| {
            Ok(Taker {
                name: r.name.clone(),
                command: if r.is_native() {
                    String::new()
                } else {
                    r.words.join(" ")
                },
                version: r.version()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut results = Results {
        setting: setting(args, rounds),
        runtimes: takers,
        base: NATIVE.into(),
        subject: NATIVE.into(),
        items: Vec::new(),
    };
    choose(args, &mut results)?;
    let guest = match &args.guest {
        Some(file) => file.clone(),
        None => std::env::current_exe()?
            .parent()
            .unwrap_or(Path::new("."))
            .join("runsc-bench-guest"),
    };
    processes::become_reaper()?;
    let mut bench = Bench {
        stage: Stage::new(&args.rootfs, &guest)?,
        runtimes: &runtimes,
        plan: Plan {
            rounds,
            quick: args.quick,
            timeout: Duration::from_secs(args.timeout),
            crowd: usize::from(args.crowd),
        },
    };
    let start = Instant::now();
    for (i, item) in items.iter().enumerate() {
        if results.items.iter().any(|m| m.name == item.name) {
            continue;
        }
        eprintln!(
            "[{}/{}, {} s] {}: {}",
            i + 1,
            items.len(),
            start.elapsed().as_secs(),
            item.name,
            item.what
        );
        let mut last = None;
        let measured = bench.item(*item, &mut |round, runtime, figure| {
            show(*item, round, rounds, runtime, figure, &mut last);
        })?;
        eprintln!();
        let kept = |name: &str| items.iter().any(|i| i.name == name);
        results
            .items
            .extend(measured.into_iter().filter(|m| kept(&m.name)));
        save(args, &results)?;
    }
    Ok(results)
}

/// Progress: a line a round.
fn show(
    item: Item,
    round: usize,
    rounds: usize,
    runtime: &str,
    figure: &Round,
    last: &mut Option<usize>,
) {
    if *last != Some(round) {
        if last.is_some() {
            eprintln!();
        }
        eprint!("    round {}/{rounds}:", round + 1);
        *last = Some(round);
    }
    let text = match figure {
        Round::Value(v) => item.unit.show(*v),
        Round::Failed(why) => format!("FAILED ({})", why.lines().next().unwrap_or("")),
        Round::Skipped(why) => format!("skipped ({why})"),
    };
    eprint!("  {runtime} {text}");
    let _ = std::io::stderr().flush();
}
