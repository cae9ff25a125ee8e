//! Futexes.

use super::{Op, sys};
use anyhow::{Result, bail};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

pub const OPS: &[Op] = &[
    Op::new("futex-wake", "FUTEX_WAKE with nobody waiting", || {
        Ok(Box::new(wake_nobody))
    }),
    Op::new(
        "futex-pingpong",
        "a turn handed to another thread and back by FUTEX_WAIT and FUTEX_WAKE",
        || Ok(Box::new(ping_pong)),
    ),
    Op::new(
        "condvar-pingpong",
        "a turn handed to another thread and back by a mutex and a condition variable",
        || Ok(Box::new(condvar)),
    ),
];

fn wake_nobody(n: u64) -> Result<()> {
    let word = AtomicU32::new(0);
    for _ in 0..n {
        let woken = sys::futex_wake(&word);
        if woken != 0 {
            bail!("FUTEX_WAKE woke {woken} where nobody waits");
        }
    }
    Ok(())
}

fn ping_pong(n: u64) -> Result<()> {
    let rounds = u32::try_from(n)?;
    let word = AtomicU32::new(0);
    let turn = |mine: u32| {
        for round in 0..rounds {
            let wanted = round.wrapping_mul(2).wrapping_add(mine);
            loop {
                let now = word.load(Ordering::Acquire);
                if now == wanted {
                    break;
                }
                sys::futex_wait(&word, now);
            }
            word.store(wanted.wrapping_add(1), Ordering::Release);
            sys::futex_wake(&word);
        }
    };
    std::thread::scope(|s| {
        s.spawn(|| turn(1));
        turn(0);
    });
    let end = word.load(Ordering::Acquire);
    if end != rounds.wrapping_mul(2) {
        bail!("{end} turns were taken, not {}", rounds.wrapping_mul(2));
    }
    Ok(())
}

fn condvar(n: u64) -> Result<()> {
    let (turn, changed) = (Mutex::new(0u64), Condvar::new());
    let play = |mine: u64| -> Result<()> {
        for round in 0..n {
            let Ok(mut now) = turn.lock() else {
                bail!("the other thread panicked")
            };
            while *now != round * 2 + mine {
                let Ok(again) = changed.wait(now) else {
                    bail!("the other thread panicked")
                };
                now = again;
            }
            *now += 1;
            drop(now);
            changed.notify_one();
        }
        Ok(())
    };
    std::thread::scope(|s| {
        let other = s.spawn(|| play(1));
        play(0)?;
        other.join().unwrap_or_else(|_| bail!("a thread panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_taken() {
        wake_nobody(3).unwrap();
        ping_pong(50).unwrap();
        condvar(50).unwrap();
    }
}
