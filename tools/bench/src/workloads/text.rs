//! Text and compression: mostly computing, some large reads and writes.

use super::tools::{contents, expect, run, text, tree};
use super::{Found, Unit, Workload};
use crate::place::SCRATCH;
use anyhow::{Result, bail};
use std::path::Path;

pub const ALL: &[Workload] = &[
    Workload {
        name: "grep-tree",
        what: "grep -r through 1500 files, eight times",
        unit: Unit::Seconds,
        needs: &["grep"],
        run: |cx| {
            let src = Path::new(SCRATCH).join("src");
            tree(&src, cx.scale(1500))?;
            let all = contents(&src)?;
            let wanted = String::from_utf8_lossy(&all)
                .lines()
                .filter(|l| l.contains("stub page"))
                .count();
            let (took, out) = cx.timed(|| {
                (0..8)
                    .map(|_| run("grep", &["-rh", "stub page", "src"]))
                    .collect::<Result<Vec<_>>>()
            })?;
            for lines in &out {
                let found = lines.lines().count();
                if wanted == 0 || found != wanted {
                    bail!("grep found {found} lines, not {wanted}");
                }
            }
            Found::time(took, "")
        },
    },
    Workload {
        name: "sort",
        what: "sort of 32 MiB of lines",
        unit: Unit::Seconds,
        needs: &["sort"],
        run: |cx| {
            let input = text(5, cx.scale(32 << 20));
            std::fs::write(format!("{SCRATCH}/lines"), &input)?;
            let (took, _) = cx.timed(|| run("sort", &["-o", "sorted", "lines"]))?;
            let out = std::fs::read_to_string(format!("{SCRATCH}/sorted"))?;
            let mut wanted: Vec<_> = input.lines().collect();
            wanted.sort_unstable();
            if out.lines().ne(wanted) {
                bail!("the lines are not the sorted ones");
            }
            Found::time(took, out)
        },
    },
    Workload {
        name: "gzip",
        what: "gzip -1 of 16 MiB and gunzip (a control: mostly computing)",
        unit: Unit::Seconds,
        needs: &["gzip"],
        run: |cx| {
            let input = text(6, cx.scale(16 << 20));
            std::fs::write(format!("{SCRATCH}/data"), &input)?;
            let (took, ()) = cx.timed(|| {
                run("gzip", &["-1", "data"])?;
                run("gzip", &["-d", "data.gz"]).map(drop)
            })?;
            if std::fs::read_to_string(format!("{SCRATCH}/data"))? != input {
                bail!("what gunzip gave back is not what gzip got");
            }
            Found::time(took, "")
        },
    },
    Workload {
        name: "dd-1m",
        what: "dd of a cached file of 64 MiB to /dev/null by reads of 1 MiB, sixteen times",
        unit: Unit::Seconds,
        needs: &["dd"],
        run: |cx| {
            let size = 64 << 20;
            std::fs::write(format!("{SCRATCH}/big"), vec![7u8; size])?;
            let times = cx.scale(16);
            let (took, ()) = cx.timed(|| {
                (0..times).try_for_each(|_| {
                    run("dd", &["if=big", "of=/dev/null", "bs=1M", "status=none"]).map(drop)
                })
            })?;
            let sum = run("cksum", &["big"])?;
            expect(
                "cksum",
                sum.split(' ').nth(1).unwrap_or(""),
                &size.to_string(),
            )?;
            Found::time(took, sum)
        },
    },
];
