//! From a configuration to a running container.
//!
//! - [`threads`]: the Sentry's own threads: workers, the reactor.
//! - [`init`]: the first process.

pub mod init;
pub mod threads;
