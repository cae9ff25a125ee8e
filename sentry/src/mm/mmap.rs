//! mmap(2), munmap(2).

use super::layout::Wish;
use super::plan::{Act, Done, Outcome, Step, Steps, Stop};
use super::shm::Attachment;
use super::span::{PAGE, Span, TASK_SIZE, page_aligned, page_up};
use super::state::{Caller, State};
use super::text::TextCopy;
use super::vma::{Backing, Prot, SharedAnon, Vma, VmaFlags};
use crate::vfs::File;
use arch::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What is to be mapped.
#[derive(Clone)]
pub enum Source {
    /// Private zero pages.
    Anon,
    /// A fresh shared object.
    SharedAnon(Arc<SharedAnon>),
    /// A file from byte `offset` on, which is byte `host_offset` of the host descriptor.
    File {
        file: Arc<File>,
        offset: u64,
        fd: Arc<OwnedFd>,
        host_offset: u64,
        /// What to map in its place if there is room for the trampolines.
        text: Option<Arc<TextCopy>>,
        /// Bytes to leave below, for those of a later mapping.
        room: u64,
    },
    /// A System V segment.
    Shm {
        attach: Arc<Attachment>,
        fd: Arc<OwnedFd>,
    },
}

/// A call of mmap(2) whose file, if any, has been looked at.
#[derive(Clone)]
pub struct MapCall {
    /// The address argument.
    pub addr: u64,
    /// Bytes, page aligned, not 0.
    pub len: u64,
    /// Rights.
    pub prot: Prot,
    /// The flags argument.
    pub flags: i32,
    /// What mprotect(2) may give later, and SHARED.
    pub may: VmaFlags,
    /// What is to be mapped.
    pub source: Source,
}

/// MAP_FIXED or MAP_FIXED_NOREPLACE.
const FIXED: i32 = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE;

impl MapCall {
    /// What its place depends on.
    pub fn wish(&self) -> Wish {
        Wish {
            addr: self.addr,
            len: self.len,
            fixed: self.flags & FIXED != 0,
            low: self.flags & libc::MAP_32BIT != 0,
            anon: matches!(self.source, Source::Anon | Source::SharedAnon(_)),
            room: match self.source {
                Source::File { room, .. } => room,
                _ => 0,
            },
        }
    }

    fn vma(&self, span: Span, lock_future: VmaFlags) -> Vma {
        let mut flags = self.may | lock_future;
        let mut give =
            |map: i32, flag| flags.set(flag, self.flags & map != 0 || flags.contains(flag));
        give(libc::MAP_GROWSDOWN, VmaFlags::GROWS_DOWN);
        give(libc::MAP_LOCKED, VmaFlags::LOCKED);
        give(libc::MAP_NORESERVE, VmaFlags::NO_RESERVE);
        give(libc::MAP_STACK, VmaFlags::NO_HUGE_PAGE);
        let backing = match &self.source {
            Source::Anon => Backing::Anon,
            Source::SharedAnon(object) => Backing::SharedAnon {
                object: Arc::clone(object),
                offset: 0,
            },
            Source::File { file, offset, .. } => Backing::File {
                file: Arc::clone(file),
                offset: *offset,
            },
            Source::Shm { attach, .. } => Backing::Shm {
                attach: Arc::clone(attach),
                offset: 0,
            },
        };
        Vma {
            span,
            prot: self.prot,
            flags,
            backing,
            name: None,
            text: None,
        }
    }

    /// The copy to map, with the place of its trampolines.
    fn text(&self, state: &State, who: &Caller, vma: &Vma) -> Option<(Arc<TextCopy>, Span)> {
        let Source::File {
            text: Some(copy), ..
        } = &self.source
        else {
            return None;
        };
        let plain = vma.prot == Prot::READ | Prot::EXEC && !vma.flags.contains(VmaFlags::LOCKED);
        let area = state.text_area(who.tid, &who.limits, copy, vma.span)?;
        plain.then(|| (Arc::clone(copy), area))
    }

