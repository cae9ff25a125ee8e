//! The task whose future this thread polls: what Linux calls `current`.
//!
//! For the few file operations whose meaning depends on who calls (signalfd(2)); everything else gets its context as an argument.

use super::Task;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// The task that this thread runs; `None` outside of one (the reactor, a test).
pub fn current() -> Option<Arc<Task>> {
    CURRENT.with_borrow(Clone::clone)
}

/// A task's future, that sets `current` while it is polled.
pub(crate) struct Scoped<F> {
    task: Option<Arc<Task>>,
    future: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Scoped<F> {
    /// `future` as the one of `task`.
    pub fn new(task: Arc<Task>, future: F) -> Self {
        Self {
            task: Some(task),
            future: Box::pin(future),
        }
    }
}

impl<F: Future<Output = ()>> Future for Scoped<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The reference moves in and out: no count is touched.
        let before = CURRENT.replace(self.task.take());
        let result = self.future.as_mut().poll(context);
        self.task = CURRENT.replace(before);
        result
    }
}
