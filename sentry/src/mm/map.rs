//! The interval map of mappings.
//!
//! A sorted list in chunks: two binary searches find an address, an insertion moves at most a chunk, and a bound of the
//! largest gap is known for each chunk, so that a search for free space skips chunks that have none.
//!
//! # Invariants
//! Mappings don't overlap, none is empty, no chunk is empty. Neighbours that could be one mapping are one.

use super::span::Span;
use super::vma::{Vma, VmaFlags};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Mappings of a chunk at most.
const CHUNK: usize = 64;
/// What stays free below a mapping that grows down (stack_guard_gap): 256 pages.
pub const GUARD_GAP: u64 = 256 * super::span::PAGE;

/// Marks a gap that is an upper bound only.
const BOUND: u64 = 1 << 63;

#[derive(Default)]
struct Chunk {
    vmas: Vec<Vma>,
    /// Largest gap right below a mapping of this chunk, or an upper bound with [`BOUND`]. Written under the map's lock, by
    /// a search too, which makes it exact (Relaxed: whoever reads an old value computes the same again).
    gap: AtomicU64,
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        Self {
            vmas: self.vmas.clone(),
            gap: AtomicU64::new(self.gap.load(Relaxed)),
        }
    }
}

impl Chunk {
    /// Whether a gap below one of its mappings may have room for `len` bytes. `below`: where the chunk before ends.
    fn may_fit(&self, len: u64, below: impl FnOnce() -> u64) -> bool {
        let gap = self.gap.load(Relaxed);
        if gap & !BOUND < len {
            return false;
        }
        if gap & BOUND == 0 {
            return true;
        }
        let exact = self.largest_gap(below());
        self.gap.store(exact, Relaxed);
        exact >= len
    }

    fn largest_gap(&self, mut below: u64) -> u64 {
        let mut gap = 0;
        for vma in &self.vmas {
            gap = gap.max(floor_of(vma).saturating_sub(below));
            below = vma.span.end;
        }
        gap
    }

    /// There is a gap of `len` bytes now.
    fn widen(&mut self, len: u64) {
        let gap = self.gap.get_mut();
        if len > *gap & !BOUND {
            *gap = len | *gap & BOUND;
        }
    }

    /// A gap of `len` bytes is smaller now.
    fn shrink(&mut self, len: u64) {
        let gap = self.gap.get_mut();
        if len >= *gap & !BOUND {
            *gap |= BOUND;
        }
    }

    fn end(&self) -> u64 {
        self.vmas.last().map_or(0, |v| v.span.end)
    }
}

/// Where a mapping stands. Valid until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pos {
    chunk: usize,
    index: usize,
}

/// All mappings of an address space.
#[derive(Clone, Default)]
pub struct VmaMap {
    chunks: Vec<Chunk>,
    len: usize,
}

/// Where free space below a mapping ends: its guard gap is not free.
fn floor_of(vma: &Vma) -> u64 {
    if vma.flags.contains(VmaFlags::GROWS_DOWN) {
        vma.span.start.saturating_sub(GUARD_GAP)
    } else {
        vma.span.start
    }
}

impl VmaMap {
    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No mappings.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first mapping that ends above `addr`.
    fn pos(&self, addr: u64) -> Pos {
        let chunk = self.chunks.partition_point(|c| c.end() <= addr);
        let index = self
            .chunks
            .get(chunk)
            .map_or(0, |c| c.vmas.partition_point(|v| v.span.end <= addr));
        Pos { chunk, index }
    }

    fn get(&self, pos: Pos) -> Option<&Vma> {
        self.chunks.get(pos.chunk)?.vmas.get(pos.index)
    }

    /// The position after `pos`.
    fn next(&self, pos: Pos) -> Pos {
        match self.chunks.get(pos.chunk) {
            Some(c) if pos.index + 1 < c.vmas.len() => Pos {
                index: pos.index + 1,
                ..pos
            },
            _ => Pos {
                chunk: pos.chunk + 1,
                index: 0,
            },
        }
    }

    /// The position before `pos`.
    fn prev(&self, pos: Pos) -> Option<Pos> {
        if pos.index > 0 {
            return Some(Pos {
                index: pos.index - 1,
                ..pos
            });
        }
        let chunk = pos.chunk.checked_sub(1)?;
        Some(Pos {
            chunk,
            index: self.chunks[chunk].vmas.len() - 1,
        })
    }