    fn act(&self, vma: &Vma) -> Act {
        let (span, prot) = (vma.span, vma.prot);
        let mut flags = self.flags & (libc::MAP_NORESERVE | libc::MAP_POPULATE);
        if vma.flags.contains(VmaFlags::LOCKED) && !vma.flags.contains(VmaFlags::LOCK_ON_FAULT) {
            flags |= libc::MAP_POPULATE;
        }
        let kind = if vma.is_shared() {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        let (fd, offset) = match &self.source {
            Source::Anon => {
                let flags = flags | self.flags & libc::MAP_STACK;
                return Act::MapAnon { span, prot, flags };
            }
            Source::SharedAnon(object) => (&object.fd, 0),
            Source::Shm { fd, .. } => (fd, 0),
            Source::File {
                fd, host_offset, ..
            } => (fd, *host_offset),
        };
        Act::MapFd {
            fd: Arc::clone(fd),
            offset,
            span,
            prot,
            flags: flags | kind,
        }
    }
}

impl State {
    /// mmap(2) from the choice of the address on.
    pub fn mmap(&mut self, who: &Caller, call: &MapCall) -> Outcome {
        self.check_count(1)?;
        let at = self.choose(who.tid, &call.wish())?;
        let span = Span::at(at, call.len);
        if call.flags & libc::MAP_FIXED_NOREPLACE != 0 && !self.map.is_free(span) {
            return Err(Stop::Errno(Errno::EEXIST));
        }
        let mut vma = call.vma(span, self.lock_future);
        if vma.flags.contains(VmaFlags::LOCKED) {
            let allowed = who.limits.ipc_lock || who.limits.memlock != 0;
            if call.flags & libc::MAP_LOCKED != 0 && !allowed {
                return Err(Stop::Errno(Errno::EPERM));
            }
            if !self.may_lock(&who.limits, call.len) {
                return Err(Stop::Errno(Errno::EAGAIN));
            }
        }
        let replaced: u64 = self
            .map
            .in_span(span)
            .map(|v| v.span.intersect(span).len() / PAGE)
            .sum();
        if !self.may_expand(&who.limits, &vma, vma.pages() - replaced) {
            return Err(Stop::Errno(Errno::ENOMEM));
        }
        self.check_count(self.cuts(span) + 1)?;
        self.check_pending(who.tid, span)?;
        let mut steps = Steps::new();
        let act = match call.text(self, who, &vma) {
            Some((copy, area)) => {
                vma.text = Some(copy.part());
                self.add_text(&copy, area, span);
                let act = Act::MapCode {
                    copy: Arc::clone(&copy),
                    span: area,
                };
                steps.push(Step::with_undo(act, &[area], Vec::new()));
                Act::MapText { copy, span }
            }
            None => call.act(&vma),
        };
        self.forget_placed(span);
        let whole = matches!(call.source, Source::File { offset: 0, .. });
        if whole && call.flags & FIXED == 0 && call.prot == Prot::READ && !vma.is_shared() {
            self.note_placed(span);
        }
        let old = self.take(span);
        self.insert(vma);
        steps.push(Step::with_undo(act, &[span], old));
        Ok(Done {
            answer: Ok(at),
            steps,
        })
    }

    /// munmap(2). EINVAL for an address that isn't page aligned, or a range beyond the address space or empty.
    pub fn munmap(&mut self, who: &Caller, addr: u64, len: u64) -> Outcome {
        if !page_aligned(addr) || addr > TASK_SIZE || len > TASK_SIZE - addr || len == 0 {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        let span = Span::at(addr, page_up(len));
        self.check_pending(who.tid, span)?;
        if self.cuts(span) == 2 && self.map.in_span(span).nth(1).is_none() {
            self.check_count(1)?;
        }
        let mut steps: Steps = self.unmap_step(span).into_iter().collect();
        steps.extend(self.free_areas(span));
        self.forget_placed(span);
        Ok(Done {
            answer: Ok(0),
            steps,
        })
    }

    /// shmdt(2): takes out the attachment that starts at `addr`, in whatever pieces it is. EINVAL if there is none.
    pub fn shmdt(&mut self, who: &Caller, addr: u64) -> Outcome {
        let start_of = |vma: &Vma| match &vma.backing {
            Backing::Shm { attach, offset } if vma.span.start.wrapping_sub(*offset) == addr => {
                Some(Arc::clone(attach))
            }
            _ => None,
        };
        let found = self.map.iter_from(addr).find_map(start_of);
        let attach = found.ok_or(Errno::EINVAL)?;
        let whole = Span::new(addr, addr.saturating_add(attach.segment.mapped_len()));
        self.check_pending(who.tid, whole)?;
        let is_part = |v: &&Vma| start_of(v).is_some_and(|a| Arc::ptr_eq(&a, &attach));
        let parts = self.map.in_span(whole).filter(is_part);
        let parts: Vec<Span> = parts.map(|v| v.span).collect();
        let steps = parts.into_iter().filter_map(|span| self.unmap_step(span));
        let steps = steps.collect();
        Ok(Done {
            answer: Ok(0),
            steps,
        })
    }
}
