//! Where Linux puts the parts of an address space on x86_64: `arch/x86/mm/mmap.c`,
//! `fs/binfmt_elf.c`, `arch/x86/kernel/process.c`.
//!
//! Functions take random numbers as arguments and use as many bits as Linux does.

use arch::PAGE_SIZE;
use arch::regs::TASK_SIZE;

/// `ELF_ET_DYN_BASE`: where movable programs that have an interpreter start, before randomisation.
/// Two thirds of the address space up.
pub const ET_DYN_BASE: u64 = TASK_SIZE / 3 * 2;

/// Random bits, in pages, of mmap's base and of [`pie_base`] (`vm.mmap_rnd_bits`' default).
pub const MMAP_RND_BITS: u32 = 28;

/// Random pages of the stack's top (`STACK_RND_MASK`).
pub const STACK_RND_MASK: u64 = 0x3f_ffff;

/// Range of [`brk_start`]'s random part, in bytes.
pub const BRK_RND_SPAN: u64 = 1 << 30;

/// Below the stack, a distance that mappings keep even under a small stack limit.
const MIN_GAP: u64 = 128 << 20;

/// Pages between a growing stack and what lies below it, `stack_guard_gap`.
pub const STACK_GUARD_GAP: u64 = 256 * PAGE_SIZE;

/// Where a movable program with an interpreter goes: `align` is [`PlaceRequest`]'s, a power of two.
///
/// [`PlaceRequest`]: crate::PlaceRequest
pub const fn pie_base(random: u64, align: u64) -> u64 {
    let base = ET_DYN_BASE + (random % (1 << MMAP_RND_BITS)) * PAGE_SIZE;
    base & !align.wrapping_sub(1) & !(PAGE_SIZE - 1)
}

/// The end of the stack, below which the first strings go.
pub const fn stack_top(random: u64) -> u64 {
    TASK_SIZE - (random & STACK_RND_MASK) * PAGE_SIZE
}

/// The address below which mmap(2) looks for room, top down; `stack_limit` is RLIMIT_STACK in
/// bytes.
pub fn mmap_base(stack_limit: u64, random: u64) -> u64 {
    let padding = STACK_RND_MASK * PAGE_SIZE + STACK_GUARD_GAP;
    let gap = stack_limit
        .saturating_add(padding)
        .clamp(MIN_GAP, TASK_SIZE / 6 * 5);
    let random = (random % (1 << MMAP_RND_BITS)) * PAGE_SIZE;
    (TASK_SIZE - gap - random) & !(PAGE_SIZE - 1)
}

/// Where the heap starts, for a plan's `brk`: at most [`BRK_RND_SPAN`] above it. A heap that
/// follows the program's data keeps a page's distance; `moved` is the plan's `brk_moved`.
pub const fn brk_start(brk: u64, moved: bool, random: u64) -> u64 {
    let start = if moved { brk } else { brk + PAGE_SIZE };
    start + random % (BRK_RND_SPAN / PAGE_SIZE) * PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_linuxs() {
        assert_eq!(pie_base(0, PAGE_SIZE), 0x5555_5555_4000);
        assert_eq!(pie_base(0, 0x20_0000), 0x5555_5540_0000);
        assert_eq!(stack_top(0), 0x7fff_ffff_f000);
        // Without randomisation and with 8 MiB of stack Linux answers 0x7ffff7fff000, less the
        // part that it keeps for a random stack.
        assert_eq!(
            mmap_base(8 << 20, 0),
            TASK_SIZE - (8 << 20) - STACK_RND_MASK * PAGE_SIZE - STACK_GUARD_GAP
        );
    }

    #[test]
    fn any_random_number_stays_in_range() {
        for random in [0, 1, 12345, u64::MAX / 3, u64::MAX] {
            for limit in [0, 8 << 20, 1 << 40, u64::MAX] {
                let base = mmap_base(limit, random);
                assert_eq!(base % PAGE_SIZE, 0);
                assert!(base > 1 << 40 && base < stack_top(random));
            }
            assert!(pie_base(random, PAGE_SIZE) < 0x5666_0000_0000);
            assert!(brk_start(0x1000, false, random) < 0x1000 + PAGE_SIZE + BRK_RND_SPAN);
        }
    }
}
