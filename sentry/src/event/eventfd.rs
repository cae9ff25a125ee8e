//! eventfd(2).

use crate::executor::{PollEvents, WaitQueue};
use crate::user::{Sink, Source};
use crate::vfs::{File, FileOps};
use arch::abi::Stat;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::Arc;

/// The largest count that can be reached by writing.
const MAX: u64 = u64::MAX - 1;

/// A counter that can be waited for.
pub struct EventFd {
    /// The lock is a leaf.
    count: Mutex<u64>,
    /// EFD_SEMAPHORE: a read takes one.
    semaphore: bool,
    id: u64,
    queue: WaitQueue,
}

impl EventFd {
    /// An open counter. `flags`: O_NONBLOCK or none.
    pub fn open(initial: u32, semaphore: bool, flags: u32) -> Arc<File> {
        let ops = Self {
            count: Mutex::new(u64::from(initial)),
            semaphore,
            id: crate::vfs::next_ino(),
            queue: WaitQueue::new(),
        };
        File::new(Box::new(ops), flags | libc::O_RDWR as u32)
    }

    /// Adds to the count from inside the kernel, up to its maximum.
    pub fn signal(&self, n: u64) {
        {
            let mut count = self.count.lock();
            *count = count.saturating_add(n).min(MAX);
        }
        self.queue.notify(PollEvents::READABLE);
    }
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stat(&self, _: &File) -> Result<Stat> {
        Ok(super::anon_inode_stat())
    }

    /// Takes the count, or one of it; EAGAIN while it is 0, EINVAL for a buffer of fewer than 8 bytes.
    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let taken = {
            let mut count = self.count.lock();
            if *count == 0 {
                return Err(Errno::EAGAIN);
            }
            let taken = if self.semaphore { 1 } else { *count };
            *count -= taken;
            taken
        };
        self.queue.notify(PollEvents::WRITABLE);
        match dst.write(&taken.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Adds to the count; EAGAIN while that would pass the maximum, EINVAL for the number −1.
    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        if src.peek(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        let add = u64::from_ne_bytes(bytes);
        if add == u64::MAX {
            return Err(Errno::EINVAL);
        }
        {
            let mut count = self.count.lock();
            match count.checked_add(add) {
                Some(sum) if sum <= MAX => *count = sum,
                _ => return Err(Errno::EAGAIN),
            }
        }
        // The rest of a longer buffer is not looked at: this write is done.
        src.advance(src.remaining());
        self.queue.notify(PollEvents::READABLE);
        Ok(8)
    }

    fn poll(&self, _: &File) -> PollEvents {
        let count = *self.count.lock();
        let mut ready = PollEvents::empty();
        ready.set(PollEvents::IN, count > 0);
        ready.set(PollEvents::OUT, count < MAX);
        ready.set(PollEvents::ERR, count == u64::MAX);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn fdinfo(&self, _: &File, out: &mut Vec<u8>) {
        let count = *self.count.lock();
        let text = format!(
            "eventfd-count: {count:16x}\neventfd-id: {}\neventfd-semaphore: {}\n",
            self.id,
            u8::from(self.semaphore)
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn link_text(&self, _: &File) -> Option<Vec<u8>> {
        Some(b"anon_inode:[eventfd]".to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};

    fn read(file: &File) -> Result<u64> {
        let mut sink = VecSink::new(8);
        file.ops.read(file, 0, &mut sink)?;
        Ok(u64::from_ne_bytes(sink.data.try_into().unwrap()))
    }

    fn write(file: &File, n: u64) -> Result<usize> {
        file.ops.write(file, 0, &mut SliceSource(&n.to_ne_bytes()))
    }

    #[test]
    fn counts_up_and_is_taken_whole() {
        let file = EventFd::open(3, false, 0);
        assert_eq!(write(&file, 4), Ok(8));
        assert_eq!(file.ops.poll(&file), PollEvents::IN | PollEvents::OUT);
        assert_eq!(read(&file), Ok(7));
        assert_eq!(read(&file), Err(Errno::EAGAIN));
        assert_eq!(file.ops.poll(&file), PollEvents::OUT);
    }

    #[test]
    fn a_semaphore_gives_one_at_a_time() {
        let file = EventFd::open(2, true, 0);
        assert_eq!(
            (read(&file), read(&file), read(&file)),
            (Ok(1), Ok(1), Err(Errno::EAGAIN))
        );
    }

    #[test]
    fn overflow_waits_and_minus_one_is_refused() {
        let file = EventFd::open(0, false, 0);
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(write(&file, MAX), Ok(8));
        assert_eq!(file.ops.poll(&file), PollEvents::IN);
        assert_eq!(write(&file, 1), Err(Errno::EAGAIN));
        assert_eq!(write(&file, 0), Ok(8));
    }

    #[test]
    fn short_buffers_are_einval() {
        let file = EventFd::open(1, false, 0);
        assert_eq!(
            file.ops.read(&file, 0, &mut VecSink::new(7)),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            file.ops.write(&file, 0, &mut SliceSource(&[0; 7])),
            Err(Errno::EINVAL)
        );
    }
}
