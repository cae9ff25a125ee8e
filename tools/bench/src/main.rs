//! What an operation costs inside, beside what it costs natively.
//!
//! `runsc-bench` runs itself (`runsc-bench micro NAME`) natively and under `runsc do`, in alternation, several rounds, and prints the
//! median of each and the median of the ratios of the pairs.

mod ops;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Compares operations natively and under runsc.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The runsc to measure.
    #[arg(long, default_value = "target/release/runsc")]
    runsc: PathBuf,
    /// Pairs of runs for each operation.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only operations whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Print JSON rather than a table.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Runs one operation here and prints nanoseconds for each.
    Micro {
        /// Its name.
        name: String,
    },
    /// What fork+exec executes: ends at once.
    #[command(hide = true)]
    Nothing,
}

struct Row {
    name: &'static str,
    native: f64,
    inside: f64,
    ratio: f64,
    spread: (f64, f64),
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(command: &mut Command) -> Result<f64> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!(
            "{command:?}: {}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("{command:?} printed {text:?}"))
}

fn inside(runsc: &Path, me: &Path) -> Command {
    let mut command = Command::new(runsc);
    command.args(["do", "--"]).arg(me);
    command
}

fn measure(args: &Args, me: &Path, name: &'static str) -> Result<Row> {
    let (mut native, mut boxed, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let a = run(Command::new(me).args(["micro", name]))?;
        let b = run(inside(&args.runsc, me).args(["micro", name]))?;
        native.push(a);
        boxed.push(b);
        ratios.push(b / a);
    }
    let ratio = median(&mut ratios);
    let spread = (ratios[0], ratios[ratios.len() - 1]);
    Ok(Row {
        name,
        native: median(&mut native),
        inside: median(&mut boxed),
        ratio,
        spread,
    })
}

/// Start and end of a whole sandbox, in nanoseconds.
fn start_up(args: &Args) -> Result<Row> {
    let time = |command: &mut Command| -> Result<f64> {
        let start = Instant::now();
        let status = command.status().with_context(|| format!("{command:?}"))?;
        if !status.success() {
            bail!("{command:?}: {status}");
        }
        Ok(start.elapsed().as_nanos() as f64)
    };
    let (mut native, mut boxed, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let a = time(&mut Command::new("/bin/true"))?;
        let b = time(Command::new(&args.runsc).args(["do", "--", "/bin/true"]))?;
        native.push(a);
        boxed.push(b);
        ratios.push(b / a);
    }
    let ratio = median(&mut ratios);
    let spread = (ratios[0], ratios[ratios.len() - 1]);
    Ok(Row {
        name: "start /bin/true",
        native: median(&mut native),
        inside: median(&mut boxed),
        ratio,
        spread,
    })
}

fn print(args: &Args, rows: &[Row]) {
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|r| {
                serde_json::json!({"name": r.name, "native_ns": r.native, "inside_ns": r.inside,
                    "ratio": r.ratio, "ratio_min": r.spread.0, "ratio_max": r.spread.1})
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return;
    }
    println!(
        "{:<24} {:>12} {:>12} {:>8}  spread",
        "operation", "native ns", "inside ns", "ratio"
    );
    for r in rows {
        println!(
            "{:<24} {:>12.0} {:>12.0} {:>8.2}  {:.2}-{:.2}",
            r.name, r.native, r.inside, r.ratio, r.spread.0, r.spread.1
        );
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.what {
        Some(What::Nothing) => return Ok(()),
        Some(What::Micro { name }) => {
            let op = ops::OPS
                .iter()
                .find(|o| o.name == name)
                .context("no operation of that name")?;
            println!("{}", ops::time(op)?);
            return Ok(());
        }
        None => {}
    }
    if !args.runsc.exists() {
        bail!(
            "{} is not there: build it with `cargo build --release`, or give --runsc",
            args.runsc.display()
        );
    }
    let me = std::env::current_exe()?;
    let wanted = |name: &str| args.only.as_deref().is_none_or(|part| name.contains(part));
    let mut rows = Vec::new();
    for op in ops::OPS.iter().filter(|o| wanted(o.name)) {
        eprintln!("{} …", op.name);
        rows.push(measure(&args, &me, op.name)?);
    }
    if wanted("start /bin/true") {
        rows.push(start_up(&args)?);
    }
    print(&args, &rows);
    Ok(())
}
