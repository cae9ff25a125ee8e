//! What is particular to x86_64.

pub mod abi;
pub mod nr;
pub mod regs;
