//! Where mappings go: bases with their randomisation, and the choice of an address (mmap(2), arch_get_unmapped_area).

use super::plan::Stop;
use super::span::{PAGE, Span, TASK_SIZE, page_down};
use super::state::State;
use crate::task::Pid;
use arch::Errno;

/// Lowest address that can be mapped (/proc/sys/vm/mmap_min_addr).
pub const MMAP_MIN_ADDR: u64 = 65536;
/// Size of a huge page: large anonymous mappings start at a multiple.
const HUGE: u64 = 2 << 20;
/// The range of MAP_32BIT.
const LOW_WINDOW: Span = Span::new(0x4000_0000, 0x8000_0000);
/// Where the search goes on upwards when there is no room below the base (TASK_UNMAPPED_BASE).
const BOTTOM_UP_BASE: u64 = page_down(TASK_SIZE / 3);

/// Random bits of each base, in pages (x86-64's defaults).
const MMAP_RANDOM_BITS: u32 = 28;
const STACK_RANDOM_BITS: u32 = 22;
/// The gap between the stack's top and the mappings below it: the stack's limit, within these bounds.
const MIN_GAP: u64 = 128 << 20;
const MAX_GAP: u64 = TASK_SIZE / 6 * 5;

/// The bases of an address space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Mappings are placed downwards from here.
    pub mmap_base: u64,
    /// One past the stack.
    pub stack_top: u64,
    /// Random part of the low window.
    pub low_random: u64,
}

impl Layout {
    /// Bases for a new program. `stack`: RLIMIT_STACK in bytes. `random` gives 64 random bits a call, or zeros for
    /// ADDR_NO_RANDOMIZE.
    pub fn new(stack: u64, random: &mut dyn FnMut() -> u64) -> Self {
        let bits: [u64; 3] = std::array::from_fn(|_| random());
        let pages = |value: u64, bits: u32| (value & ((1 << bits) - 1)) * PAGE;
        let stack_room = (1_u64 << STACK_RANDOM_BITS) * PAGE;
        let gap = stack
            .saturating_add(stack_room + super::map::GUARD_GAP)
            .clamp(MIN_GAP, MAX_GAP);
        Self {
            mmap_base: page_down(TASK_SIZE - gap - pages(bits[0], MMAP_RANDOM_BITS)),
            stack_top: TASK_SIZE - pages(bits[1], STACK_RANDOM_BITS),
            low_random: pages(bits[2], 13),
        }
    }
}

/// What a mapping's place depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// The address asked for; 0 for any.
    pub addr: u64,
    /// Bytes; a multiple of the page size, not 0.
    pub len: u64,
    /// MAP_FIXED (or MAP_FIXED_NOREPLACE).
    pub fixed: bool,
    /// MAP_32BIT.
    pub low: bool,
    /// Anonymous: may be aligned for huge pages.
    pub anon: bool,
    /// Bytes to leave free below, if that can be.
    pub room: u64,
}

