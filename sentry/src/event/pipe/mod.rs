//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! # Locks
//! `Pipe::state` is a leaf: readers and writers take slots out or put them in under it, copy outside it, and notify after it.

pub mod buffer;
pub mod fifo;
mod quota;

use crate::executor::{PollEvents, WaitQueue};
use crate::task::{Cx, cap, current};
use crate::user::{Sink, Source, UserAddr, UserRef};
use crate::vfs::{File, FileOps};
use arch::abi::Stat;
use arch::{Errno, Result};
use buffer::{PAGE, Ring, Slots};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;

/// Slots of a new pipe (PIPE_DEF_BUFFERS): 64 KiB.
pub const DEFAULT_SLOTS: usize = 16;
/// Slots of a new pipe of a user who has too many (PIPE_MIN_DEF_BUFFERS).
const FEW_SLOTS: usize = 2;
/// fs.pipe-max-size in bytes: F_SETPIPE_SZ beyond it takes CAP_SYS_RESOURCE.
pub const MAX_SIZE: usize = 1 << 20;

struct State {
    ring: Ring,
    share: quota::Share,
    readers: u32,
    writers: u32,
    /// How often the pipe has been opened for reading; FIFO opens wait for it to move.
    reader_opens: u64,
    /// How often the pipe has been opened for writing.
    writer_opens: u64,
}

impl State {
    fn count(&mut self, read: bool, write: bool) {
        if read {
            self.readers += 1;
            self.reader_opens += 1;
        }
        if write {
            self.writers += 1;
            self.writer_opens += 1;
        }
    }
}

/// A pipe: what both ends share, or what a FIFO's inode holds.
pub struct Pipe {
    /// Inode number in pipefs.
    pub ino: u64,
    uid: u32,
    gid: u32,
    state: Mutex<State>,
    /// Readers and writers wait here for one another.
    pub queue: WaitQueue,
}

/// An open end.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// `writer_opens` at the time of a FIFO's non-blocking open for reading: no EPOLLHUP before a writer came.
    since: Option<u64>,
    /// It was opened by a name.
    fifo: bool,
    /// What the open of a FIFO waits for.
    partner: Option<fifo::Partner>,
}

impl Pipe {
    /// A pipe that nobody has open. A FIFO's inode makes one at its first open, and may drop it when `PipeEnd`s are gone.
    pub fn new(uid: u32, gid: u32) -> Arc<Self> {
        let share = quota::Share::new(uid, DEFAULT_SLOTS, FEW_SLOTS);
        Arc::new(Self {
            ino: crate::vfs::next_ino(),
            uid,
            gid,
            state: Mutex::new(State {
                ring: Ring::new(share.pages()),
                share,
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
            }),
            queue: WaitQueue::new(),
        })
    }

    /// pipe2(2): the reading and the writing file. `flags`: O_NONBLOCK, O_DIRECT.
    pub fn pair(uid: u32, gid: u32, flags: u32) -> (Arc<File>, Arc<File>) {
        let pipe = Self::new(uid, gid);
        let reader = pipe.end(true, false);
        let writer = pipe.end(false, true);
        (
            File::new(Box::new(reader), flags & libc::O_NONBLOCK as u32),
            File::new(Box::new(writer), flags | libc::O_WRONLY as u32),
        )
    }

    fn end(self: &Arc<Self>, read: bool, write: bool) -> PipeEnd {
        self.state.lock().count(read, write);
        PipeEnd {
            pipe: Arc::clone(self),
            read,
            write,
            since: None,
            fifo: false,
            partner: None,
        }
    }

