//! The whole suite: first natively, because Linux is the specification, then
//! under runsc.

use bounded::Bounded;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use syscall_tests::suite::{Options, list, read_gaps, run};

/// Both runs use all CPUs: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const GUEST: &str = env!("CARGO_BIN_EXE_syscall-guest");

fn known_gaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("known-gaps.txt")
}

/// `RUNSC`, or the binary built beside this test.
fn runsc() -> PathBuf {
    std::env::var_os("RUNSC").map_or_else(|| Path::new(GUEST).with_file_name("runsc"), Into::into)
}

#[test]
fn natively() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = run(&Options::new(GUEST)).expect("running the suite natively");
    println!("{}", summary.report());
    assert!(summary.is_good(), "natively:\n{}", summary.report());
}

#[test]
fn under_runsc() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runsc = runsc();
    assert!(
        runsc.exists(),
        "{} is not there: build it with `cargo build -p runsc-cli` (`cargo test --workspace` does), or set RUNSC",
        runsc.display()
    );
    let mut options = Options::new(GUEST);
    options.prefix = vec![
        runsc.to_string_lossy().into_owned(),
        "do".into(),
        "--".into(),
    ];
    options.gaps = read_gaps(&known_gaps()).expect("known-gaps.txt");
    let listing = std::process::Command::new(&runsc)
        .args(["do", "--", GUEST, "--list"])
        .finish();
    assert!(
        String::from_utf8_lossy(&listing.stdout).contains("::"),
        "`runsc do` does not run programs here: {listing:?}"
    );
    let summary = run(&options).expect("running the suite under runsc");
    println!("{}", summary.report());
    assert!(summary.is_good(), "under runsc:\n{}", summary.report());
    assert_eq!(
        summary.stale_gaps(),
        Vec::<String>::new(),
        "gaps that name no case"
    );
}

#[test]
fn case_names_are_unique() {
    let mut names = list(Path::new(GUEST)).expect("listing the cases");
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
