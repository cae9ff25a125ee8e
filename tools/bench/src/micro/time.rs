//! Batches: calibrated, timed, the median counts.

use super::Body;
use crate::stats;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// What a batch should take.
    pub batch: Duration,
    /// Batches.
    pub batches: usize,
}

impl Effort {
    /// What is used by default.
    pub const FULL: Self = Self {
        batch: Duration::from_millis(20),
        batches: 9,
    };
    /// A first impression.
    pub const QUICK: Self = Self {
        batch: Duration::from_millis(5),
        batches: 5,
    };
}

/// What timing gave.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Nanoseconds for one operation: the median of the batches.
    pub nanoseconds: f64,
    /// Operations in a batch.
    pub batch: u64,
}

/// Finds out how many operations fill a batch. What it does is the warm-up as well.
pub fn calibrate(body: &mut Body, wanted: Duration) -> Result<u64> {
    let mut count = 1u64;
    loop {
        let start = Instant::now();
        body(count)?;
        let took = start.elapsed();
        if took >= wanted / 2 || count >= 1 << 30 {
            return Ok(scale(count, took, wanted).max(1));
        }
        count = scale(count, took, wanted).clamp(count * 2, count * 10);
    }
}

/// How many operations take `wanted`, if `count` took `took`.
fn scale(count: u64, took: Duration, wanted: Duration) -> u64 {
    let scaled = u128::from(count) * wanted.as_nanos() / took.as_nanos().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Times batches of `batch` operations.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a few seconds")]
pub fn time(body: &mut Body, batch: u64, batches: usize) -> Result<Timing> {
    let mut times = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = Instant::now();
        body(batch)?;
        times.push(start.elapsed().as_nanos() as f64 / batch as f64);
    }
    Ok(Timing {
        nanoseconds: stats::median(&times).context("no batches")?,
        batch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling() {
        let ms = Duration::from_millis;
        assert_eq!(scale(10, ms(1), ms(20)), 200);
        assert_eq!(scale(10, ms(40), ms(20)), 5);
        assert_eq!(scale(1 << 40, Duration::ZERO, ms(20)), u64::MAX);
    }

    #[test]
    fn calibration_ends_and_counts_everything() {
        let total = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = std::rc::Rc::clone(&total);
        let mut body: Body = Box::new(move |n| {
            seen.set(seen.get() + n);
            std::thread::sleep(Duration::from_micros(200));
            Ok(())
        });
        let batch = calibrate(&mut body, Duration::from_micros(100)).unwrap();
        assert_eq!(batch, 1);
        let before = total.get();
        let timing = time(&mut body, 5, 3).unwrap();
        assert_eq!(total.get() - before, 15);
        assert!(timing.nanoseconds > 0.0);
    }

    #[test]
    fn an_error_ends_it() {
        let mut body: Body = Box::new(|_| anyhow::bail!("no"));
        assert!(calibrate(&mut body, Duration::from_millis(1)).is_err());
    }
}