    /// Takes what a read of `max` bytes gets: EAGAIN when empty while there are writers; no slots at the end of the stream.
    fn take_for_read(&self, max: usize) -> Result<Slots> {
        let (slots, was_full) = {
            let mut state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 {
                    Ok(Slots::new())
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let was_full = state.ring.is_full();
            (state.ring.read(max), was_full)
        };
        if was_full {
            self.queue.notify(PollEvents::WRITABLE);
        }
        Ok(slots)
    }

    /// read(2): EAGAIN when empty while there are writers, 0 when there are none.
    pub fn read(&self, dst: &mut dyn Sink) -> Result<usize> {
        let max = dst.remaining();
        if max == 0 {
            return Ok(0);
        }
        let mut slots = self.take_for_read(max)?;
        if slots.is_empty() {
            return Ok(0);
        }
        let want = slots.iter().map(buffer::Slot::len).sum::<usize>().min(max);
        let result = buffer::with_bytes(&slots, |bytes| dst.write(&bytes[..want]));
        let done = *result.as_ref().unwrap_or(&0);
        if done < want {
            buffer::consume(&mut slots, done);
            self.restore(slots);
        }
        result
    }

    /// Puts slots back that were taken and not used.
    pub fn restore(&self, slots: Slots) {
        if slots.is_empty() {
            return;
        }
        self.state.lock().ring.restore(slots);
        self.queue.notify(PollEvents::READABLE);
    }

    /// How much of a write of `want` bytes finds room: EPIPE without readers, EAGAIN without room.
    fn writable(&self, want: usize, packet: bool) -> Result<usize> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        match state.ring.room(want, packet) {
            0 => Err(Errno::EAGAIN),
            room => Ok(room),
        }
    }

    /// write(2): EPIPE without readers (the caller raises SIGPIPE), EAGAIN without room. A write of up to PIPE_BUF bytes goes whole or not at all; a larger
    /// one may go in part. `packet`: each page of it is a packet (O_DIRECT).
    pub fn write(&self, src: &mut dyn Source, packet: bool) -> Result<usize> {
        let want = src.remaining();
        if want == 0 {
            return Ok(0);
        }
        let room = self.writable(want, packet)?;
        let mut data = vec![0; room];
        let got = src.peek(&mut data)?;
        if got < room {
            // A fault on the way: whole pages before it count.
            data.truncate(got - got % PAGE);
            if data.is_empty() {
                return Err(Errno::EFAULT);
            }
        }
        let whole = want <= PAGE;
        let taken = {
            let mut state = self.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            if whole && state.ring.room(data.len(), packet) < data.len() {
                0
            } else {
                state.ring.append(data, packet)
            }
        };
        if taken == 0 {
            return Err(Errno::EAGAIN);
        }
        src.advance(taken);
        self.queue.notify(PollEvents::READABLE);
        Ok(taken)
    }

    /// Takes up to `max` bytes in at most `max_slots` slots for splice(2): EAGAIN when empty while there are writers; none at the end of the stream.
    pub fn take(&self, max: usize, max_slots: usize) -> Result<Slots> {
        let (slots, was_full) = {
            let mut state = self.state.lock();
            if state.ring.is_empty() {
                return if state.writers == 0 {
                    Ok(Slots::new())
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let was_full = state.ring.is_full();
            (state.ring.take(max, max_slots), was_full)
        };
        if was_full {
            self.queue.notify(PollEvents::WRITABLE);
        }
        Ok(slots)
    }

    /// Appends slots for splice(2) and tee(2); returns those that found no room. EPIPE without readers, EAGAIN when no slot is free.
    pub fn push(&self, slots: Slots) -> std::result::Result<Slots, (Errno, Slots)> {
        let rest = {
            let mut state = self.state.lock();
            if state.readers == 0 {
                return Err((Errno::EPIPE, slots));
            }
            if state.ring.is_full() {
                return Err((Errno::EAGAIN, slots));
            }
            state.ring.push(slots)
        };
        self.queue.notify(PollEvents::READABLE);
        Ok(rest)
    }

    /// As [`Pipe::push`], capacity or not: for bytes that can't go back where they came from. EPIPE without readers.
    pub fn push_all(&self, slots: Slots) -> Result<()> {
        {
            let mut state = self.state.lock();
            if state.readers == 0 {
                return Err(Errno::EPIPE);
            }
            state.ring.push_all(slots);
        }
        self.queue.notify(PollEvents::READABLE);
        Ok(())
    }

    /// Shares up to `max` bytes without taking them (tee(2)): errors as [`Pipe::take`].
    pub fn share(&self, max: usize, max_slots: usize) -> Result<Slots> {
        let state = self.state.lock();
        if state.ring.is_empty() {
            return if state.writers == 0 {
                Ok(Slots::new())
            } else {
                Err(Errno::EAGAIN)
            };
        }
        Ok(state.ring.share(max, max_slots))
    }

    /// Free slots: EPIPE without readers, EAGAIN when there is none.
    pub fn free_slots(&self) -> Result<usize> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        match state.ring.free() {
            0 => Err(Errno::EAGAIN),
            free => Ok(free),
        }
    }

    /// F_GETPIPE_SZ: capacity in bytes.
    pub fn size(&self) -> usize {
        self.state.lock().ring.capacity() * PAGE
    }

    /// F_SETPIPE_SZ: rounds up to a power of two of pages, and returns the new capacity in bytes. EPERM beyond [`MAX_SIZE`] without
    /// CAP_SYS_RESOURCE (`privileged`), EBUSY when more is in use.
    pub fn set_size(&self, size: u32, privileged: bool) -> Result<usize> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let slots = (size as usize).div_ceil(PAGE).next_power_of_two().max(1);
        let mut state = self.state.lock();
        if slots > state.ring.capacity() && slots * PAGE > MAX_SIZE && !privileged {
            return Err(Errno::EPERM);
        }
        if slots < state.ring.used() {
            return Err(Errno::EBUSY);
        }
        state.share.resize(slots)?;
        state.ring.set_capacity(slots);
        drop(state);
        self.queue.notify(PollEvents::WRITABLE);
        Ok(slots * PAGE)
    }

