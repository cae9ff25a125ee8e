//! git.

use super::tools::{expect, run, run_in, tree};
use super::{Found, Unit, Workload};
use crate::place::SCRATCH;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

pub const ALL: &[Workload] = &[
    Workload {
        name: "git-commit",
        what: "git init, add of 400 files, commit",
        unit: Unit::Seconds,
        needs: &["git"],
        run: |cx| {
            let repo = fresh(cx.scale(400))?;
            let (took, ()) = cx.timed(|| commit_all(&repo))?;
            // Names, contents, dates and author are fixed, so the hash of the commit is.
            let hash = git(&repo, &["rev-parse", "HEAD"])?;
            git(&repo, &["fsck", "--strict"])?;
            Found::time(took, hash)
        },
    },
    Workload {
        name: "git-status",
        what: "git status of 400 unchanged files and one changed one, ten times",
        unit: Unit::Seconds,
        needs: &["git"],
        run: |cx| {
            let repo = fresh(400)?;
            commit_all(&repo)?;
            std::fs::write(repo.join("d000/file3.txt"), "changed\n")?;
            let (took, out) = cx.timed(|| {
                (0..cx.scale(10))
                    .map(|_| git(&repo, &["status", "--porcelain"]))
                    .collect::<Result<Vec<_>>>()
            })?;
            for status in &out {
                expect("git status", status, " M d000/file3.txt")?;
            }
            Found::time(took, "")
        },
    },
    Workload {
        name: "git-clone",
        what: "git clone of a repository of 400 files in 20 commits, its log and a diff",
        unit: Unit::Seconds,
        needs: &["git"],
        run: |cx| {
            let repo = fresh(cx.scale(400))?;
            commit_all(&repo)?;
            for i in 0..20 {
                std::fs::write(repo.join("d000/file3.txt"), format!("change {i}\n"))?;
                commit_all(&repo)?;
            }
            let (took, out) = cx.timed(|| {
                run("git", &["clone", "-q", "--no-local", "repo", "copy"])?;
                let copy = Path::new(SCRATCH).join("copy");
                let log = git(&copy, &["log", "--stat", "--format=%H %s"])?;
                Ok(log + &git(&copy, &["diff", "HEAD~5", "HEAD"])?)
            })?;
            if !out.contains("+change 19") {
                bail!("the last change is not in the clone");
            }
            git(
                &Path::new(SCRATCH).join("copy"),
                &["diff", "--quiet", "HEAD"],
            )?;
            Found::time(took, out)
        },
    },
];

fn git(repo: &Path, args: &[&str]) -> Result<String> {
    run_in(repo, "git", args)
}

fn fresh(files: usize) -> Result<PathBuf> {
    let repo = Path::new(SCRATCH).join("repo");
    tree(&repo, files)?;
    Ok(repo)
}

fn commit_all(repo: &Path) -> Result<()> {
    if !repo.join(".git").exists() {
        git(repo, &["init", "-q", "-b", "main"])?;
        git(repo, &["config", "gc.auto", "0"])?;
    }
    git(repo, &["add", "-A"])?;
    git(repo, &["commit", "-q", "-m", "a commit"])?;
    Ok(())
}
