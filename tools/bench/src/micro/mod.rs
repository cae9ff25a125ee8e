//! Small operations, each timed over batches whose size is calibrated where they run.
//!
//! A batch verifies what it does (counts, contents, child statuses), so that an operation that is fast because it is wrong fails.

mod calls;
mod events;
mod files;
mod io;
mod memory;
mod network;
mod process;
mod signals;
mod sync;
mod sys;
mod time;

pub use time::{Effort, Timing, calibrate, time};

use anyhow::Result;

/// Does the operation so many times.
pub type Body = Box<dyn FnMut(u64) -> Result<()>>;

/// A small operation.
pub struct Op {
    /// Its name.
    pub name: &'static str,
    /// What one operation is.
    pub what: &'static str,
    /// Prepares it (files, peers), and gives what to time.
    pub setup: fn() -> Result<Body>,
}

impl Op {
    const fn new(name: &'static str, what: &'static str, setup: fn() -> Result<Body>) -> Self {
        Self { name, what, setup }
    }
}

/// All of them, in the order of reports.
pub fn all() -> impl Iterator<Item = &'static Op> {
    [
        calls::OPS,
        io::OPS,
        network::OPS,
        files::OPS,
        memory::OPS,
        process::OPS,
        sync::OPS,
        signals::OPS,
        events::OPS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_words() {
        let mut seen = BTreeSet::new();
        for op in super::all() {
            assert!(seen.insert(op.name), "{} is there twice", op.name);
            assert!(
                op.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                op.name
            );
            assert!(!op.what.is_empty());
        }
    }
}
