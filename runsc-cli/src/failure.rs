//! How `runsc` itself ends.

use sentry::config::StartError;
use std::fmt;

/// Exit status when `runsc` itself failed.
pub const SELF: u8 = 125;

/// A message for the user, and the status to exit with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit status.
    pub code: u8,
    /// What was wanted, what was found, what to do.
    pub message: String,
}

/// What a command of `runsc` answers.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure of `runsc` itself.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            code: SELF,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        Self {
            code: e.code(),
            message: e.to_string(),
        }
    }
}

/// Adds to an error what was being done.
pub trait Context<T> {
    /// `what` as in "open /x".
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Failure::new(format!("{}: {e}", what())))
    }
}
