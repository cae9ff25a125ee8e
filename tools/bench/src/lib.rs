//! Compares OCI runtimes with each other and with no runtime at all.
//!
//! Two programs share this library. `runsc-bench` runs on the host: it makes bundles, starts each runtime in turn, checks what comes
//! back and reports. `runsc-bench-guest` runs inside the containers: it times one operation ([`micro`]) or one real program
//! ([`workloads`]) and prints what it found as JSON lines ([`protocol`]).
//!
//! # Invariants
//! - Every measurement verifies what it measured; what fails the check is never a figure.
//! - All runtimes see the same files, and each run starts with a fresh copy of them.
//! - The tool works in mount and network namespaces of its own: no runtime, however it is configured, reaches the machine's network.
#![deny(unsafe_code)]

pub mod catalogue;
pub mod guest;
pub mod measure;
pub mod micro;
pub mod place;
pub mod prefix;
pub mod protocol;
pub mod report;
pub mod results;
pub mod runtime;
pub mod select;
pub mod stats;
pub mod workloads;
