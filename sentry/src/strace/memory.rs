//! Where arguments are read from.

use crate::task::Cx;
use crate::user::UserAddr;

/// Application memory. Everything in it may change at any time and mean anything.
pub trait Memory {
    /// Fills `buf` from `addr`; how many bytes came before the first fault.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;

    /// Exactly `len` bytes, or nothing. Callers bound `len`.
    fn bytes(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut buf = vec![0; len];
        (self.read(addr, &mut buf) == len).then_some(buf)
    }

    /// A structure of `N` bytes.
    fn fixed<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut buf = [0; N];
        (self.read(addr, &mut buf) == N).then_some(buf)
    }

    /// A NUL-terminated string of at most `max` bytes; whether it ended within them.
    fn string(&self, addr: u64, max: usize) -> Option<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        while out.len() < max {
            // Not beyond the page: the next one may not be there.
            let at = addr.checked_add(out.len() as u64)?;
            let len = (4096 - (at % 4096) as usize).min(max - out.len());
            let mut chunk = vec![0; len];
            let got = self.read(at, &mut chunk);
            if let Some(end) = chunk[..got].iter().position(|b| *b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Some((out, true));
            }
            if got < len {
                return None;
            }
            out.extend_from_slice(&chunk);
        }
        Some((out, false))
    }
}

impl Memory for Cx {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.read_partial(UserAddr(addr), buf)
    }
}

/// Pieces of memory for tests.
#[cfg(test)]
pub struct Fake(pub Vec<(u64, Vec<u8>)>);

#[cfg(test)]
impl Memory for Fake {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let Some((start, data)) = self
            .0
            .iter()
            .find(|(s, d)| (*s..*s + d.len() as u64).contains(&addr))
        else {
            return 0;
        };
        let from = &data[(addr - start) as usize..];
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        n
    }
}

/// A word of a structure that was copied: `N` bytes at `offset`, zero beyond its end.
pub fn word<const N: usize>(data: &[u8], offset: usize) -> u64 {
    let mut out = [0; 8];
    for (i, byte) in out.iter_mut().take(N).enumerate() {
        *byte = data.get(offset + i).copied().unwrap_or(0);
    }
    u64::from_le_bytes(out)
}

/// A signed 32-bit word.
pub fn int(data: &[u8], offset: usize) -> i32 {
    word::<4>(data, offset) as u32 as i32
}

/// A signed 64-bit word.
pub fn long(data: &[u8], offset: usize) -> i64 {
    word::<8>(data, offset).cast_signed()
}