/// The checks that don't depend on what is mapped: ENOMEM for what doesn't fit, EINVAL for a fixed address that isn't
/// page aligned, EPERM below mmap_min_addr.
pub fn check_wish(wish: &Wish) -> arch::Result<()> {
    if wish.len > TASK_SIZE {
        return Err(Errno::ENOMEM);
    }
    if wish.fixed {
        if wish.addr > TASK_SIZE - wish.len {
            return Err(Errno::ENOMEM);
        }
        if !super::span::page_aligned(wish.addr) {
            return Err(Errno::EINVAL);
        }
        if wish.addr < MMAP_MIN_ADDR {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}

impl State {
    /// Chooses an address as Linux does: the wish if it is fixed or free, else the highest gap below the base, else the
    /// lowest above a third of the address space. Avoids ranges on which other threads have yet to act.
    pub fn choose(&self, tid: Pid, wish: &Wish) -> Result<u64, Stop> {
        check_wish(wish)?;
        if wish.fixed {
            return Ok(wish.addr);
        }
        let hint = match page_down(wish.addr) {
            0 => 0,
            at => at.max(MMAP_MIN_ADDR),
        };
        if wish.room != 0 && hint == 0 {
            let more = Wish {
                len: wish.len.saturating_add(wish.room),
                room: 0,
                ..*wish
            };
            if let Ok(at) = self.choose(tid, &more) {
                return Ok(at + wish.room);
            }
        }
        let window = if wish.low {
            LOW_WINDOW
        } else {
            Span::new(MMAP_MIN_ADDR, TASK_SIZE)
        };
        if hint != 0
            && hint <= window.end.saturating_sub(wish.len)
            && self.hint_is_free(tid, Span::at(hint, wish.len))
        {
            return Ok(hint);
        }
        let found = if wish.low {
            self.lowest(
                tid,
                wish.len,
                LOW_WINDOW.start + self.layout.low_random,
                LOW_WINDOW.end,
            )
        } else {
            let aligned = wish.anon && hint == 0 && wish.len.is_multiple_of(HUGE);
            let base = self.layout.mmap_base;
            None.or_else(|| {
                if aligned {
                    self.highest(tid, wish.len, base, HUGE)
                } else {
                    None
                }
            })
            .or_else(|| self.highest(tid, wish.len, base, PAGE))
            .or_else(|| self.lowest(tid, wish.len, BOTTOM_UP_BASE, TASK_SIZE))
        };
        match (found, self.pending.iter().find(|p| p.tid != tid)) {
            (Some(at), _) => Ok(at),
            // What is left may be enough once that is done.
            (None, Some(other)) => Err(Stop::Busy((other.tid, other.serial))),
            (None, None) => Err(Stop::Errno(Errno::ENOMEM)),
        }
    }

    fn hint_is_free(&self, tid: Pid, span: Span) -> bool {
        span.end <= self.map.floor_above(span.start) && self.check_pending(tid, span).is_ok()
    }

    fn pending_overlap(&self, tid: Pid, span: Span) -> Option<Span> {
        self.pending
            .iter()
            .filter(|p| p.tid != tid)
            .find_map(|p| p.overlap(span))
    }

    fn highest(&self, tid: Pid, len: u64, base: u64, align: u64) -> Option<u64> {
        let mut ceiling = base;
        loop {
            let at = self.map.highest_gap(len, MMAP_MIN_ADDR, ceiling, align)?;
            match self.pending_overlap(tid, Span::at(at, len)) {
                None => return Some(at),
                Some(busy) => ceiling = busy.start,
            }
        }
    }

    fn lowest(&self, tid: Pid, len: u64, floor: u64, end: u64) -> Option<u64> {
        let mut floor = floor;
        loop {
            let at = self.map.lowest_gap(len, floor, end, PAGE)?;
            match self.pending_overlap(tid, Span::at(at, len)) {
                None => return Some(at),
                Some(busy) => floor = busy.end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::map::GUARD_GAP;
    use crate::mm::vma::{Prot, Vma, VmaFlags};

    fn state() -> State {
        State {
            layout: Layout::new(8 << 20, &mut || 0),
            ..State::default()
        }
    }

    fn wish(addr: u64, len: u64) -> Wish {
        Wish {
            addr,
            len,
            ..Wish::default()
        }
    }

    #[test]
    fn bases_are_in_order_and_random() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
            seed
        };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let l = Layout::new(8 << 20, &mut random);
            assert!(l.mmap_base < l.stack_top - (8 << 20) && l.stack_top <= TASK_SIZE);
            assert!(page_down(l.mmap_base) == l.mmap_base && page_down(l.stack_top) == l.stack_top);
            seen.insert(l.mmap_base);
        }
        assert!(seen.len() > 190);
        assert_eq!(
            Layout::new(8 << 20, &mut || 0),
            Layout::new(8 << 20, &mut || 0)
        );
    }

    #[test]
    fn mappings_are_stacked_downwards() {
        let mut s = state();
        let a = s.choose(1, &wish(0, 3 * PAGE)).unwrap();
        assert_eq!(a + 3 * PAGE, s.layout.mmap_base);
        s.insert(Vma::anon(Span::at(a, 3 * PAGE), Prot::READ));
        let b = s.choose(1, &wish(0, PAGE)).unwrap();
        assert_eq!(b + PAGE, a);
    }

    #[test]
    fn a_free_hint_is_honoured_and_a_taken_one_is_not() {
        let mut s = state();
        assert_eq!(s.choose(1, &wish(0x7000_0123, PAGE)), Ok(0x7000_0000));
        assert_eq!(
            s.choose(1, &wish(1, PAGE)),
            Ok(s.layout.mmap_base - PAGE),
            "rounds down to none"
        );
        assert_eq!(s.choose(1, &wish(PAGE, PAGE)), Ok(MMAP_MIN_ADDR));
        s.insert(Vma::anon(Span::at(0x7000_0000, PAGE), Prot::READ));
        let other = s.choose(1, &wish(0x7000_0000, PAGE)).unwrap();
        assert_eq!(other, s.layout.mmap_base - PAGE);
        let mut stack = Vma::anon(Span::at(0x9000_0000, PAGE), Prot::READ);
        stack.flags |= VmaFlags::GROWS_DOWN;
        s.insert(stack);
        let near = 0x9000_0000 - GUARD_GAP;
        assert_ne!(s.choose(1, &wish(near, PAGE)), Ok(near));
        assert_eq!(s.choose(1, &wish(near - PAGE, PAGE)), Ok(near - PAGE));
    }

    #[test]
    fn fixed_addresses_are_checked() {
        let s = state();
        let fixed = |addr, len| {
            s.choose(
                1,
                &Wish {
                    addr,
                    len,
                    fixed: true,
                    ..Wish::default()
                },
            )
        };
        assert_eq!(fixed(0x10001, PAGE), Err(Stop::Errno(Errno::EINVAL)));
        assert_eq!(fixed(0, PAGE), Err(Stop::Errno(Errno::EPERM)));
        assert_eq!(fixed(TASK_SIZE, PAGE), Err(Stop::Errno(Errno::ENOMEM)));
        assert_eq!(fixed(TASK_SIZE - PAGE, PAGE), Ok(TASK_SIZE - PAGE));
        assert_eq!(
            s.choose(1, &wish(0, TASK_SIZE + PAGE)),
            Err(Stop::Errno(Errno::ENOMEM))
        );
    }

    #[test]
    fn map_32bit_stays_in_its_window() {
        let mut s = state();
        for i in 0..4 {
            let at = s
                .choose(
                    1,
                    &Wish {
                        addr: 0,
                        len: 256 << 20,
                        low: true,
                        ..Wish::default()
                    },
                )
                .unwrap();
            assert_eq!(at, LOW_WINDOW.start + i * (256 << 20));
            s.insert(Vma::anon(Span::at(at, 256 << 20), Prot::READ));
        }
        let full = s.choose(
            1,
            &Wish {
                addr: 0,
                len: PAGE,
                low: true,
                ..Wish::default()
            },
        );
        assert_eq!(full, Err(Stop::Errno(Errno::ENOMEM)));
    }

    #[test]
    fn large_anonymous_mappings_are_aligned() {
        let s = state();
        let at = s
            .choose(
                1,
                &Wish {
                    len: 3 * HUGE,
                    anon: true,
                    ..Wish::default()
                },
            )
            .unwrap();
        assert_eq!(at % HUGE, 0);
        let at = s
            .choose(
                1,
                &Wish {
                    len: 3 * HUGE + PAGE,
                    anon: true,
                    ..Wish::default()
                },
            )
            .unwrap();
        assert_eq!(at + 3 * HUGE + PAGE, s.layout.mmap_base);
    }

    #[test]
    fn ranges_of_unperformed_actions_are_avoided() {
        let mut s = state();
        let top = s.layout.mmap_base;
        s.pending.push(crate::mm::pending::Pending::claim(
            2,
            Span::new(top - 4 * PAGE, top - PAGE),
        ));
        assert_eq!(s.choose(1, &wish(0, PAGE)), Ok(top - PAGE));
        assert_eq!(s.choose(1, &wish(0, 2 * PAGE)), Ok(top - 6 * PAGE));
        assert_eq!(
            s.choose(2, &wish(0, 2 * PAGE)),
            Ok(top - 2 * PAGE),
            "its own are in order"
        );
        assert_ne!(s.choose(1, &wish(top - 2 * PAGE, PAGE)), Ok(top - 2 * PAGE));
        s.pending
            .push(crate::mm::pending::Pending::claim(3, Span::ALL));
        assert!(matches!(s.choose(1, &wish(0, PAGE)), Err(Stop::Busy(_))));
    }
}
