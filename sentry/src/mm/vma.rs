//! One mapping: a range of addresses with the same rights and the same thing behind it.

use super::shm::Attachment;
use super::span::{PAGE, Span};
use super::text::TextPart;
use crate::vfs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

bitflags::bitflags! {
    /// PROT_* of mmap(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Prot: u8 {
        /// PROT_READ.
        const READ = 1;
        /// PROT_WRITE.
        const WRITE = 2;
        /// PROT_EXEC.
        const EXEC = 4;
    }

    /// The kernel's VM_* flags, as far as they can differ here.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct VmaFlags: u32 {
        /// MAP_SHARED (VM_MAYSHARE).
        const SHARED = 1;
        /// mprotect(2) may give PROT_READ.
        const MAY_READ = 1 << 1;
        /// mprotect(2) may give PROT_WRITE.
        const MAY_WRITE = 1 << 2;
        /// mprotect(2) may give PROT_EXEC.
        const MAY_EXEC = 1 << 3;
        /// MAP_GROWSDOWN, the stack.
        const GROWS_DOWN = 1 << 4;
        /// mlock(2).
        const LOCKED = 1 << 5;
        /// mlock2(2) MLOCK_ONFAULT.
        const LOCK_ON_FAULT = 1 << 6;
        /// MAP_NORESERVE.
        const NO_RESERVE = 1 << 7;
        /// MADV_DONTFORK.
        const DONT_FORK = 1 << 8;
        /// MADV_WIPEONFORK.
        const WIPE_ON_FORK = 1 << 9;
        /// MADV_DONTDUMP.
        const DONT_DUMP = 1 << 10;
        /// MADV_SEQUENTIAL.
        const SEQUENTIAL = 1 << 11;
        /// MADV_RANDOM.
        const RANDOM = 1 << 12;
        /// MADV_HUGEPAGE.
        const HUGE_PAGE = 1 << 13;
        /// MADV_NOHUGEPAGE, MAP_STACK.
        const NO_HUGE_PAGE = 1 << 14;
    }
}

impl Prot {
    /// From the argument of a system call; other bits are dropped.
    pub const fn from_arg(prot: u64) -> Self {
        Self::from_bits_truncate((prot & 7) as u8)
    }
}

impl VmaFlags {
    /// What a private mapping of readable memory may become.
    pub const MAY_ALL: Self = Self::MAY_READ.union(Self::MAY_WRITE).union(Self::MAY_EXEC);

    /// Whether mprotect(2) may give `prot`.
    pub fn allows(self, prot: Prot) -> bool {
        (!prot.contains(Prot::READ) || self.contains(Self::MAY_READ))
            && (!prot.contains(Prot::WRITE) || self.contains(Self::MAY_WRITE))
            && (!prot.contains(Prot::EXEC) || self.contains(Self::MAY_EXEC))
    }
}

/// A shared anonymous object.
#[derive(Debug)]
pub struct SharedAnon {
    /// Inode number shown in /proc/PID/maps.
    pub ino: u64,
    /// The host memfd whose pages it has.
    pub fd: Arc<OwnedFd>,
}

/// What the pages are.
#[derive(Clone)]
pub enum Backing {
    /// Private zero pages.
    Anon,
    /// Shared zero pages (MAP_SHARED|MAP_ANONYMOUS), from byte `offset` of the object on.
    SharedAnon {
        object: Arc<SharedAnon>,
        offset: u64,
    },
    /// A file, from byte `offset` on.
    File { file: Arc<File>, offset: u64 },
    /// A System V segment, from byte `offset` on.
    Shm {
        attach: Arc<Attachment>,
        offset: u64,
    },
}

impl Backing {
    /// The byte of the object that the mapping starts with; 0 for private anonymous memory.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Anon => 0,
            Self::SharedAnon { offset, .. }
            | Self::File { offset, .. }
            | Self::Shm { offset, .. } => *offset,
        }
    }

    /// The same object, starting `by` bytes later.
    fn advance(&mut self, by: u64) {
        match self {
            Self::Anon => {}
            Self::SharedAnon { offset, .. }
            | Self::File { offset, .. }
            | Self::Shm { offset, .. } => {
                *offset = offset.wrapping_add(by);
            }
        }
    }

    /// Whether `next` goes on where `len` bytes of this end.
    fn continues(&self, len: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Anon, Self::Anon) => true,
            (
                Self::SharedAnon {
                    object: a,
                    offset: o,
                },
                Self::SharedAnon {
                    object: b,
                    offset: p,
                },
            ) => Arc::ptr_eq(a, b) && o.wrapping_add(len) == *p,
            (Self::File { file: a, offset: o }, Self::File { file: b, offset: p }) => {
                Arc::ptr_eq(a, b) && o.wrapping_add(len) == *p
            }
            (
                Self::Shm {
                    attach: a,
                    offset: o,
                },
                Self::Shm {
                    attach: b,
                    offset: p,
                },
            ) => Arc::ptr_eq(a, b) && o.wrapping_add(len) == *p,
            _ => false,
        }
    }
}

/// Private writable and no stack: what RLIMIT_DATA counts (is_data_mapping).
pub fn is_data(prot: Prot, flags: VmaFlags) -> bool {
    prot.contains(Prot::WRITE) && !flags.intersects(VmaFlags::SHARED | VmaFlags::GROWS_DOWN)
}

/// A mapping.
#[derive(Clone)]
pub struct Vma {
    /// Where. Page aligned, never empty.
    pub span: Span,
    /// Rights now.
    pub prot: Prot,
    /// Everything else.
    pub flags: VmaFlags,
    /// What the pages are.
    pub backing: Backing,
    /// PR_SET_VMA_ANON_NAME.
    pub name: Option<Arc<[u8]>>,
    /// The text that it shares with other processes.
    pub text: Option<TextPart>,
}

impl Vma {
    /// Private anonymous memory with rights `prot`.
    pub fn anon(span: Span, prot: Prot) -> Self {
        Self {
            span,
            prot,
            flags: VmaFlags::MAY_ALL,
            backing: Backing::Anon,
            name: None,
            text: None,
        }
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.span.len()
    }

    /// Length in pages.
    pub fn pages(&self) -> u64 {
        self.bytes() / PAGE
    }

    /// MAP_SHARED.
    pub fn is_shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }

    /// [`is_data`].
    pub fn is_data(&self) -> bool {
        is_data(self.prot, self.flags)
    }

    /// Cuts the mapping in two at `at`, strictly inside it; returns the upper part.
    #[must_use]
    pub fn split_off(&mut self, at: u64) -> Self {
        debug_assert!(self.span.start < at && at < self.span.end);
        let mut upper = self.clone();
        upper.span.start = at;
        upper.backing.advance(at - self.span.start);
        self.span.end = at;
        upper
    }

    /// Whether `next`, which must follow directly, could be part of this mapping.
    pub fn merges_with(&self, next: &Self) -> bool {
        self.span.end == next.span.start
            && self.prot == next.prot
            && self.flags == next.flags
            && !self.flags.contains(VmaFlags::GROWS_DOWN)
            && self.backing.continues(self.bytes(), &next.backing)
            && self.name == next.name
            && self.text == next.text
    }
}
