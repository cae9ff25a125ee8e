//! The ring of page-sized slots in a pipe.

use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that a slot holds at most, and PIPE_BUF.
pub const PAGE: usize = 4096;

/// A slot: a part of a page's worth of bytes. Several may share one allocation (a large write, tee(2)).
#[derive(Clone)]
pub struct Slot {
    data: Arc<Vec<u8>>,
    start: usize,
    end: usize,
    /// Written in packet mode: a read takes it whole.
    packet: bool,
    /// A later write may go on in it.
    merge: bool,
}

impl Slot {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// No bytes: a datagram's worth of packet mode, or all consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Its first `n` bytes, sharing the allocation.
    #[must_use]
    pub fn prefix(&self, n: usize) -> Self {
        Self {
            end: self.start + n.min(self.len()),
            merge: false,
            ..self.clone()
        }
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

/// Slots in the order of a stream.
pub type Slots = SmallVec<[Slot; 2]>;

/// Cuts a buffer into slots of at most a page. The last one, where it is short, gets an allocation of its own, so that later writes can go
/// on in it.
pub fn cut(mut data: Vec<u8>, packet: bool, merge: bool) -> Slots {
    let tail = data.len() % PAGE;
    let tail = if tail > 0 && data.len() > PAGE {
        data.split_off(data.len() - tail)
    } else {
        Vec::new()
    };
    let mut slots = Slots::new();
    let mut share = |data: Vec<u8>| {
        let data = Arc::new(data);
        for start in (0..data.len()).step_by(PAGE) {
            let end = (start + PAGE).min(data.len());
            slots.push(Slot {
                data: Arc::clone(&data),
                start,
                end,
                packet,
                merge,
            });
        }
    };
    share(data);
    share(tail);
    slots
}

/// One contiguous run of bytes: what adjacent slots of one allocation give without a copy, else a copy.
pub fn with_bytes<R>(slots: &[Slot], f: impl FnOnce(&[u8]) -> R) -> R {
    let contiguous = slots
        .windows(2)
        .all(|w| Arc::ptr_eq(&w[0].data, &w[1].data) && w[0].end == w[1].start);
    match slots {
        [] => f(&[]),
        [first, .., last] if contiguous => f(&first.data[first.start..last.end]),
        [only] => f(only.bytes()),
        many => {
            let mut all = Vec::with_capacity(many.iter().map(Slot::len).sum());
            for slot in many {
                all.extend_from_slice(slot.bytes());
            }
            f(&all)
        }
    }
}

/// Drops the first `n` bytes of a list of slots.
pub fn consume(slots: &mut Slots, mut n: usize) {
    while n > 0 && !slots.is_empty() {
        let step = n.min(slots[0].len());
        slots[0].consume(step);
        n -= step;
        if slots[0].is_empty() {
            slots.remove(0);
        }
    }
}

/// What a pipe holds.
pub struct Ring {
    slots: VecDeque<Slot>,
    capacity: usize,
    bytes: usize,
}

impl Ring {
    /// An empty ring of `capacity` slots.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            capacity,
            bytes: 0,
        }
    }

    /// Nothing to read.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// No free slot.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }

