//! The master end as an open file: what a terminal emulator has.

use super::ioctl;
use super::pair::{End, Tty};
use super::slave::write_chunks;
use crate::executor::{PollEvents, WaitQueue};
use crate::task::Cx;
use crate::user::{Sink, Source};
use crate::vfs::{File, FileOps, Path};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// An open master. There is one description of it, ever; its end is the end of the pair.
pub struct MasterFile {
    tty: Arc<Tty>,
    /// The root of the devpts that it was made in.
    root: Path,
}

impl MasterFile {
    /// The master of a new pair, whose slave is in the devpts at `root`.
    pub fn new(tty: Arc<Tty>, root: Path) -> Self {
        Self { tty, root }
    }

    /// The pair.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Where the slave's name is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for MasterFile {
    fn drop(&mut self) {
        self.tty.close_master();
    }
}

impl FileOps for MasterFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        while dst.remaining() > 0 {
            let data = match self.tty.read_master(dst.remaining()) {
                Ok(data) => data,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            match dst.write(&data) {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
            // Packets stay apart.
            if self.tty.packet() {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        write_chunks(src, |data| Ok(self.tty.write_master(data)))
    }

    fn poll(&self, _: &File) -> PollEvents {
        self.tty.poll_master()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.tty.master_queue)
    }

    fn ioctl(&self, cx: &Cx, file: &File, cmd: u32, arg: u64) -> Result<u64> {
        if cmd == ioctl::TIOCGPTPEER {
            return ioctl::open_peer(self, cx, arg);
        }
        ioctl::ioctl(&self.tty, End::Master, cx, file, cmd, arg)
    }

    fn reopen(&self, _: &File, _: u32) -> Result<Box<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
}