    /// Bytes held (FIONREAD).
    pub fn bytes(&self) -> usize {
        self.state.lock().ring.bytes()
    }
}

impl PipeEnd {
    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        {
            let mut state = self.pipe.state.lock();
            state.readers -= u32::from(self.read);
            state.writers -= u32::from(self.write);
            if state.readers == 0 && state.writers == 0 {
                // A FIFO starts afresh. Shrinking always succeeds.
                let slots = DEFAULT_SLOTS.min(state.share.pages());
                let _ = state.share.resize(slots);
                state.ring = Ring::new(slots);
            }
        }
        self.pipe
            .queue
            .notify(PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::ALWAYS);
    }
}

fn packet_mode(file: &File) -> bool {
    file.flags() & libc::O_DIRECT as u32 != 0
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, file: &File) -> Result<Stat> {
        if self.fifo && file.path().is_some() {
            return file.attr().map(|attr| attr.to_stat());
        }
        let pipe = &self.pipe;
        Ok(super::anon_stat(
            super::PIPEFS_DEV,
            pipe.ino,
            libc::S_IFIFO | 0o600,
            pipe.uid,
            pipe.gid,
        ))
    }

    fn open_wait(&self, _: &File) -> Result<()> {
        self.partner_came()
    }

    /// /proc/PID/fd/N of a pipe: a further end, which waits for nobody.
    fn reopen(&self, _: &File, flags: u32) -> Result<Box<dyn FileOps>> {
        let (read, write) = match flags as i32 & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            _ => (true, true),
        };
        let end = self.pipe.end(read, write);
        self.pipe.queue.notify(PollEvents::all());
        Ok(Box::new(end))
    }

    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        self.pipe.read(dst)
    }

    fn write(&self, file: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        self.pipe.write(src, packet_mode(file))
    }

    fn poll(&self, _: &File) -> PollEvents {
        let state = self.pipe.state.lock();
        let mut ready = PollEvents::empty();
        if self.read {
            ready.set(PollEvents::READABLE, !state.ring.is_empty());
            ready.set(
                PollEvents::HUP,
                state.writers == 0 && self.since != Some(state.writer_opens),
            );
        }
        if self.write {
            ready.set(PollEvents::WRITABLE, !state.ring.is_full());
            ready.set(PollEvents::ERR, state.readers == 0);
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn ioctl(&self, cx: &Cx, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        if u64::from(cmd) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.pipe.bytes()).unwrap_or(i32::MAX);
        cx.write_obj(UserRef::new(UserAddr(arg)), &bytes)?;
        Ok(0)
    }

    fn fcntl(&self, _: &File, cmd: i32, arg: u64) -> Result<u64> {
        match cmd {
            libc::F_GETPIPE_SZ => Ok(self.pipe.size() as u64),
            libc::F_SETPIPE_SZ => {
                let privileged = current().is_some_and(|t| t.creds().has_cap(cap::SYS_RESOURCE));
                self.pipe.set_size(arg as u32, privileged).map(|n| n as u64)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        (!self.fifo).then(|| format!("pipe:[{}]", self.pipe.ino).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};

    fn write(file: &File, data: &[u8]) -> Result<usize> {
        file.ops.write(file, 0, &mut SliceSource(data))
    }

    fn read(file: &File, max: usize) -> Result<Vec<u8>> {
        let mut sink = VecSink::new(max);
        let n = file.ops.read(file, 0, &mut sink)?;
        assert_eq!(n, sink.data.len());
        Ok(sink.data)
    }

    #[test]
    fn bytes_go_through_and_the_end_is_seen() {
        let (r, w) = Pipe::pair(0, 0, 0);
        assert_eq!(read(&r, 10), Err(Errno::EAGAIN));
        assert_eq!(write(&w, b"hello"), Ok(5));
        assert_eq!(r.ops.poll(&r), PollEvents::READABLE);
        assert_eq!(read(&r, 3).unwrap(), b"hel");
        drop(w);
        assert_eq!(r.ops.poll(&r), PollEvents::READABLE | PollEvents::HUP);
        assert_eq!(read(&r, 10).unwrap(), b"lo");
        assert_eq!(read(&r, 10).unwrap(), b"");
        assert_eq!(r.ops.poll(&r), PollEvents::HUP);
    }

    #[test]
    fn writing_without_readers_is_epipe_but_for_nothing() {
        let (r, w) = Pipe::pair(0, 0, 0);
        drop(r);
        assert_eq!(write(&w, b"x"), Err(Errno::EPIPE));
        assert_eq!(write(&w, b""), Ok(0));
        assert_eq!(w.ops.poll(&w), PollEvents::WRITABLE | PollEvents::ERR);
    }

    #[test]
    fn a_write_of_pipe_buf_is_whole_or_nothing() {
        let (r, w) = Pipe::pair(0, 0, 0);
        assert_eq!(write(&w, &[0; 61_440 + 1000]), Ok(62_440));
        assert_eq!(write(&w, &[0; 3097]), Err(Errno::EAGAIN));
        assert_eq!(write(&w, &[0; 5000]), Ok(904));
        assert_eq!(read(&r, 100_000).unwrap().len(), 63_344);
    }

    #[test]
    fn packets_keep_their_bounds() {
        let (r, w) = Pipe::pair(0, 0, libc::O_DIRECT as u32);
        write(&w, b"first").unwrap();
        write(&w, b"second").unwrap();
        assert_eq!(read(&r, 3).unwrap(), b"fir");
        assert_eq!(read(&r, 100).unwrap(), b"second");
    }

    #[test]
    fn sizes_round_up_and_are_bounded() {
        let (r, w) = Pipe::pair(0, 0, 0);
        let pipe = r.downcast::<PipeEnd>().unwrap().pipe();
        assert_eq!(pipe.size(), 65_536);
        assert_eq!(pipe.set_size(1, false), Ok(4096));
        assert_eq!(pipe.set_size(5000, false), Ok(8192));
        assert_eq!(pipe.set_size(70_000, false), Ok(131_072));
        assert_eq!(pipe.set_size(MAX_SIZE as u32 + 1, false), Err(Errno::EPERM));
        write(&w, &[0; 10_000]).unwrap();
        assert_eq!(pipe.set_size(4096, false), Err(Errno::EBUSY));
    }

    #[test]
    fn a_fault_on_the_way_out_loses_nothing() {
        struct Faulty(usize);
        impl Sink for Faulty {
            fn remaining(&self) -> usize {
                100
            }
            fn write(&mut self, data: &[u8]) -> Result<usize> {
                if self.0 == 0 {
                    Err(Errno::EFAULT)
                } else {
                    Ok(self.0.min(data.len()))
                }
            }
        }
        let (r, w) = Pipe::pair(0, 0, 0);
        write(&w, b"abcdef").unwrap();
        assert_eq!(r.ops.read(&r, 0, &mut Faulty(0)), Err(Errno::EFAULT));
        assert_eq!(r.ops.read(&r, 0, &mut Faulty(2)), Ok(2));
        assert_eq!(read(&r, 10).unwrap(), b"cdef");
    }
}
