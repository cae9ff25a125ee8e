//! Opening a FIFO (fifo(7)): the rendezvous of readers and writers.

use super::{Pipe, PipeEnd, StatFn};
use crate::executor::{PollEvents, WaitQueue};
use arch::{Errno, Result};
use std::sync::Arc;

/// What an open waits for: the count of opens of the other side to move from where it was.
#[derive(Clone, Copy)]
enum Partner {
    Reader(u64),
    Writer(u64),
}

/// An open on its way. Dropping it (an interrupted open) closes the end.
pub struct FifoOpen {
    end: PipeEnd,
    partner: Option<Partner>,
}

impl Pipe {
    /// Opens a FIFO with open(2) `flags`; `stat` answers fstat(2). ENXIO for O_WRONLY|O_NONBLOCK without a reader.
    ///
    /// The caller waits: `cx.wait(open.queue(), PollEvents::all(), None, || open.ready()).await?`, then makes a file of
    /// [`FifoOpen::into_end`].
    pub fn open_fifo(self: &Arc<Self>, flags: u32, stat: StatFn) -> Result<FifoOpen> {
        let nonblocking = flags & libc::O_NONBLOCK as u32 != 0;
        let (read, write) = match flags as i32 & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            libc::O_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut since = None;
        let mut partner = None;
        {
            let mut state = self.state.lock();
            match (read, write) {
                (true, false) if state.writers == 0 => {
                    since = nonblocking.then_some(state.writer_opens);
                    partner = (!nonblocking).then_some(Partner::Writer(state.writer_opens));
                }
                (false, true) if state.readers == 0 => {
                    if nonblocking {
                        return Err(Errno::ENXIO);
                    }
                    partner = Some(Partner::Reader(state.reader_opens));
                }
                _ => {}
            }
            state.count(read, write);
        }
        let end = PipeEnd {
            pipe: Arc::clone(self),
            read,
            write,
            since,
            stat: Some(stat),
        };
        self.queue.notify(PollEvents::all());
        Ok(FifoOpen { end, partner })
    }
}

impl FifoOpen {
    /// Where to wait for the other side.
    pub fn queue(&self) -> &WaitQueue {
        &self.end.pipe.queue
    }

    /// EAGAIN until the other side has been opened, even if it is closed again by now.
    pub fn ready(&self) -> Result<()> {
        let state = self.end.pipe.state.lock();
        let came = match self.partner {
            None => true,
            Some(Partner::Reader(was)) => state.reader_opens != was,
            Some(Partner::Writer(was)) => state.writer_opens != was,
        };
        if came { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    /// The end, once [`FifoOpen::ready`] says so.
    pub fn into_end(self) -> PipeEnd {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};
    use crate::vfs::{File, FileOps};

    fn open(pipe: &Arc<Pipe>, flags: i32) -> Result<FifoOpen> {
        pipe.open_fifo(flags as u32, Box::new(|| Ok(arch::abi::Stat::default())))
    }

    fn file(open: FifoOpen, flags: i32) -> Arc<File> {
        File::new(Box::new(open.into_end()), flags as u32)
    }

    #[test]
    fn readers_and_writers_wait_for_one_another() {
        let pipe = Pipe::new(0, 0);
        let r = open(&pipe, libc::O_RDONLY).unwrap();
        assert_eq!(r.ready(), Err(Errno::EAGAIN));
        let w = open(&pipe, libc::O_WRONLY).unwrap();
        assert_eq!((r.ready(), w.ready()), (Ok(()), Ok(())));
        drop(w);
        // The writer is gone again: the open has succeeded all the same.
        assert_eq!(r.ready(), Ok(()));
    }

    #[test]
    fn nonblocking_opens_do_not_wait() {
        let pipe = Pipe::new(0, 0);
        assert_eq!(
            open(&pipe, libc::O_WRONLY | libc::O_NONBLOCK).err(),
            Some(Errno::ENXIO)
        );
        let r = open(&pipe, libc::O_RDONLY | libc::O_NONBLOCK).unwrap();
        assert_eq!(r.ready(), Ok(()));
        let r = file(r, libc::O_RDONLY | libc::O_NONBLOCK);
        // No hang-up before a first writer came.
        assert_eq!(r.ops.poll(&r), PollEvents::empty());
        assert_eq!(r.ops.read(&r, 0, &mut VecSink::new(1)), Ok(0));
        let w = file(
            open(&pipe, libc::O_WRONLY | libc::O_NONBLOCK).unwrap(),
            libc::O_WRONLY,
        );
        assert_eq!(w.ops.write(&w, 0, &mut SliceSource(b"x")), Ok(1));
        drop(w);
        assert_eq!(r.ops.poll(&r), PollEvents::READABLE | PollEvents::HUP);
    }

    #[test]
    fn read_write_opens_never_wait_and_data_dies_with_the_last_end() {
        let pipe = Pipe::new(0, 0);
        let both = open(&pipe, libc::O_RDWR).unwrap();
        assert_eq!(both.ready(), Ok(()));
        pipe.write(&mut SliceSource(b"lost"), false).unwrap();
        drop(both);
        assert_eq!(pipe.bytes(), 0);
    }

    #[test]
    fn an_interrupted_open_leaves_no_end() {
        let pipe = Pipe::new(0, 0);
        drop(open(&pipe, libc::O_WRONLY).unwrap());
        let r = open(&pipe, libc::O_RDONLY).unwrap();
        assert_eq!(r.ready(), Err(Errno::EAGAIN));
        let end = r.into_end();
        assert_eq!(end.pipe.state.lock().writers, 0);
        assert!(end.wait_queue().is_some());
    }
}
