//! Terminals.

pub mod line;
pub mod termios;
