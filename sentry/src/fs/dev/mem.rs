//! null(4), zero(4), full(4).

use crate::user::{Sink, Source};
use crate::vfs::{File, FileOps, MapRequest, MapSource, SeekFrom};
use arch::{Errno, Result};
use std::any::Any;
use std::sync::Arc;

/// MEM_MAJOR.
pub const MAJOR: u32 = 1;
/// /dev/null.
pub const NULL: u32 = 3;
/// /dev/zero.
pub const ZERO: u32 = 5;
/// /dev/full.
pub const FULL: u32 = 7;
/// /dev/random.
pub const RANDOM: u32 = 8;
/// /dev/urandom.
pub const URANDOM: u32 = 9;

/// Takes a write without looking at it.
fn swallow(src: &mut dyn Source) -> usize {
    let n = src.remaining();
    src.advance(n);
    n
}

/// /dev/null.
pub struct Null;

impl FileOps for Null {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, _: &mut dyn Sink) -> Result<usize> {
        Ok(0)
    }

    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        Ok(swallow(src))
    }

    fn seekable(&self) -> bool {
        true
    }

    /// null_lseek: always at the beginning.
    fn seek(&self, _: &File, _: u64, _: SeekFrom) -> Result<u64> {
        Ok(0)
    }
}

/// /dev/zero.
pub struct Zero;

impl FileOps for Zero {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        dst.write_zeros(dst.remaining())
    }

    fn write(&self, _: &File, _: u64, src: &mut dyn Source) -> Result<usize> {
        Ok(swallow(src))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _: &File, _: u64, _: SeekFrom) -> Result<u64> {
        Ok(0)
    }

    /// A private mapping is anonymous memory, a shared one an object of its own that children share (shmem_zero_setup).
    fn map(&self, _: &File, req: &MapRequest) -> Result<MapSource> {
        if !req.shared {
            return Ok(MapSource::Anonymous);
        }
        let fd = crate::host::fs::memfd(c"dev-zero", false)?;
        crate::host::fs::truncate(std::os::fd::AsFd::as_fd(&fd), req.len)?;
        Ok(MapSource::Host {
            fd: Arc::new(fd),
            offset: 0,
        })
    }
}

/// /dev/full.
pub struct Full;

impl FileOps for Full {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, _: u64, dst: &mut dyn Sink) -> Result<usize> {
        dst.write_zeros(dst.remaining())
    }

    fn write(&self, _: &File, _: u64, _: &mut dyn Source) -> Result<usize> {
        Err(Errno::ENOSPC)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _: &File, _: u64, _: SeekFrom) -> Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{SliceSource, VecSink};

    fn read(file: &File, n: usize) -> Result<Vec<u8>> {
        let mut sink = VecSink::new(n);
        let done = file.ops.read(file, 0, &mut sink)?;
        assert_eq!(done, sink.data.len());
        Ok(sink.data)
    }

    #[test]
    fn each_device_reads_and_writes_as_its_name_says() {
        let write = |file: &File| file.ops.write(file, 0, &mut SliceSource(b"abc"));
        let null = File::new(Box::new(Null), 2);
        assert_eq!(read(&null, 5), Ok(vec![]));
        assert_eq!(write(&null), Ok(3));
        let zero = File::new(Box::new(Zero), 2);
        assert_eq!(read(&zero, 10_000), Ok(vec![0; 10_000]));
        assert_eq!(write(&zero), Ok(3));
        let full = File::new(Box::new(Full), 2);
        assert_eq!(read(&full, 5), Ok(vec![0; 5]));
        assert_eq!(write(&full), Err(Errno::ENOSPC));
        assert_eq!(full.ops.seek(&full, 7, SeekFrom::Start(9)), Ok(0));
        assert!(!null.ops.epollable());
    }

    #[test]
    fn shared_mappings_of_zero_are_objects_of_their_own() {
        let zero = File::new(Box::new(Zero), 2);
        let req = MapRequest {
            offset: 0,
            len: 8192,
            shared: true,
            prot: libc::PROT_READ,
        };
        let Ok(MapSource::Host { fd, .. }) = zero.ops.map(&zero, &req) else {
            panic!("no descriptor")
        };
        let mut buf = [1; 8192];
        let n = crate::host::io::read(std::os::fd::AsFd::as_fd(&fd), Some(0), &mut buf);
        assert_eq!((n, buf.iter().all(|b| *b == 0)), (Ok(8192), true));
        let private = MapRequest {
            shared: false,
            ..req
        };
        assert!(matches!(
            zero.ops.map(&zero, &private),
            Ok(MapSource::Anonymous)
        ));
    }
}
