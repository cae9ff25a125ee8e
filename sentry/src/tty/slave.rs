//! The slave end as an open file: what programs read from and write to.

use super::pair::{End, Taken, Tty};
use super::termios::{Modes, TOSTOP, VMIN, VTIME};
use super::{ioctl, job};
use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Cx, Deadline, cap};
use crate::user::{Sink, Source};
use crate::vfs::walk::Env;
use crate::vfs::{File, FileOps};
use arch::signal::Signal;
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// Bytes moved at a time.
const CHUNK: usize = 4096;
/// Nanoseconds in a unit of VTIME.
const TENTH: u64 = 100_000_000;

/// An open slave.
pub struct SlaveFile {
    tty: Arc<Tty>,
    /// Of the pair when this was opened: another one means that it has been hung up.
    generation: u64,
}

impl SlaveFile {
    /// Opens the slave for the caller: EIO while it is locked or after the master has been closed, EBUSY for an exclusive one. A session
    /// leader without a terminal that opens it for reading gets it as its controlling one, unless O_NOCTTY is set.
    pub fn open(tty: &Arc<Tty>, env: &Env<'_>, flags: u32) -> Result<Self> {
        let generation = tty.open_slave(env.creds.has_cap(cap::SYS_ADMIN))?;
        let file = Self {
            tty: Arc::clone(tty),
            generation,
        };
        let reads = matches!(
            flags as i32 & libc::O_ACCMODE,
            libc::O_RDONLY | libc::O_RDWR
        );
        if let (true, true, Some(cx)) = (reads, flags & libc::O_NOCTTY as u32 == 0, env.cx) {
            job::acquire(cx, tty);
        }
        Ok(file)
    }

    /// The pair.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Has been hung up.
    pub(super) fn hung_up(&self) -> bool {
        self.tty.is_hung_up(self.generation)
    }

    /// read(2) as n_tty_read does it: job control, lines, VMIN and VTIME. What was read before a signal counts.
    pub async fn read(
        &self,
        cx: &Cx,
        file: &File,
        sink: &mut (dyn Sink + Send),
        nowait: bool,
    ) -> Result<usize> {
        let tty = &self.tty;
        if !self.hung_up() {
            job::check_change(cx, tty, Signal::SIGTTIN)?;
        }
        let settings = tty.settings();
        let lines = settings.reads_lines();
        let (min, time) = (
            usize::from(settings.cc[VMIN]),
            u64::from(settings.cc[VTIME]) * TENTH,
        );
        let mut enough = if lines { 0 } else { min };
        let mut deadline = None;
        let mut expired = false;
        if !lines && min == 0 {
            enough = 1;
            expired = time == 0;
            deadline = (time > 0).then(|| Deadline::after(time));
        }
        let nowait = nowait || file.nonblocking();
        let mut done = 0;
        while sink.remaining() > 0 {
            let end = match tty.read_slave(self.generation, sink.remaining().min(CHUNK)) {
                Taken::Bytes { data, over } => {
                    let n = match sink.write(&data) {
                        Err(e) if done == 0 => return Err(e),
                        Err(_) => break,
                        Ok(n) => n,
                    };
                    done += n;
                    if over || lines || n < data.len() || done >= enough {
                        break;
                    }
                    if time > 0 && min > 0 {
                        deadline = Some(Deadline::after(time));
                    }
                    continue;
                }
                Taken::HungUp => break,
                Taken::Nothing if expired => break,
                Taken::Nothing if nowait => Err(Errno::EAGAIN),
                Taken::Nothing => {
                    cx.wait(&tty.slave_queue, PollEvents::READABLE, deadline, || {
                        tty.slave_ready(self.generation)
                    })
                    .await
                }
            };
            match end {
                Ok(()) => {}
                Err(Errno::ETIMEDOUT) => expired = true,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// What a write(2) has to pass first: a background process is stopped, with TOSTOP.
    pub fn before_write(&self, cx: &Cx) -> Result<()> {
        if !self.hung_up() && self.tty.settings().l(TOSTOP) {
            job::check_change(cx, &self.tty, Signal::SIGTTOU)?;
        }
        Ok(())
    }
}

impl Drop for SlaveFile {
    fn drop(&mut self) {
        self.tty.close_slave();
    }
}

impl FileOps for SlaveFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// One try without job control, for those who move data within the kernel; read(2) comes by [`SlaveFile::read`].
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        let max = dst.remaining().min(CHUNK);
        if max == 0 {
            return Ok(0);
        }
        match self.tty.read_slave(self.generation, max) {
            Taken::Bytes { data, .. } if data.is_empty() => Ok(0),
            Taken::Bytes { data, .. } => dst.write(&data),
            Taken::HungUp => Ok(0),
            Taken::Nothing => {
                let t = self.tty.settings();
                if !t.reads_lines() && t.cc[VMIN] == 0 && t.cc[VTIME] == 0 {
                    Ok(0)
                } else {
                    Err(Errno::EAGAIN)
                }
            }
        }
    }

    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        write_chunks(src, |data| self.tty.write_slave(self.generation, data))
    }

    fn poll(&self, _: &File) -> PollEvents {
        self.tty.poll_slave(self.generation)
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.slave_queue)
    }

    fn ioctl(&self, cx: &Cx, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        if self.hung_up() {
            return Err(if cmd == ioctl::TIOCSPGRP {
                Errno::ENOTTY
            } else {
                Errno::EIO
            });
        }
        ioctl::ioctl(&self.tty, End::Slave, cx, file, cmd, arg)
    }
}

/// Writes from `src` by pieces until `take` takes less than it is given; EAGAIN if that was nothing at all.
pub(super) fn write_chunks(
    src: &mut dyn Source,
    mut take: impl FnMut(&[u8]) -> Result<usize>,
) -> Result<usize> {
    let mut buf = [0; CHUNK];
    let mut done = 0;
    while src.remaining() > 0 {
        let part = match src.peek(&mut buf) {
            Ok(part) => part,
            Err(_) if done > 0 => return Ok(done),
            Err(e) => return Err(e),
        };
        let n = match take(&buf[..part]) {
            Ok(n) => n,
            Err(_) if done > 0 => return Ok(done),
            Err(e) => return Err(e),
        };
        src.advance(n);
        done += n;
        if n < part || part == 0 {
            break;
        }
    }
    if done == 0 && src.remaining() > 0 {
        return Err(Errno::EAGAIN);
    }
    Ok(done)
}
