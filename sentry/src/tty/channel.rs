//! A terminal whose master end is outside of the sandbox: bytes come from and go to a host descriptor.
//!
//! Whoever writes to the terminal carries its output out at once; what the outside doesn't take waits in the pair's own bounded
//! buffer, and with it the writers. Input is read no faster than the line discipline takes it.

use super::Tty;
use crate::config::{Terminal, WindowSize};
use crate::executor::{HostWatch, Listener, PollEvents};
use crate::fs::devpts::Instance;
use crate::host::io;
use crate::kernel::Kernel;
use crate::task::Creds;
use arch::abi::Winsize;
use arch::{Errno, Result};
use parking_lot::{Condvar, Mutex};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes moved at a time.
const CHUNK: usize = 8192;

/// The way out.
pub struct Channel {
    tty: Weak<Tty>,
    fd: Arc<OwnedFd>,
    state: Mutex<State>,
    /// Output has gone out, or will never.
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// The outside has hung up.
    ended: bool,
    watch: Option<HostWatch>,
}

/// Gives the container its terminal, which takes the first free number of the devpts `home` (0 in a fresh one) and belongs to
/// `owner`. The channel must not block. The slave is unlocked; [`crate::fs::devpts::open_slave`] opens it.
pub fn attach_channel(
    kernel: &Arc<Kernel>,
    terminal: Terminal,
    home: &Instance,
    owner: &Creds,
) -> Result<Arc<Tty>> {
    let tty = home.new_pair(Arc::downgrade(kernel), owner)?;
    tty.set_locked(false);
    tty.resize(terminal.size);
    let channel = Arc::new(Channel {
        tty: Arc::downgrade(&tty),
        fd: Arc::new(terminal.channel),
        state: Mutex::default(),
        moved: Condvar::new(),
    });
    // A pair has one channel at most, and this one is new.
    let _ = tty.channel.set(Arc::clone(&channel));
    let watch = kernel
        .reactor
        .watch(Arc::clone(&channel.fd), Arc::clone(&channel) as _)
        .map_err(Errno::from)?;
    channel.state.lock().watch = Some(watch);
    // Something may have come before the watch began.
    channel.pump();
    let _ = kernel.terminals.console.set(Arc::clone(&tty));
    Ok(tty)
}

impl Tty {
    /// The window has a new size.
    pub fn resize(&self, size: WindowSize) {
        self.set_window(Winsize {
            row: size.rows,
            col: size.cols,
            xpixel: size.xpixel,
            ypixel: size.ypixel,
        });
    }

    /// Waits until the outside has taken all output, for as long as `limit`. For the end of the sandbox.
    pub fn drain(&self, limit: Duration) {
        let Some(channel) = self.channel.get() else {
            return;
        };
        let until = Instant::now() + limit;
        channel.pump();
        let mut state = channel.state.lock();
        while !state.ended && !self.peek_output(1).is_empty() {
            if channel.moved.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl Channel {
    /// Moves what can be moved, both ways.
    pub fn pump(&self) {
        let Some(tty) = self.tty.upgrade() else {
            return;
        };
        let ended = {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            let result = self.transfer(&tty);
            self.moved.notify_all();
            if result.is_err() {
                state.ended = true;
                state.watch.take()
            } else {
                return;
            }
        };
        drop(ended);
        tty.close_master();
    }

    /// Output first; then input, which makes echoes, until neither goes on. An error: the outside has hung up.
    fn transfer(&self, tty: &Tty) -> Result<()> {
        loop {
            let out = self.send(tty)?;
            let typed = self.receive(tty)?;
            if !out && !typed {
                return Ok(());
            }
        }
    }

    fn send(&self, tty: &Tty) -> Result<bool> {
        let data = tty.peek_output(CHUNK);
        if data.is_empty() {
            return Ok(false);
        }
        match io::write(self.fd.as_fd(), None, &data) {
            Ok(n) => {
                tty.advance_output(n);
                Ok(n > 0)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn receive(&self, tty: &Tty) -> Result<bool> {
        let room = tty.typing_room();
        if room == 0 {
            return Ok(false);
        }
        let mut buf = [0; CHUNK];
        match io::read(self.fd.as_fd(), None, &mut buf[..room.min(CHUNK)]) {
            Ok(0) => Err(Errno::EIO),
            Ok(n) => {
                tty.type_in(&buf[..n]);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl Listener for Channel {
    fn notify(&self, _: PollEvents) -> bool {
        self.pump();
        true
    }
}
