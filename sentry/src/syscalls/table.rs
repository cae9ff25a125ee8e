//! Every implemented call: number, handler, support.
//!
//! Grouped by area; a row is `NAME => sync|async module::handler(argument indices) Support;`. The macro makes from it both
//! the dispatcher and the rows that `runsc syscalls` and docs/SYSCALLS.md show. What has no row is ENOSYS and is counted.

use super::{Arg, IntoRet, Row, Support};
use crate::task::Cx;
use arch::nr;
use arch::{Errno, Result};

macro_rules! call {
    (sync, $cx:ident, $args:ident, $($path:ident)::+, $($i:literal)*) => {
        $($path)::+($cx $(, Arg($args[$i]).into())*).map(IntoRet::into_ret)
    };
    (async, $cx:ident, $args:ident, $($path:ident)::+, $($i:literal)*) => {
        $($path)::+($cx $(, Arg($args[$i]).into())*).await.map(IntoRet::into_ret)
    };
}

macro_rules! syscalls {
    ($($name:ident => $kind:tt $($path:ident)::+ ($($i:literal)*) $support:expr;)*) => {
        /// Every call that has a handler.
        pub const ROWS: &[Row] = &[$(Row { nr: nr::$name, support: $support }),*];

        /// Runs the handler of call `number`. ENOSYS for one that there is none for.
        pub async fn dispatch(cx: &Cx, number: u64, args: &[u64; 6]) -> Result<u64> {
            match number {
                $(nr::$name => call!($kind, cx, args, $($path)::+, $($i)*),)*
                _ => {
                    let _ = (cx, args);
                    Err(Errno::ENOSYS)
                }
            }
        }
    };
}

#[allow(unused_imports)]
use Support::{Full, Partial};

syscalls! {
    // ---- reading and writing: rw ----
    // ---- opening, closing, descriptors: fd, open ----
    // ---- names and attributes: path, attr, xattr ----
    // ---- file locks, notification ----
    // ---- pipes, events, readiness ----
    // ---- sockets ----
    // ---- memory ----
    // ---- processes and threads ----
    // ---- credentials ----
    // ---- signals ----
    // ---- time ----
    // ---- scheduling, limits, accounting ----
    // ---- system ----
}
