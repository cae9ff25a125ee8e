//! Page arithmetic and address ranges.

/// Page size, in bytes.
pub const PAGE: u64 = systrap::layout::PAGE;
/// One past the highest address that an application may use.
pub const TASK_SIZE: u64 = systrap::layout::TASK_SIZE;

/// Rounds down to a page.
pub const fn page_down(x: u64) -> u64 {
    x & !(PAGE - 1)
}

/// Rounds up to a page; wraps to 0 at the very end, as the kernel's PAGE_ALIGN does.
pub const fn page_up(x: u64) -> u64 {
    page_down(x.wrapping_add(PAGE - 1))
}

/// Whether `x` is a multiple of the page size.
pub const fn page_aligned(x: u64) -> bool {
    x & (PAGE - 1) == 0
}

/// A half-open range of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub start: u64,
    /// One past the last. Never below `start`.
    pub end: u64,
}

impl Span {
    /// Everything that an application may use.
    pub const ALL: Self = Self {
        start: 0,
        end: TASK_SIZE,
    };

    /// `[start, end)`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// `len` bytes from `start`. The caller has checked that the sum doesn't wrap.
    pub const fn at(start: u64, len: u64) -> Self {
        Self {
            start,
            end: start + len,
        }
    }

    /// Length in bytes.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Holds no address.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Shares an address with `other`.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Holds `addr`.
    pub const fn contains(self, addr: u64) -> bool {
        self.start <= addr && addr < self.end
    }

    /// What both hold; possibly empty.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self {
            start,
            end: self.end.min(other.end).max(start),
        }
    }
}
