//! Shells: fork, exec, pipes.

use super::tools::{expect, run};
use super::{Cx, Found, Unit, Workload};
use anyhow::Result;

pub const ALL: &[Workload] = &[
    Workload {
        name: "shell-exec",
        what: "sh: a loop that runs /bin/true 300 times",
        unit: Unit::Seconds,
        needs: &["sh", "true"],
        run: |cx| {
            let n = cx.scale(300);
            let script = format!(
                "i=0; while [ $i -lt {n} ]; do /bin/true || exit 3; i=$((i+1)); done; echo did $i"
            );
            script_says(cx, "sh", &script, &format!("did {n}"))
        },
    },
    Workload {
        name: "shell-fork",
        what: "sh: a loop of 300 command substitutions without a program",
        unit: Unit::Seconds,
        needs: &["sh"],
        run: |cx| {
            let n = cx.scale(300);
            let script =
                format!("i=0; while [ $i -lt {n} ]; do i=$(echo $((i+1))); done; echo did $i");
            script_says(cx, "sh", &script, &format!("did {n}"))
        },
    },
    Workload {
        name: "shell-pipes",
        what: "bash: 60 pipelines of four programs",
        unit: Unit::Seconds,
        needs: &["bash", "seq", "grep", "sort", "wc"],
        run: |cx| {
            let n = cx.scale(60);
            let script = format!(
                "t=0; for i in $(seq {n}); do t=$((t + $(seq 1000 | grep 7 | sort -rn | wc -l))); done; echo $t"
            );
            // 271 of the numbers from 1 to 1000 have a 7.
            script_says(cx, "bash", &script, &(271 * n).to_string())
        },
    },
    Workload {
        name: "shell-builtin",
        what: "bash: arithmetic without system calls (a control: should cost nothing)",
        unit: Unit::Seconds,
        needs: &["bash"],
        run: |cx| {
            let n = cx.scale(300_000);
            let script = format!(
                "s=0; for ((i=0; i<{n}; i++)); do s=$(( (s*31 + i) & 65535 )); done; echo $s"
            );
            let wanted = (0..n as u64).fold(0, |s, i| (s * 31 + i) & 65535);
            script_says(cx, "bash", &script, &wanted.to_string())
        },
    },
];

fn script_says(cx: &Cx, shell: &str, script: &str, wanted: &str) -> Result<Found> {
    let (took, out) = cx.timed(|| run(shell, &["-c", script]))?;
    expect("the script", &out, wanted)?;
    Found::time(took, out)
}