    /// The mapping that holds `addr`.
    pub fn at(&self, addr: u64) -> Option<&Vma> {
        self.get(self.pos(addr)).filter(|v| v.span.start <= addr)
    }

    /// The first mapping that ends above `addr` (find_vma).
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.get(self.pos(addr))
    }

    /// The last mapping that starts below `addr`.
    pub fn below(&self, addr: u64) -> Option<&Vma> {
        let mut pos = self.pos(addr);
        if self.get(pos).is_none_or(|v| v.span.start >= addr) {
            pos = self.prev(pos)?;
        }
        self.get(pos)
    }

    /// Where the free space at `addr` ends: at the next mapping's guard gap, or the end of the address space.
    pub fn floor_above(&self, addr: u64) -> u64 {
        self.find(addr).map_or(super::span::TASK_SIZE, floor_of)
    }

    /// Mappings from the first that ends above `addr` on, ascending.
    pub fn iter_from(&self, addr: u64) -> impl Iterator<Item = &Vma> {
        let pos = self.pos(addr);
        let first = self
            .chunks
            .get(pos.chunk)
            .map_or(&[][..], |c| &c.vmas[pos.index..]);
        let rest = self.chunks.get(pos.chunk + 1..).unwrap_or(&[]);
        first.iter().chain(rest.iter().flat_map(|c| c.vmas.iter()))
    }

    /// All mappings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.chunks.iter().flat_map(|c| c.vmas.iter())
    }

    /// Mappings that share an address with `span`, ascending.
    pub fn in_span(&self, span: Span) -> impl Iterator<Item = &Vma> {
        self.iter_from(span.start)
            .take_while(move |v| v.span.start < span.end)
    }

    /// Nothing is mapped in `span`.
    pub fn is_free(&self, span: Span) -> bool {
        self.in_span(span).next().is_none()
    }

    /// Whether mappings cover all of `span` without a hole.
    pub fn covers(&self, span: Span) -> bool {
        self.covered_until(span) == span.end
    }

    /// Where the first hole of `span` starts; its end if there is none.
    pub fn covered_until(&self, span: Span) -> u64 {
        let mut at = span.start;
        for vma in self.in_span(span) {
            if vma.span.start > at {
                return at;
            }
            at = vma.span.end;
        }
        at.clamp(span.start, span.end)
    }

    /// Adds a mapping where nothing is; it may become part of its neighbours.
    pub fn insert(&mut self, vma: Vma) {
        debug_assert!(!vma.span.is_empty());
        let pos = self.pos(vma.span.start);
        debug_assert!(
            self.get(pos)
                .is_none_or(|next| next.span.start >= vma.span.end)
        );
        let pos = self.insert_at(pos, vma);
        self.merge_around(pos, pos);
    }

    /// Takes all mappings in `span` out, cutting those that reach beyond it. Ascending.
    pub fn remove(&mut self, span: Span) -> Vec<Vma> {
        let mut out = Vec::new();
        if span.is_empty() {
            return out;
        }
        self.split_at(span.start);
        self.split_at(span.end);
        loop {
            let pos = self.pos(span.start);
            let Some(chunk) = self.chunks.get_mut(pos.chunk) else {
                break;
            };
            let n = chunk.vmas[pos.index..]
                .iter()
                .take_while(|v| v.span.start < span.end)
                .count();
            if n == 0 {
                break;
            }
            out.extend(chunk.vmas.drain(pos.index..pos.index + n));
            self.len -= n;
            self.removed_at(pos);
        }
        out
    }

    /// Applies `change` to every mapping in `span`, cutting those that reach beyond it. `change` leaves the span alone.
    pub fn update(&mut self, span: Span, mut change: impl FnMut(&mut Vma)) {
        if span.is_empty() {
            return;
        }
        self.split_at(span.start);
        self.split_at(span.end);
        let first = self.pos(span.start);
        let mut pos = first;
        let mut last = None;
        while let Some(vma) = self
            .chunks
            .get_mut(pos.chunk)
            .and_then(|c| c.vmas.get_mut(pos.index))
        {
            if vma.span.start >= span.end {
                break;
            }
            change(vma);
            last = Some(pos);
            pos = self.next(pos);
        }
        if let Some(last) = last {
            self.merge_around(first, last);
        }
    }

    /// Moves the start of the mapping that starts at `start` down to `to` (a stack that grows).
    pub fn grow_down(&mut self, start: u64, to: u64) {
        let pos = self.pos(start);
        if let Some(vma) = self
            .chunks
            .get_mut(pos.chunk)
            .and_then(|c| c.vmas.get_mut(pos.index))
        {
            debug_assert!(vma.span.start == start && to <= start);
            vma.span.start = to;
            let chunk = &mut self.chunks[pos.chunk];
            *chunk.gap.get_mut() |= BOUND;
        }
    }

    /// The highest free range of `len` bytes in `[low, high)` that starts at a multiple of `align`.
    pub fn highest_gap(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
        let fit = |bottom: u64, ceiling: u64| {
            let at = ceiling.checked_sub(len)? & !(align - 1);
            (at >= bottom.max(low) && at >= low).then_some(at)
        };
        let mut ceiling = high;
        let start = self.pos(high);
        // `start` may begin below `high` or, with a guard gap, reach below it.
        if let Some(vma) = self.get(start) {
            ceiling = ceiling.min(floor_of(vma));
        }
        let mut pos = start;
        while let Some(before) = self.prev(pos) {
            let chunk = &self.chunks[before.chunk];
            let vma = &chunk.vmas[before.index];
            if ceiling <= low {
                return None;
            }
            if let Some(at) = fit(vma.span.end, ceiling) {
                return Some(at);
            }
            if before.index + 1 == chunk.vmas.len()
                && !chunk.may_fit(len, || {
                    self.end_below(Pos {
                        chunk: before.chunk,
                        index: 0,
                    })
                })
            {
                // No gap below any mapping of this chunk is large enough.
                pos = Pos {
                    chunk: before.chunk,
                    index: 0,
                };
                ceiling = ceiling.min(floor_of(&chunk.vmas[0]));
            } else {
                pos = before;
                ceiling = ceiling.min(floor_of(vma));
            }
        }
        fit(low, ceiling)
    }

    /// The lowest free range of `len` bytes in `[low, high)` that starts at a multiple of `align`.
    pub fn lowest_gap(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
        let fit = |bottom: u64, ceiling: u64| {
            let at = bottom.max(low).checked_add(align - 1)? & !(align - 1);
            (at.checked_add(len)? <= ceiling.min(high)).then_some(at)
        };
        let mut pos = self.pos(low);
        let mut bottom = low;
        while let Some(vma) = self.get(pos) {
            if let Some(at) = fit(bottom, floor_of(vma)) {
                return Some(at);
            }
            if vma.span.end >= high {
                return None;
            }
            let chunk = &self.chunks[pos.chunk];
            if pos.index == 0 && !chunk.may_fit(len, || self.end_below(pos)) {
                bottom = chunk.end();
                pos = Pos {
                    chunk: pos.chunk + 1,
                    index: 0,
                };
            } else {
                bottom = vma.span.end;
                pos = self.next(pos);
            }
        }
        fit(bottom, high)
    }

    fn insert_at(&mut self, pos: Pos, vma: Vma) -> Pos {
        self.len += 1;
        let pos = match self.chunks.len() {
            0 => {
                self.chunks.push(Chunk::default());
                Pos { chunk: 0, index: 0 }
            }
            n if pos.chunk == n => Pos {
                chunk: n - 1,
                index: self.chunks[n - 1].vmas.len(),
            },
            _ => pos,
        };
        let below = self.end_below(pos);
        let chunk = &mut self.chunks[pos.chunk];
        match chunk.vmas.get(pos.index) {
            // It cuts a gap that is counted here. If that was the largest, another may be now.
            Some(next) => chunk.shrink(floor_of(next).saturating_sub(below)),
            None => chunk.widen(floor_of(&vma).saturating_sub(below)),
        }
        chunk.vmas.insert(pos.index, vma);
        if chunk.vmas.len() <= CHUNK {
            return pos;
        }
        let upper = chunk.vmas.split_off(CHUNK / 2);
        *chunk.gap.get_mut() |= BOUND;
        let gap = AtomicU64::new(chunk.gap.load(Relaxed));
        self.chunks
            .insert(pos.chunk + 1, Chunk { vmas: upper, gap });
        if pos.index < CHUNK / 2 {
            pos
        } else {
            Pos {
                chunk: pos.chunk + 1,
                index: pos.index - CHUNK / 2,
            }
        }
    }

    /// Cuts the mapping that holds `at` in two there, unless it starts there.
    fn split_at(&mut self, at: u64) {
        let pos = self.pos(at);
        let Some(vma) = self
            .chunks
            .get_mut(pos.chunk)
            .and_then(|c| c.vmas.get_mut(pos.index))
        else {
            return;
        };
        if vma.span.start < at {
            let upper = vma.split_off(at);
            self.insert_at(
                Pos {
                    index: pos.index + 1,
                    ..pos
                },
                upper,
            );
        }
    }

    /// Makes one of neighbours that can be, from the one before `first` to the one after `last`.
    fn merge_around(&mut self, first: Pos, last: Pos) {
        let (Some(from), Some(until)) = (self.get(first), self.get(last)) else {
            return;
        };
        let (mut at, end) = (from.span.start, until.span.end);
        if let Some(before) = self.prev(first) {
            at = self.get(before).map_or(at, |v| v.span.start);
        }
        loop {
            let pos = self.pos(at);
            let next = self.next(pos);
            let (Some(a), Some(b)) = (self.get(pos), self.get(next)) else {
                return;
            };
            if a.span.start > end || b.span.start > end {
                return;
            }
            if !a.merges_with(b) {
                at = b.span.start;
                continue;
            }
            let b_end = b.span.end;
            self.chunks[next.chunk].vmas.remove(next.index);
            self.len -= 1;
            self.chunks[pos.chunk].vmas[pos.index].span.end = b_end;
            if self.chunks[next.chunk].vmas.is_empty() {
                self.chunks.remove(next.chunk);
            }
        }
    }

    /// Mappings that were at `pos` are gone: the gap below what is there now has grown.
    fn removed_at(&mut self, pos: Pos) {
        let mut pos = pos;
        if self.chunks[pos.chunk].vmas.is_empty() {
            self.chunks.remove(pos.chunk);
        } else if pos.index == self.chunks[pos.chunk].vmas.len() {
            // Its largest gap may have gone with them.
            *self.chunks[pos.chunk].gap.get_mut() |= BOUND;
            pos = Pos {
                chunk: pos.chunk + 1,
                index: 0,
            };
        }
        let below = self.end_below(pos);
        if let Some(vma) = self.get(pos) {
            let gap = floor_of(vma).saturating_sub(below);
            self.chunks[pos.chunk].widen(gap);
        }
    }

    /// Where the mapping before `pos` ends; 0 if there is none.
    fn end_below(&self, pos: Pos) -> u64 {
        self.prev(pos)
            .and_then(|p| self.get(p))
            .map_or(0, |v| v.span.end)
    }

    /// Panics if an invariant doesn't hold.
    #[cfg(test)]
    pub fn check(&self) {
        let mut below = 0;
        let mut len = 0;
        let mut last: Option<&Vma> = None;
        for chunk in &self.chunks {
            assert!(!chunk.vmas.is_empty() && chunk.vmas.len() <= CHUNK);
            let mut gap = 0;
            for vma in &chunk.vmas {
                assert!(vma.span.start >= below && vma.span.start < vma.span.end);
                gap = gap.max(floor_of(vma).saturating_sub(below));
                below = vma.span.end;
                len += 1;
                assert!(
                    !last.is_some_and(|l| l.merges_with(vma)),
                    "neighbours that should be one"
                );
                last = Some(vma);
            }
            let kept = chunk.gap.load(Relaxed);
            assert!(kept == gap || kept & BOUND != 0 && kept & !BOUND >= gap);
        }
        assert_eq!(self.len, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::span::PAGE;
    use crate::mm::testing::Rng;
    use crate::mm::vma::Prot;

    /// A page array that does by brute force what the map does.
    struct Naive(Vec<Option<(u8, bool)>>);

    const PAGES: u64 = 600;

    fn vma(from: u64, to: u64, prot: u8, stack: bool) -> Vma {
        let mut vma = Vma::anon(
            Span::new(from * PAGE, to * PAGE),
            Prot::from_bits_truncate(prot),
        );
        vma.flags.set(VmaFlags::LOCKED, stack);
        vma
    }

    impl Naive {
        fn free(&self, page: u64, len: u64) -> bool {
            (page..page + len).all(|p| self.0[p as usize].is_none())
        }
        fn highest(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
            (low..=high.checked_sub(len)?)
                .rev()
                .find(|&p| p % align == 0 && self.free(p, len))
        }
        fn lowest(&self, len: u64, low: u64, high: u64, align: u64) -> Option<u64> {
            (low..=high.checked_sub(len)?).find(|&p| p % align == 0 && self.free(p, len))
        }
    }

    fn run(seed: u64, steps: usize, longest: u64) {
        let mut rng = Rng(seed);
        let mut map = VmaMap::default();
        let mut naive = Naive(vec![None; PAGES as usize]);
        for _ in 0..steps {
            let a = rng.below(PAGES);
            let b = (a + 1 + rng.below(longest)).min(PAGES);
            let span = Span::new(a * PAGE, b * PAGE);
            let (prot, flag) = (rng.below(3) as u8, rng.below(4) == 0);
            match rng.below(4) {
                0 | 1 => {
                    let old = map.remove(span);
                    let pages: u64 = old.iter().map(Vma::pages).sum();
                    let expected = (a..b).filter(|&p| naive.0[p as usize].is_some()).count();
                    assert_eq!(pages, expected as u64);
                    map.insert(vma(a, b, prot, flag));
                    (a..b).for_each(|p| naive.0[p as usize] = Some((prot, flag)));
                }
                2 => {
                    map.remove(span);
                    (a..b).for_each(|p| naive.0[p as usize] = None);
                }
                _ => {
                    map.update(span, |v| v.prot = Prot::from_bits_truncate(prot));
                    (a..b).for_each(|p| {
                        if let Some(page) = &mut naive.0[p as usize] {
                            page.0 = prot;
                        }
                    });
                }
            }
            map.check();
            for p in 0..PAGES {
                let got = map
                    .at(p * PAGE + 7)
                    .map(|v| (v.prot.bits(), v.flags.contains(VmaFlags::LOCKED)));
                assert_eq!(got, naive.0[p as usize]);
            }
            let (len, low) = (1 + rng.below(8), rng.below(PAGES));
            let high = low + rng.below(PAGES - low + 1);
            let align = 1 << rng.below(3);
            let bytes = |p: Option<u64>| p.map(|p| p * PAGE);
            assert_eq!(
                map.highest_gap(len * PAGE, low * PAGE, high * PAGE, align * PAGE),
                bytes(naive.highest(len, low, high, align))
            );
            assert_eq!(
                map.lowest_gap(len * PAGE, low * PAGE, high * PAGE, align * PAGE),
                bytes(naive.lowest(len, low, high, align))
            );
            let hole = (a..b).find(|&p| naive.0[p as usize].is_none()).unwrap_or(b);
            assert_eq!(map.covered_until(span), hole * PAGE);
            assert_eq!(map.is_free(span), naive.free(a, b - a));
        }
    }

    #[test]
    fn behaves_like_a_page_array() {
        for seed in 1..20 {
            run(seed, 300, 40);
        }
    }

    #[test]
    fn behaves_like_a_page_array_with_many_small_mappings() {
        for seed in 1..6 {
            run(seed, 1500, 2);
        }
    }

    #[test]
    fn a_stack_keeps_its_guard_gap() {
        let mut map = VmaMap::default();
        let mut stack = vma(1000, 1010, 3, false);
        stack.flags |= VmaFlags::GROWS_DOWN;
        map.insert(stack);
        let at = map.highest_gap(PAGE, 0, 1010 * PAGE, PAGE);
        assert_eq!(at, Some((1000 - 256 - 1) * PAGE));
        let at = map.highest_gap(PAGE, 800 * PAGE, 1010 * PAGE, PAGE);
        assert_eq!(at, None);
        assert_eq!(
            map.lowest_gap(PAGE, 800 * PAGE, 1020 * PAGE, PAGE),
            Some(1010 * PAGE)
        );
        map.grow_down(1000 * PAGE, 900 * PAGE);
        map.check();
        assert_eq!(
            map.highest_gap(PAGE, 0, 1010 * PAGE, PAGE),
            Some((900 - 256 - 1) * PAGE)
        );
    }

    #[test]
    fn a_search_skips_full_chunks() {
        let mut map = VmaMap::default();
        for i in 0..1000 {
            map.insert(vma(10 + 2 * i, 11 + 2 * i, (i % 3) as u8, false));
        }
        map.check();
        assert_eq!(
            map.highest_gap(2 * PAGE, 0, 2009 * PAGE, PAGE),
            Some(8 * PAGE)
        );
        assert_eq!(
            map.lowest_gap(2 * PAGE, 9 * PAGE, 4000 * PAGE, PAGE),
            Some(2009 * PAGE)
        );
        let gone = map.remove(Span::new(0, 4000 * PAGE));
        assert_eq!(gone.len(), 1000);
        map.check();
        assert!(map.is_empty());
    }
}
