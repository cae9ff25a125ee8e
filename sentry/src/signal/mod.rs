//! Signals (signal(7)).

/// A thread's own signal state.
#[derive(Default)]
pub struct TaskSignals {}

/// A process's signal state.
#[derive(Default)]
pub struct GroupSignals {}
