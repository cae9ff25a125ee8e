//! A value that is almost never there, and is looked for at every system call.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// `Mutex<Option<T>>` whose emptiness is known without the lock. For values that one thread at a time puts and takes
/// (a task's own); others may look, and may be late.
pub(crate) struct Rare<T> {
    /// Whether `value` is there; written with its lock held.
    some: AtomicBool,
    value: Mutex<Option<T>>,
}

impl<T> Rare<T> {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            some: AtomicBool::new(false),
            value: Mutex::new(None),
        }
    }

    /// Puts `value` in the place of what was there.
    pub fn set(&self, value: T) {
        let mut place = self.value.lock();
        let old = place.replace(value);
        self.some.store(true, Ordering::Release);
        drop(place);
        drop(old);
    }

    /// What is there, leaving nothing.
    pub fn take(&self) -> Option<T> {
        if !self.is_some() {
            return None;
        }
        let mut place = self.value.lock();
        self.some.store(false, Ordering::Release);
        place.take()
    }

    /// Whether something is there.
    pub fn is_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::Rare;

    #[test]
    fn holds_the_last_value() {
        let rare = Rare::new();
        assert_eq!(rare.take(), None);
        rare.set(1);
        rare.set(2);
        assert!(rare.is_some());
        assert_eq!(rare.take(), Some(2));
        assert!(!rare.is_some());
        assert_eq!(rare.take(), None);
    }
}
