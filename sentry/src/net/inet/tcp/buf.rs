//! Byte queues of connections.
//!
//! A queue is a list of pieces of shared buffers: what is taken out of it under a lock is copied to the application
//! without one, and a piece splits without a copy. Buffers come in a few sizes, from a small pool that keeps the hot ones hot.

use crate::user::Source;
use arch::{Errno, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Sizes of buffers. What is written is cut into the largest that it fills, so that little room is wasted.
const SIZES: [usize; 4] = [512, 4 << 10, 16 << 10, 64 << 10];
/// Unused buffers kept of each size.
const KEPT: [usize; 4] = [64, 64, 32, 32];

static POOL: [Mutex<Vec<Arc<Vec<u8>>>>; 4] = [const { Mutex::new(Vec::new()) }; 4];

fn class(n: usize) -> usize {
    match n {
        0..=512 => 0,
        513..16384 => 1,
        16384..65536 => 2,
        _ => 3,
    }
}

/// A buffer for up to `n` bytes, of the largest size that `n` fills.
fn buffer(n: usize) -> Arc<Vec<u8>> {
    let class = class(n);
    let pooled = POOL[class].lock().pop();
    pooled.unwrap_or_else(|| Arc::new(vec![0; SIZES[class]]))
}

/// Some of the bytes of a shared buffer.
#[derive(Clone)]
pub struct Piece {
    buf: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Piece {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Cuts the first `n` bytes off and returns them.
    fn split(&mut self, n: usize) -> Self {
        let head = Self {
            buf: Arc::clone(&self.buf),
            start: self.start,
            end: self.start + n,
        };
        self.start += n;
        head
    }

    /// Drops the first `n` bytes.
    pub fn skip(&mut self, n: usize) {
        self.start += n.min(self.len());
    }

    /// Gives the buffer back to the pool if nobody else has it.
    pub fn recycle(mut self) {
        if Arc::get_mut(&mut self.buf).is_some()
            && let Some(class) = SIZES.iter().position(|&s| s == self.buf.len())
        {
            let mut pool = POOL[class].lock();
            if pool.len() < KEPT[class] {
                pool.push(self.buf);
            }
        }
    }
}

/// Pieces in order.
pub type Pieces = SmallVec<[Piece; 4]>;

/// Copies up to `n` bytes of `src` into pieces. EFAULT only when not one byte could be fetched.
pub fn fetch(src: &mut dyn Source, n: usize) -> Result<Pieces> {
    let mut out = Pieces::new();
    let mut left = n.min(src.remaining());
    while left > 0 {
        let mut buf = buffer(left);
        let Some(room) = Arc::get_mut(&mut buf) else {
            break;
        };
        let want = room.len().min(left);
        let got = match src.read(&mut room[..want]) {
            Ok(got) => got,
            Err(e) if out.is_empty() => return Err(e),
            Err(_) => break,
        };
        if got > 0 {
            out.push(Piece {
                buf,
                start: 0,
                end: got,
            });
        }
        left -= got;
        if got < want {
            break;
        }
    }
    if out.is_empty() && left > 0 {
        return Err(Errno::EFAULT);
    }
    Ok(out)
}

/// Bytes in order.
#[derive(Default)]
pub struct ByteQueue {
    pieces: VecDeque<Piece>,
    len: usize,
}

impl ByteQueue {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Piece) {
        self.len += piece.len();
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Adds a copy of `data`, which is short: to the last buffer where it has room.
    pub fn append(&mut self, mut data: &[u8]) {
        self.len += data.len();
        if let Some(last) = self.pieces.back_mut()
            && let Some(buf) = Arc::get_mut(&mut last.buf)
            && buf.len() - last.end >= data.len()
        {
            buf[last.end..last.end + data.len()].copy_from_slice(data);
            last.end += data.len();
            return;
        }
        while !data.is_empty() {
            let mut buf = buffer(data.len());
            let Some(room) = Arc::get_mut(&mut buf) else {
                return;
            };
            let n = data.len().min(room.len());
            room[..n].copy_from_slice(&data[..n]);
            data = &data[n..];
            self.pieces.push_back(Piece {
                buf,
                start: 0,
                end: n,
            });
        }
    }

    /// Takes up to `max` bytes from the front.
    pub fn take(&mut self, max: usize) -> Pieces {
        let mut out = Pieces::new();
        let mut left = max.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else {
                break;
            };
            if front.len() > left {
                out.push(front.split(left));
                break;
            }
            left -= front.len();
            out.extend(self.pieces.pop_front());
        }
        out
    }

    /// Puts pieces back at the front, in their order.
    pub fn untake(&mut self, pieces: impl DoubleEndedIterator<Item = Piece>) {
        for piece in pieces.rev() {
            self.len += piece.len();
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
    }

    /// Up to `max` bytes from the front, which stay.
    pub fn peek(&self, max: usize) -> Pieces {
        let mut out = Pieces::new();
        let mut left = max;
        for piece in &self.pieces {
            if left == 0 {
                break;
            }
            let mut piece = piece.clone();
            if piece.len() > left {
                piece = piece.split(left);
            }
            left -= piece.len();
            out.push(piece);
        }
        out
    }

    /// The last byte.
    pub fn last(&self) -> Option<u8> {
        self.pieces.back().and_then(|p| p.bytes().last().copied())
    }

    /// Drops the first `n` bytes.
    pub fn discard(&mut self, n: usize) {
        drop(self.take(n));
    }

    /// Keeps the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len {
            let kept = self.take(n);
            self.clear();
            self.untake(kept.into_iter());
        }
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.pieces = VecDeque::new();
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::SliceSource;

    fn bytes(pieces: &Pieces) -> Vec<u8> {
        pieces
            .iter()
            .flat_map(|p| p.bytes().iter().copied())
            .collect()
    }

    #[test]
    fn a_queue_behaves_like_a_list_of_bytes() {
        let mut model: VecDeque<u8> = VecDeque::new();
        let mut queue = ByteQueue::default();
        let mut seed = 12345u64;
        let mut random = |n: usize| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for round in 0..2000 {
            match random(6) {
                0 => {
                    let data: Vec<u8> = (0..random(700)).map(|i| (i + round) as u8).collect();
                    queue.append(&data);
                    model.extend(data);
                }
                1 => {
                    let data: Vec<u8> = (0..random(100_000))
                        .map(|i| (i * 7 + round) as u8)
                        .collect();
                    for piece in fetch(&mut SliceSource(&data), data.len()).unwrap() {
                        queue.push(piece);
                    }
                    model.extend(data);
                }
                2 => {
                    let n = random(60_000);
                    let taken = queue.take(n);
                    let want: Vec<u8> = model.drain(..n.min(model.len())).collect();
                    assert_eq!(bytes(&taken), want);
                    taken.into_iter().for_each(Piece::recycle);
                }
                3 => {
                    let n = random(60_000);
                    assert_eq!(
                        bytes(&queue.peek(n)),
                        model.iter().take(n).copied().collect::<Vec<_>>()
                    );
                }
                4 => {
                    let mut taken = queue.take(random(5000));
                    if let Some(first) = taken.first_mut() {
                        first.skip(1);
                        model.pop_front();
                    }
                    queue.untake(taken.into_iter());
                }
                _ => {
                    let n = queue.len().saturating_sub(random(1000));
                    queue.truncate(n);
                    model.truncate(n);
                }
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.last(), model.back().copied());
        }
    }

    #[test]
    fn little_room_is_wasted() {
        let data = vec![1; 17 << 10];
        let pieces = fetch(&mut SliceSource(&data), data.len()).unwrap();
        let room: usize = pieces.iter().map(|p| p.buf.len()).sum();
        assert!(room <= 20 << 10, "{room}");
    }
}