    /// Bytes held (FIONREAD).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slots, used or not.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots.len()
    }

    /// Changes the number of slots, to no fewer than are in use.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.max(self.slots.len());
    }

    /// Free slots.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.slots.len())
    }

    /// How many leading bytes of a write of `n` would go on in the last slot: the part that is no whole page, if it fits.
    fn merges(&self, n: usize) -> usize {
        let odd = n % PAGE;
        match self.slots.back() {
            Some(last)
                if last.merge
                    && last.end % PAGE + odd <= PAGE
                    && (last.end % PAGE != 0)
                    && last.end == last.data.len()
                    && Arc::strong_count(&last.data) == 1 =>
            {
                odd
            }
            _ => 0,
        }
    }

    /// How many of `n` bytes a write could store now. All or none for up to a page, which is what makes PIPE_BUF atomic.
    pub fn room(&self, n: usize, packet: bool) -> usize {
        let merged = if packet { 0 } else { self.merges(n) };
        n.min(merged.saturating_add(self.free().saturating_mul(PAGE)))
    }

    /// Appends as much of `data` as there is room for; returns how much that was.
    pub fn append(&mut self, mut data: Vec<u8>, packet: bool) -> usize {
        let n = data.len();
        let merged = if packet { 0 } else { self.merges(n) };
        if merged > 0 {
            if let Some(last) = self.slots.back_mut()
                && let Some(page) = Arc::get_mut(&mut last.data)
            {
                page.extend_from_slice(&data[..merged]);
                last.end += merged;
            }
            data.drain(..merged);
        }
        let fits = data.len().min(self.free().saturating_mul(PAGE));
        if fits > 0 {
            data.truncate(fits);
            self.slots.extend(cut(data, packet, !packet));
        }
        self.bytes += merged + fits;
        merged + fits
    }

    /// Appends whole slots (splice, tee); returns those that found no room.
    pub fn push(&mut self, slots: Slots) -> Slots {
        let mut rest = Slots::new();
        for mut slot in slots {
            if rest.is_empty() && !self.is_full() {
                slot.merge = false;
                self.bytes += slot.len();
                self.slots.push_back(slot);
            } else {
                rest.push(slot);
            }
        }
        rest
    }

    /// Appends whole slots, capacity or not.
    pub fn push_all(&mut self, slots: Slots) {
        self.bytes += slots.iter().map(Slot::len).sum::<usize>();
        self.slots.extend(slots);
    }

    /// Takes up to `max` bytes out, and no more than one packet. `max_slots` bounds the slots.
    pub fn take(&mut self, max: usize, max_slots: usize) -> Slots {
        let mut out = Slots::new();
        let mut left = max;
        while left > 0 && out.len() < max_slots {
            let Some(front) = self.slots.front_mut() else {
                break;
            };
            let packet = front.packet;
            if front.len() <= left {
                left -= front.len();
                self.bytes -= front.len();
                out.extend(self.slots.pop_front());
            } else {
                out.push(front.prefix(left));
                front.consume(left);
                self.bytes -= left;
                left = 0;
            }
            if packet {
                break;
            }
        }
        out
    }

    /// A read with room for `max` bytes: as `take`, but a packet goes whole; what doesn't fit of it is lost with it.
    pub fn read(&mut self, max: usize) -> Slots {
        match self.slots.front() {
            Some(front) if front.packet => {
                self.bytes -= front.len();
                self.slots.pop_front().into_iter().collect()
            }
            _ => self.take_until_packet(max),
        }
    }

    fn take_until_packet(&mut self, max: usize) -> Slots {
        let plain = self.slots.iter().take_while(|s| !s.packet).count();
        self.take(max, plain)
    }

    /// Puts back at the front what was taken and not used.
    pub fn restore(&mut self, slots: Slots) {
        for slot in slots.into_iter().rev() {
            self.bytes += slot.len();
            self.slots.push_front(slot);
        }
    }

    /// Up to `max` bytes from the front, shared and left in place (tee(2)).
    pub fn share(&self, max: usize, max_slots: usize) -> Slots {
        let mut left = max;
        let mut out = Slots::new();
        for slot in self.slots.iter().take(max_slots) {
            if left == 0 {
                break;
            }
            let part = slot.prefix(left);
            left -= part.len();
            out.push(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(slots: &Slots) -> Vec<u8> {
        with_bytes(slots, <[u8]>::to_vec)
    }

    #[test]
    fn small_writes_share_a_slot() {
        let mut ring = Ring::new(2);
        for i in 0..200u8 {
            assert_eq!(ring.append(vec![i; 20], false), 20);
        }
        assert_eq!((ring.bytes(), ring.slots.len()), (4000, 1));
        assert_eq!(ring.append(vec![1; 97], false), 97);
        assert_eq!(ring.slots.len(), 2);
    }

    #[test]
    fn capacity_is_counted_in_slots() {
        let mut ring = Ring::new(16);
        assert_eq!(ring.append(vec![0; 70_000], false), 65_536);
        assert!(ring.is_full());
        assert_eq!(ring.room(1, false), 0);
        assert_eq!(ring.read(1).len(), 1);
        // One byte read from a slot frees nothing.
        assert_eq!(ring.room(1, false), 0);
        assert_eq!(gather(&ring.read(4095)).len(), 4095);
        assert_eq!(ring.room(5000, false), 4096);
    }

    #[test]
    fn a_write_of_odd_length_merges_its_head() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.append(vec![1; 100], false), 100);
        let mut data = vec![2; 50];
        data.extend([3; 4096]);
        assert_eq!(ring.append(data, false), 4146);
        assert_eq!(ring.slots.len(), 2);
        let all = gather(&ring.read(usize::MAX));
        assert_eq!((all[99], all[100], all[150], all.len()), (1, 2, 3, 4246));
    }

    #[test]
    fn the_tail_of_a_large_write_takes_more() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.append(vec![1; 10_000], false), 10_000);
        assert!(ring.is_full());
        assert_eq!(ring.append(vec![2; 1000], false), 1000);
        assert_eq!(ring.append(vec![2; 2000], false), 0);
    }

    #[test]
    fn packets_stay_apart() {
        let mut ring = Ring::new(16);
        ring.append(vec![1; 10], true);
        ring.append(vec![2; 10], true);
        ring.append(vec![3; 10], false);
        assert_eq!(ring.slots.len(), 3);
        assert_eq!(gather(&ring.read(100)), vec![1; 10]);
        // What a short read leaves of a packet is gone.
        let mut second = ring.read(4);
        second[0] = second[0].prefix(4);
        assert_eq!(gather(&second), vec![2; 4]);
        assert_eq!(gather(&ring.read(100)), vec![3; 10]);
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn what_is_restored_comes_first_again() {
        let mut ring = Ring::new(4);
        ring.append((0..=255).collect(), false);
        let mut taken = ring.read(100);
        consume(&mut taken, 40);
        ring.restore(taken);
        assert_eq!(ring.bytes(), 216);
        assert_eq!(gather(&ring.read(1000)), (40..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn sharing_leaves_the_original() {
        let mut ring = Ring::new(4);
        ring.append(vec![7; 5000], false);
        let copy = ring.share(4500, 4);
        assert_eq!(gather(&copy).len(), 4500);
        assert_eq!(ring.bytes(), 5000);
        let mut other = Ring::new(1);
        let rest = other.push(copy);
        assert_eq!((other.bytes(), rest.len()), (4096, 1));
    }
}
