//! Runs the suite under any command prefix; see docs/TESTING.md.

#![deny(unsafe_code)]

use anyhow::{Context as _, Result};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;
use syscall_tests::suite;

/// Runs the system call suite natively or under a container runtime.
#[derive(Parser)]
struct Args {
    /// Words to put before the guest's path, such as 'runsc do --'
    #[arg(long, default_value = "")]
    prefix: String,
    /// The guest program [default: syscall-guest beside this program]
    #[arg(long)]
    guest: Option<PathBuf>,
    /// The guest's path behind the prefix, where it differs (another root)
    #[arg(long)]
    guest_inside: Option<PathBuf>,
    /// Known gaps: a case name and a reason on each line
    #[arg(long)]
    gaps: Option<PathBuf>,
    /// Batches at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Cases for each start of the prefix
    #[arg(long, default_value_t = 50)]
    batch: usize,
    /// Seconds that a case may take
    #[arg(long, default_value_t = 20)]
    timeout: u64,
    /// Print only the summary
    #[arg(long, short)]
    quiet: bool,
    /// Names, or the beginnings of names, of the cases to run [default: all]
    cases: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let guest = match args.guest {
        Some(path) => path,
        None => std::env::current_exe()
            .context("finding this program")?
            .with_file_name("syscall-guest"),
    };
    let options = suite::Options {
        guest_inside: args.guest_inside.unwrap_or_else(|| guest.clone()),
        guest,
        prefix: args.prefix.split_whitespace().map(Into::into).collect(),
        gaps: args
            .gaps
            .map_or_else(|| Ok(BTreeMap::new()), |p| suite::read_gaps(&p))?,
        only: args.cases,
        jobs: args.jobs,
        batch: args.batch,
        timeout: args.timeout,
        verbose: !args.quiet,
    };
    let summary = suite::run(&options)?;
    print!("{}", summary.report());
    std::process::exit(i32::from(!summary.is_good()));
}
