//! Calls that do next to nothing: what a crossing into the kernel costs.

use super::{Body, Op, sys};
use anyhow::{Result, bail};
use std::hint::black_box;

pub const OPS: &[Op] = &[
    Op::new(
        "null",
        "getppid: the null call, which every runtime's kernel has to answer",
        || {
            same_answer(
                libc::SYS_getppid,
                i64::from(std::os::unix::process::parent_id()),
            )
        },
    ),
    Op::new("getpid", "getpid as a system call", || {
        same_answer(libc::SYS_getpid, i64::from(std::process::id()))
    }),
    Op::new("sched-yield", "sched_yield with nobody to yield to", || {
        same_answer(libc::SYS_sched_yield, 0)
    }),
    Op::new(
        "clock",
        "clock_gettime(CLOCK_MONOTONIC) through libc and the vDSO",
        || Ok(clock(sys::clock)),
    ),
    Op::new(
        "clock-call",
        "clock_gettime(CLOCK_MONOTONIC) as a system call",
        || Ok(clock(sys::clock_call)),
    ),
    Op::new(
        "null-2-threads",
        "getppid in two threads at once: time by the number of calls of both",
        || Ok(threads(2)),
    ),
    Op::new(
        "null-4-threads",
        "getppid in four threads at once: time by the number of calls of all",
        || Ok(threads(4)),
    ),
];

fn same_answer(number: libc::c_long, answer: i64) -> Result<Body> {
    Ok(Box::new(move |n| repeat(n, number, answer)))
}

fn repeat(n: u64, number: libc::c_long, answer: i64) -> Result<()> {
    for _ in 0..n {
        let got = sys::raw(number, 0);
        if got != answer {
            bail!("call {number} gave {got}, not {answer}");
        }
    }
    Ok(())
}

/// Time must not go back, and must have passed by the end.
fn clock(read: fn() -> u64) -> Body {
    Box::new(move |n| {
        let first = read();
        let mut last = first;
        for _ in 0..n {
            let now = black_box(read());
            if now < last {
                bail!("the clock went back from {last} to {now}");
            }
            last = now;
        }
        if n > 100 && last == first {
            bail!("the clock stands still");
        }
        Ok(())
    })
}

fn threads(count: u64) -> Body {
    let answer = i64::from(std::os::unix::process::parent_id());
    Box::new(move |n| {
        std::thread::scope(|s| {
            let all: Vec<_> = (0..count)
                .map(|i| {
                    let share = n / count + u64::from(i < n % count);
                    s.spawn(move || repeat(share, libc::SYS_getppid, answer))
                })
                .collect();
            all.into_iter()
                .try_for_each(|t| t.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })
    })
}
