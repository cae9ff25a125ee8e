//! Signals.

use super::{Body, Op, sys};
use anyhow::{Result, bail};

pub const OPS: &[Op] = &[
    Op::new("sigaction", "rt_sigaction of a handler", || {
        Ok(Box::new(|n| {
            (0..n).try_for_each(|_| sys::catch_user_signal())
        }))
    }),
    Op::new(
        "sigprocmask",
        "rt_sigprocmask, a signal blocked or unblocked",
        || {
            Ok(Box::new(|n| {
                (0..n).try_for_each(|i| sys::block_user_signal(i % 2 == 0))
            }))
        },
    ),
    Op::new(
        "signal-self",
        "a signal to the own thread, its handler, the return from it",
        signal_self,
    ),
    Op::new(
        "signal-pingpong",
        "sigqueue to another process and back, both in sigwaitinfo",
        ping_pong,
    ),
    Op::new(
        "fault-signal",
        "a write to a read-only page, a SIGSEGV handler that makes it writable, mprotect back",
        fault,
    ),
];

fn signal_self() -> Result<Body> {
    sys::catch_user_signal()?;
    Ok(Box::new(|n| {
        let before = sys::caught_so_far();
        (0..n).try_for_each(|_| sys::signal_self())?;
        let caught = sys::caught_so_far() - before;
        if caught != n {
            bail!("{caught} of {n} signals were caught");
        }
        Ok(())
    }))
}

fn ping_pong() -> Result<Body> {
    sys::block_user_signal(true)?;
    let peer = sys::Peer(sys::fork(|| {
        loop {
            if sys::wait_user_signal().is_err() || sys::signal_parent().is_err() {
                return 1;
            }
        }
    })?);
    Ok(Box::new(move |n| {
        // The whole peer is kept, not only its number.
        let peer = &peer;
        (0..n).try_for_each(|_| {
            peer.0.signal()?;
            sys::wait_user_signal()
        })
    }))
}

fn fault() -> Result<Body> {
    let map = sys::Mapping::new(4096, None)?;
    map.store(0, 0);
    sys::catch_faults(&map)?;
    Ok(Box::new(move |n| {
        let before = sys::caught_so_far();
        for i in 0..n {
            map.protect(false)?;
            let value = i.to_le_bytes()[0];
            map.store(0, value);
            if map.load(0) != value {
                bail!("the write was lost");
            }
        }
        let caught = sys::caught_so_far() - before;
        if caught != n {
            bail!("{caught} of {n} faults were caught");
        }
        Ok(())
    }))
}
