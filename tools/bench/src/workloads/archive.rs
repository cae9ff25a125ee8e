//! Many files: tar, cp, rm, find.

use super::tools::{contents, digest, expect, run, tree};
use super::{Found, Unit, Workload};
use crate::place::SCRATCH;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

pub const ALL: &[Workload] = &[
    Workload {
        name: "tar-create",
        what: "tar of 1500 files, four times",
        unit: Unit::Seconds,
        needs: &["tar"],
        run: |cx| {
            let n = cx.scale(1500);
            let wanted = source(n)?;
            let (took, _) = cx.timed(|| {
                (0..4).try_for_each(|_| run("tar", &["-cf", "a.tar", "src"]).map(drop))
            })?;
            std::fs::rename(format!("{SCRATCH}/src"), format!("{SCRATCH}/old"))?;
            run("tar", &["-xf", "a.tar"])?;
            same("src", &wanted)?;
            Found::time(took, wanted)
        },
    },
    Workload {
        name: "tar-extract",
        what: "untar of 1500 files",
        unit: Unit::Seconds,
        needs: &["tar"],
        run: |cx| {
            let n = cx.scale(1500);
            let wanted = source(n)?;
            run("tar", &["-cf", "a.tar", "src"])?;
            std::fs::rename(format!("{SCRATCH}/src"), format!("{SCRATCH}/old"))?;
            let (took, _) = cx.timed(|| run("tar", &["-xf", "a.tar"]))?;
            same("src", &wanted)?;
            Found::time(took, wanted)
        },
    },
    Workload {
        name: "cp-rm",
        what: "cp -r of 1500 files, twice, rm -r of one copy",
        unit: Unit::Seconds,
        needs: &["cp", "rm"],
        run: |cx| {
            let wanted = source(cx.scale(1500))?;
            let (took, ()) = cx.timed(|| {
                run("cp", &["-r", "src", "copy"])?;
                run("cp", &["-r", "src", "copy2"])?;
                run("rm", &["-r", "copy2"]).map(drop)
            })?;
            same("copy", &wanted)?;
            if Path::new(SCRATCH).join("copy2").exists() {
                bail!("rm -r left copy2 there");
            }
            Found::time(took, wanted)
        },
    },
    Workload {
        name: "find-root",
        what: "find -type f and du of a directory of the root file system, four times",
        unit: Unit::Seconds,
        needs: &["find", "du"],
        run: |cx| {
            let dir = ["/usr/lib/python3", "/usr/lib/gcc", "/etc"]
                .into_iter()
                .find(|d| Path::new(d).is_dir())
                .unwrap_or("/");
            let (took, out) = cx.timed(|| {
                let mut files = String::new();
                for _ in 0..cx.scale(4) {
                    files = run("find", &[dir, "-xdev", "-type", "f", "-size", "+0"])?;
                    run("du", &["-xs", "--apparent-size", dir])?;
                }
                Ok(files)
            })?;
            let mut files: Vec<_> = out.lines().collect();
            files.sort_unstable();
            if files.is_empty() {
                bail!("find found nothing in {dir}");
            }
            Found::time(took, files.join("\n"))
        },
    },
    Workload {
        name: "stat-tree",
        what: "ls -lR of 1500 files, five times",
        unit: Unit::Seconds,
        needs: &["ls"],
        run: |cx| {
            let n = cx.scale(1500);
            source(n)?;
            let (took, out) = cx.timed(|| {
                (0..5)
                    .map(|_| run("ls", &["-lR", "src"]))
                    .collect::<Result<Vec<_>>>()
            })?;
            for listing in &out {
                let found = listing.lines().filter(|l| l.starts_with('-')).count();
                expect("ls -lR", &found.to_string(), &n.to_string())?;
            }
            Found::time(took, "")
        },
    },
];

/// Makes the tree, and gives the digest of its contents.
fn source(files: usize) -> Result<String> {
    let dir: PathBuf = Path::new(SCRATCH).join("src");
    tree(&dir, files)?;
    Ok(digest(&contents(&dir)?))
}

fn same(dir: &str, wanted: &str) -> Result<()> {
    let got = digest(&contents(&Path::new(SCRATCH).join(dir))?);
    expect(&format!("the contents of {dir}"), &got, wanted)
}
