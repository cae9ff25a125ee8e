//! Where a program's bytes come from.

use arch::{Errno, Result};

/// A file to read a program from.
pub trait Source {
    /// Reads at most `buf.len()` bytes at `offset`, fewer only at the end of the file. Blocking is
    /// the implementer's affair.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Length of the file in bytes.
    fn len(&self) -> u64;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.as_slice().read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }
}

/// Fills `buf` as far as the file goes; the answer is how far.
pub(crate) fn read_up_to(
    source: &(impl Source + ?Sized),
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    // loff_t is signed: what looks negative is refused as by pread64(2).
    if i64::try_from(offset).is_err() {
        return Err(Errno::EINVAL);
    }
    let mut done = 0;
    while done < buf.len() {
        let at = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
        let rest = &mut buf[done..];
        let room = rest.len();
        match source.read_at(at, rest)?.min(room) {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Fills all of `buf`; EIO where the file ends before (`elf_read`).
pub(crate) fn read_exact(
    source: &(impl Source + ?Sized),
    offset: u64,
    buf: &mut [u8],
) -> Result<()> {
    if read_up_to(source, offset, buf)? == buf.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}
