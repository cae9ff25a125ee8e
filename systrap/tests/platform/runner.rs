//! Runs each test in a process of its own, and looks for what it left.

use bounded::{Bounded, descendants, kill_all, reached};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::Test;

const ONE: &str = "--one-test";
const LIMIT: Duration = Duration::from_secs(120);

pub fn main(all: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == ONE) {
        return one(all, &args[1]);
    }
    let names = |t: &&Test| {
        let filters: Vec<_> = args.iter().filter(|a| !a.starts_with('-')).collect();
        filters.is_empty() || filters.iter().any(|f| t.0.contains(f.as_str()))
    };
    if args.iter().any(|a| a == "--list") {
        all.iter().for_each(|t| println!("{}: test", t.0));
        return ExitCode::SUCCESS;
    }
    // Stubs whose test crashed become our children.
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let mut failed = Vec::new();
    let chosen: Vec<_> = all.iter().filter(names).collect();
    println!("running {} tests", chosen.len());
    for (name, _) in &chosen {
        let result = run(name);
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word}");
        if let Err(why) = result {
            println!("---- {name}\n{why}");
            failed.push(name);
        }
    }
    println!(
        "\ntest result: {} passed; {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run(name: &str) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new(exe).args([ONE, name]).finish_within(LIMIT);
    let left = clear()?;
    let out = out?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    if !out.status.success() {
        return Err(format!("{}: {text}", out.status));
    }
    if left != 0 {
        return Err(format!("{left} processes were left\n{text}"));
    }
    Ok(())
}

/// Kills and reaps what became our child; how many that were.
fn clear() -> Result<usize, String> {
    let mut seen = std::collections::BTreeSet::<u32>::new();
    let gone = reached(LIMIT, || {
        // The test's own process is reaped already.
        let ours = descendants(std::process::id());
        kill_all(&ours);
        // SAFETY: no memory is involved.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) } > 0 {
        }
        seen.extend(&ours);
        ours.is_empty()
    });
    match gone {
        true => Ok(seen.len()),
        false => Err(format!("killed processes stay: {seen:?}")),
    }
}

fn one(all: &[Test], name: &str) -> ExitCode {
    let Some((_, test)) = all.iter().find(|t| t.0 == name) else {
        return ExitCode::FAILURE;
    };
    let before = descriptors();
    test();
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        // SAFETY: no memory is involved.
        let r = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
        if r == -1 {
            break;
        }
        assert!(Instant::now() < end, "a process is left");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(before, descriptors(), "descriptors are left");
    ExitCode::SUCCESS
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
