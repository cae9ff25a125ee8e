//! Opening a FIFO (fifo(7)): the rendezvous of readers and writers.

use super::{Pipe, PipeEnd};
use crate::executor::PollEvents;
use crate::vfs::walk::Env;
use crate::vfs::{Dev, FileOps, Path};
use arch::{Errno, Result};
use std::sync::Arc;

/// What an open waits for: the count of opens of the other side to move from where it was.
#[derive(Clone, Copy)]
pub(super) enum Partner {
    Reader(u64),
    Writer(u64),
}

/// Opens the FIFO at `path`: all descriptions of its inode share a pipe while there is one. For the registry of drivers.
pub fn open(env: &Env<'_>, _: Dev, path: &Path, flags: u32) -> Result<Box<dyn FileOps>> {
    let pipe = {
        let mut slot = path.inode().ext().fifo.lock();
        let live = slot
            .as_ref()
            .and_then(std::sync::Weak::upgrade)
            .and_then(|any| any.downcast::<Pipe>().ok());
        live.unwrap_or_else(|| {
            let uid = env.creds.fsuid;
            let pipe = Pipe::new(uid, env.creds.fsgid);
            let weak = Arc::downgrade(&pipe);
            *slot = Some(weak);
            pipe
        })
    };
    Ok(Box::new(pipe.open_fifo(flags)?))
}

impl Pipe {
    /// Opens an end with open(2) `flags`: ENXIO for O_WRONLY|O_NONBLOCK without a reader. [`FileOps::open_wait`] of the end says when
    /// open(2) may return; dropping the end before (an interrupted open) closes it.
    pub fn open_fifo(self: &Arc<Self>, flags: u32) -> Result<PipeEnd> {
        let nonblocking = flags & libc::O_NONBLOCK as u32 != 0;
        let (read, write) = match flags as i32 & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            libc::O_RDWR => (true, true),
            _ => return Err(Errno::EINVAL),
        };
        let mut end = PipeEnd {
            pipe: Arc::clone(self),
            read,
            write,
            fifo: true,
            since: None,
            partner: None,
        };
        {
            let mut state = self.state.lock();
            match (read, write) {
                (true, false) if state.writers == 0 => {
                    end.since = nonblocking.then_some(state.writer_opens);
                    end.partner = (!nonblocking).then_some(Partner::Writer(state.writer_opens));
                }
                (false, true) if state.readers == 0 => {
                    if nonblocking {
                        drop(state);
                        // Nothing was counted: the end must not be taken off.
                        (end.read, end.write) = (false, false);
                        return Err(Errno::ENXIO);
                    }
                    end.partner = Some(Partner::Reader(state.reader_opens));
                }
                _ => {}
            }
            state.count(read, write);
        }
        self.queue.notify(PollEvents::all());
        Ok(end)
    }
}

impl PipeEnd {
    /// EAGAIN until the other side has been opened, even if it is closed again by now.
    pub(super) fn partner_came(&self) -> Result<()> {
        let state = self.pipe.state.lock();
        let came = match self.partner {
            None => true,
            Some(Partner::Reader(was)) => state.reader_opens != was,
            Some(Partner::Writer(was)) => state.writer_opens != was,
        };
        if came { Ok(()) } else { Err(Errno::EAGAIN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};
    use crate::vfs::File;

    fn open(pipe: &Arc<Pipe>, flags: i32) -> Result<PipeEnd> {
        pipe.open_fifo(flags as u32)
    }

    fn file(end: PipeEnd, flags: i32) -> Arc<File> {
        File::new(Box::new(end), flags as u32)
    }

    #[test]
    fn readers_and_writers_wait_for_one_another() {
        let pipe = Pipe::new(0, 0);
        let r = open(&pipe, libc::O_RDONLY).unwrap();
        assert_eq!(r.partner_came(), Err(Errno::EAGAIN));
        let w = open(&pipe, libc::O_WRONLY).unwrap();
        assert_eq!((r.partner_came(), w.partner_came()), (Ok(()), Ok(())));
        drop(w);
        // The writer is gone again: the open has succeeded all the same.
        assert_eq!(r.partner_came(), Ok(()));
    }

    #[test]
    fn nonblocking_opens_do_not_wait() {
        let pipe = Pipe::new(0, 0);
        assert_eq!(
            open(&pipe, libc::O_WRONLY | libc::O_NONBLOCK).err(),
            Some(Errno::ENXIO)
        );
        let r = open(&pipe, libc::O_RDONLY | libc::O_NONBLOCK).unwrap();
        assert_eq!(r.partner_came(), Ok(()));
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
        assert_eq!(both.partner_came(), Ok(()));
        pipe.write(&mut SliceSource(b"lost"), false).unwrap();
        drop(both);
        assert_eq!(pipe.bytes(), 0);
    }

    #[test]
    fn an_interrupted_open_leaves_no_end() {
        let pipe = Pipe::new(0, 0);
        drop(open(&pipe, libc::O_WRONLY).unwrap());
        let r = open(&pipe, libc::O_RDONLY).unwrap();
        assert_eq!(r.partner_came(), Err(Errno::EAGAIN));
        assert_eq!(r.pipe.state.lock().writers, 0);
        assert!(r.wait_queue().is_some());
    }
}
