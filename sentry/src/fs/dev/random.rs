//! random(4): both devices give the host's getrandom(2).

use crate::task::{Cx, cap};
use crate::user::{Sink, Source, UserAddr, UserRef};
use crate::vfs::{File, FileOps, SeekFrom};
use arch::{Errno, Result};
use std::any::Any;

/// Most bytes of one read: beyond it the read is short, as the manual page warns.
const MAX_READ: usize = (32 << 20) - 1;

const RNDGETENTCNT: u32 = 0x8004_5200;
const RNDADDTOENTCNT: u32 = 0x4004_5201;
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDZAPENTCNT: u32 = 0x5204;
const RNDCLEARPOOL: u32 = 0x5206;
const RNDRESEEDCRNG: u32 = 0x5207;

/// /dev/random, /dev/urandom.
pub struct Random;

impl FileOps for Random {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        let mut buf = vec![0; dst.remaining().min(64 << 10)];
        let mut done = 0;
        while dst.remaining() > 0 && done < MAX_READ {
            let part = dst.remaining().min(buf.len()).min(MAX_READ - done);
            crate::host::sys::random(&mut buf[..part])?;
            match dst.write(&buf[..part]) {
                Ok(n) => {
                    done += n;
                    if n < part {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// What is written could only be stirred in; the host's pool needs none of it. It is looked at all the same (EFAULT).
    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        let mut buf = [0; 4096];
        let mut done = 0;
        while src.remaining() > 0 {
            match src.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    /// noop_llseek.
    fn seek(&self, _: &File, pos: u64, _: SeekFrom) -> Result<u64> {
        Ok(pos)
    }

    fn epollable(&self) -> bool {
        true
    }

    /// The pool is full and stays so (random(4)); nobody inside may credit or reset it.
    fn ioctl(&self, cx: &Cx, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        match cmd {
            RNDGETENTCNT => {
                cx.write_obj(UserRef::new(UserAddr(arg)), &256i32)?;
                Ok(0)
            }
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => {
                if cx.task.creds().has_cap(cap::SYS_ADMIN) {
                    // There is no pool here to credit or reset.
                    Err(Errno::EOPNOTSUPP)
                } else {
                    Err(Errno::EPERM)
                }
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::VecSink;

    #[test]
    fn reads_are_random_and_bounded() {
        let file = File::new(Box::new(Random), 0);
        let read = |n| {
            let mut sink = VecSink::new(n);
            file.ops.read(&file, 0, &mut sink).map(|_| sink.data)
        };
        let (a, b) = (read(100_000).unwrap(), read(100_000).unwrap());
        assert_eq!((a.len(), b.len()), (100_000, 100_000));
        assert_ne!(a, b);
        assert_eq!(read(MAX_READ + 1000).unwrap().len(), MAX_READ);
    }
}
