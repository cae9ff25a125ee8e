//! Texts that are rewritten once for all processes (docs/SYSTRAP.md).
//!
//! A file whose text has been mapped a few times gets a copy with its call sites rewritten ([`systrap::SharedText`]),
//! made in the background; whoever maps the same piece of the same file from then on, and has room for the trampolines
//! below the image, maps the copy in its place. To the application it is the file.
//!
//! A copy is of the file as it was: its size and times tell whether it still is so (a change within the last seconds
//! might not show in them, so the file must have been left alone for that long), and while somebody inside may write to
//! the file nobody gets a copy.
//!
//! # Invariants
//! - A mapping of a copy is never writable: before it becomes so, or moves, the file's own pages take its place
//!   ([`State::restore_text`]). So what the copy has is what is there.
//! - The trampolines stay as long as there is something in the place of the text ([`TextPlace`]).
//!
//! # Locks
//! `Texts::inner` is a leaf; copies are made without it.

use super::Mm;
use super::layout::MMAP_MIN_ADDR;
use super::map::VmaMap;
use super::plan::{Act, Step, Steps, Stop};
use super::span::{PAGE, Span};
use super::state::{Limits, MAX_MAP_COUNT, State};
use super::vma::{Backing, Prot, Vma, VmaFlags};
use crate::host::{event, fs, io};
use crate::vfs::File;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use systrap::{Platform, SharedText};

/// At which mapping of a text its copy is made: a process saves some 50 µs by it, and it costs about as much for each
/// 100 KiB.
const fn uses_for(len: u64) -> u32 {
    (USES_MIN + len / USE_WORTH) as u32
}
const USES_MIN: u64 = 3;
const USE_WORTH: u64 = 512 << 10;
/// Longest text that is copied.
const LEN_MAX: u64 = 16 << 20;
/// Bytes of all copies, those included that are mapped but out of date.
const TOTAL_MAX: u64 = 64 << 20;
/// Copies at most: each has two descriptors.
const COPIES_MAX: usize = 64;
/// Files that are remembered.
const FILES_MAX: usize = 1024;
/// Pieces of one file.
const PIECES_MAX: usize = 4;
/// Places of copies in one address space.
const PLACES_MAX: usize = 1024;
/// How long a file must have been left alone, nanoseconds: coarser than any file system's times.
const SETTLED: i128 = 2_000_000_000;

/// A copy of a piece of a file.
pub struct TextCopy {
    /// The copy.
    pub shared: Arc<SharedText>,
    /// The file's own, from `offset` on.
    pub fd: Arc<OwnedFd>,
    /// Byte of the file that it starts with.
    pub offset: u64,
}

/// What a mapping has of a copy: a part of its text if the mapping is one of a file, else of its trampolines.
#[derive(Clone)]
pub struct TextPart {
    /// Whose.
    pub copy: Arc<TextCopy>,
    /// The pages are the file's own all the same.
    pub own: bool,
}

impl PartialEq for TextPart {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.copy, &other.copy) && self.own == other.own
    }
}

/// Where a copy was mapped. Its trampolines stay as long as there is anything in the text's place: threads may be in them,
/// and programs have been seen to copy their text and map the copy, jumps and all, over it (for huge pages).
#[derive(Clone, Copy, Debug)]
pub struct TextPlace {
    /// Of the trampolines.
    pub area: Span,
    /// Of the text.
    pub text: Span,
}

/// What tells that a file is as it was.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mtime: i128,
    ctime: i128,
}

type Key = (u64, u64);

enum Progress {
    /// So many times mapped.
    Used(u32),
    Making,
    Ready(Arc<TextCopy>),
    /// There is nothing to rewrite.
    Never,
}

struct Piece {
    offset: u64,
    len: u64,
    stamp: Stamp,
    progress: Progress,
    last: u64,
}

#[derive(Default)]
struct Inner {
    files: HashMap<Key, Vec<Piece>>,
    /// Out of date, and perhaps still mapped.
    old: Vec<Weak<TextCopy>>,
    clock: u64,
}

/// The copies of one sandbox.
pub struct Texts {
    platform: Arc<Platform>,
    inner: Mutex<Inner>,
    /// Copies there are. Written with the lock held.
    ready: AtomicUsize,
}

/// The identity of a file, and what it is like now.
fn look(fd: &OwnedFd) -> Option<(Key, Stamp)> {
    let st = fs::statx(fd.as_fd(), b"").ok()?;
    let time =
        |t: &libc::statx_timestamp| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
    let key = (
        libc::makedev(st.stx_dev_major, st.stx_dev_minor),
        st.stx_ino,
    );
    let stamp = Stamp {
        size: st.stx_size,
        mtime: time(&st.stx_mtime),
        ctime: time(&st.stx_ctime),
    };
    Some((key, stamp))
}

impl Stamp {
    /// Whether a further change would show.
    fn is_settled(&self) -> bool {
        let now = event::clock_ns(libc::CLOCK_REALTIME).unwrap_or(0);
        self.ctime.max(self.mtime) + SETTLED < now
    }
}

/// Whether the mappings of this file may be of a copy: a file of the host's that nobody inside can write to.
fn is_plain(file: &File) -> bool {
    let writers = file.path().map(|p| p.inode().ext().writers());
    file.ops.is_host_file() && writers == Some(0)
}

impl Texts {
    /// None yet.
    pub fn new(platform: &Arc<Platform>) -> Arc<Self> {
        Arc::new(Self {
            platform: Arc::clone(platform),
            inner: Mutex::default(),
            ready: AtomicUsize::new(0),
        })
    }

    /// Bytes to leave below a first mapping of `file`, for the trampolines of the copy that its text may get.
    pub fn room(&self, file: &File, fd: &OwnedFd) -> u64 {
        if self.ready.load(Ordering::Relaxed) == 0 || !is_plain(file) {
            return 0;
        }
        let Some((key, stamp)) = look(fd) else {
            return 0;
        };
        let inner = self.inner.lock();
        let has = |p: &Piece| p.stamp == stamp && matches!(p.progress, Progress::Ready(_));
        match inner.files.get(&key) {
            Some(pieces) if pieces.iter().any(has) => systrap::code_area_len(),
            _ => 0,
        }
    }

    /// The copy for a mapping of `len` bytes of `file` from `offset` on, which is byte `offset` of `fd` too; private,
    /// readable and executable. Counts the mapping, and has a copy made when there have been some.
    /// `lead`: how far above the image's start the mapping is.
    pub fn get(
        self: &Arc<Self>,
        file: &File,
        fd: &Arc<OwnedFd>,
        offset: u64,
        len: u64,
        lead: u64,
    ) -> Option<Arc<TextCopy>> {
        if len > LEN_MAX || !self.platform.rewrites() || !is_plain(file) {
            return None;
        }
        let (key, stamp) = look(fd)?;
        // Beyond the last page of the file there is nothing to copy.
        if offset.checked_add(len)? > super::page_up(stamp.size) {
            return None;
        }
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let piece = inner.piece(key, offset, len, stamp)?;
        piece.last = clock;
        match &mut piece.progress {
            Progress::Ready(copy) => return Some(Arc::clone(copy)),
            Progress::Used(n) if *n + 1 >= uses_for(len) && stamp.is_settled() => {
                piece.progress = Progress::Making;
            }
            Progress::Used(n) => {
                *n = n.saturating_add(1);
                return None;
            }
            Progress::Making | Progress::Never => return None,
        }
        let fits = inner.make_room(len);
        self.count(&inner);
        if !fits {
            if let Some(piece) = inner.piece(key, offset, len, stamp) {
                piece.progress = Progress::Used(0);
            }
            return None;
        }
        drop(inner);
        let (this, fd) = (Arc::clone(self), Arc::clone(fd));
        crate::executor::blocking::background(move || {
            let made = this.make(&fd, offset, len, lead, stamp);
            this.made(key, offset, len, stamp, made);
        });
        None
    }

    fn make(
        &self,
        fd: &Arc<OwnedFd>,
        offset: u64,
        len: u64,
        lead: u64,
        stamp: Stamp,
    ) -> Option<Arc<TextCopy>> {
        let began = event::monotonic_ns();
        let read = |at: u64, mut buf: &mut [u8]| {
            let mut at = offset + at;
            while !buf.is_empty() {
                match io::read(fd.as_fd(), Some(at), buf) {
                    Ok(0) => break,
                    Ok(n) => (at, buf) = (at + n as u64, buf.get_mut(n..).unwrap_or_default()),
                    Err(e) => return Err(std::io::Error::from_raw_os_error(e.raw())),
                }
            }
            // Behind the end of the file.
            buf.fill(0);
            Ok(())
        };
        let shared = self.platform.share_text(len, lead, read).ok()??;
        let (_, now) = look(fd)?;
        if now != stamp {
            return None;
        }
        let us = event::monotonic_ns().saturating_sub(began) / 1000;
        tracing::debug!(len, sites = shared.sites(), us, "a text is shared");
        Some(Arc::new(TextCopy {
            shared: Arc::new(shared),
            fd: Arc::clone(fd),
            offset,
        }))
    }

    fn made(&self, key: Key, offset: u64, len: u64, stamp: Stamp, made: Option<Arc<TextCopy>>) {
        let mut inner = self.inner.lock();
        let pieces = inner.files.get_mut(&key);
        let same = |p: &&mut Piece| (p.offset, p.len, p.stamp) == (offset, len, stamp);
        if let Some(piece) = pieces.and_then(|pieces| pieces.iter_mut().find(same)) {
            piece.progress = made.map_or(Progress::Never, Progress::Ready);
        }
        self.count(&inner);
    }

    fn count(&self, inner: &Inner) {
        let ready = inner
            .pieces()
            .filter(|p| matches!(p.progress, Progress::Ready(_)));
        self.ready.store(ready.count(), Ordering::Relaxed);
    }
}

impl Inner {
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.files.values().flatten()
    }

    /// The record of a piece of a file as it is now.
    fn piece(&mut self, key: Key, offset: u64, len: u64, stamp: Stamp) -> Option<&mut Piece> {
        if !self.files.contains_key(&key) && self.files.len() >= FILES_MAX {
            let kept = |p: &Piece| matches!(p.progress, Progress::Making | Progress::Ready(_));
            self.files.retain(|_, pieces| pieces.iter().any(kept));
        }
        let pieces = self.files.entry(key).or_default();
        let outdated = pieces.extract_if(.., |p| p.stamp != stamp);
        for piece in outdated {
            if let Progress::Ready(copy) = piece.progress {
                self.old.push(Arc::downgrade(&copy));
            }
        }
        let at = pieces
            .iter()
            .position(|p| (p.offset, p.len) == (offset, len));
        let at = match at {
            Some(at) => at,
            None if pieces.len() >= PIECES_MAX => return None,
            None => {
                pieces.push(Piece {
                    offset,
                    len,
                    stamp,
                    progress: Progress::Used(0),
                    last: 0,
                });
                pieces.len() - 1
            }
        };
        pieces.get_mut(at)
    }

    /// Whether there is room for one that is being made, of `len` bytes and counted already. Gives up copies that
    /// nobody has mapped, the one not used for longest first.
    fn make_room(&mut self, len: u64) -> bool {
        if len > TOTAL_MAX {
            return false;
        }
        loop {
            self.old.retain(|copy| copy.strong_count() > 0);
            let old = self.old.iter().filter_map(Weak::upgrade);
            let (mut copies, mut bytes) = (0, 0);
            for copy in old {
                copies += 1;
                bytes += copy.shared.len();
            }
            for piece in self.pieces() {
                if matches!(piece.progress, Progress::Making | Progress::Ready(_)) {
                    copies += 1;
                    bytes += piece.len;
                }
            }
            if copies <= COPIES_MAX && bytes <= TOTAL_MAX {
                return true;
            }
            let idle = |p: &&mut Piece| match &p.progress {
                Progress::Ready(copy) => Arc::strong_count(copy) == 1,
                _ => false,
            };
            let pieces = self.files.values_mut().flatten();
            let Some(piece) = pieces.filter(idle).min_by_key(|p| p.last) else {
                return false;
            };
            piece.progress = Progress::Used(0);
        }
    }
}

impl TextCopy {
    /// Where its trampolines must be if its text is at `start`.
    pub fn area(&self, start: u64) -> Option<Span> {
        let at = self.shared.area_of(start)?;
        (at >= MMAP_MIN_ADDR).then(|| Span::at(at, systrap::code_area_len()))
    }

    /// Where they can be, in a map that may have no other such mapping.
    pub fn free_area(self: &Arc<Self>, map: &VmaMap, span: Span) -> Option<Span> {
        let area = self.area(span.start)?;
        (span.len() == self.shared.len() && map.is_free(area)).then_some(area)
    }

    /// The mapping of its trampolines.
    pub fn area_vma(self: &Arc<Self>, area: Span) -> Vma {
        let mut vma = Vma::anon(area, Prot::READ | Prot::EXEC);
        vma.flags |= VmaFlags::NO_RESERVE;
        vma.text = Some(self.part());
        vma
    }

    /// For a mapping of it.
    pub fn part(self: &Arc<Self>) -> TextPart {
        TextPart {
            copy: Arc::clone(self),
            own: false,
        }
    }
}

impl std::fmt::Debug for TextCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl Vma {
    /// The copy that this is a part of the text of, and where that starts.
    fn text_start(&self) -> Option<(&TextPart, u64)> {
        let part = self.text.as_ref()?;
        let Backing::File { offset, .. } = self.backing else {
            return None;
        };
        let into = offset.checked_sub(part.copy.offset)?;
        Some((part, self.span.start.checked_sub(into)?))
    }
}

impl Mm {
    /// Copies from the application's memory as debuggers are to see it: what has been rewritten for all is as in its file.
    /// The number of bytes before the first fault.
    pub fn read_as_loaded(&self, addr: u64, buf: &mut [u8]) -> usize {
        let got = self.space.read(addr, buf);
        let there = Span::at(addr, got as u64);
        self.with(|state| {
            for vma in state.map.in_span(there) {
                let Some((part, start)) = vma.text_start().filter(|(part, _)| !part.own) else {
                    continue;
                };
                let piece = vma.span.intersect(there);
                let (from, to) = (piece.start - addr, piece.end - addr);
                if let Some(bytes) = buf.get_mut(from as usize..to as usize) {
                    part.copy.shared.restore(piece.start - start, bytes);
                }
            }
        });
        got
    }
}

impl State {
    /// Whether a mapping at `span` of `file`, asked for by the instruction at `rip`, is one of an image as ld.so loads it;
    /// then how far above the image's start. Translators of machine code (valgrind, DynamoRIO) would follow our jumps to
    /// where they can't go, so they get the files' own text: the former asks for fixed addresses only, the latter makes
    /// calls from text of its own making.
    pub fn lead(&self, rip: u64, span: Span, file: &Arc<File>) -> Option<u64> {
        let of_file = |vma: &Vma| {
            matches!(vma.backing, Backing::File { .. })
                && vma.prot.contains(Prot::EXEC)
                && !vma.prot.contains(Prot::WRITE)
        };
        let image = self
            .placed
            .iter()
            .find(|p| p.start <= span.start && span.end <= p.end)?;
        let same = match &self.map.at(span.start)?.backing {
            Backing::File { file: f, .. } => Arc::ptr_eq(f, file),
            _ => false,
        };
        (same && of_file(self.map.at(rip)?)).then(|| span.start - image.start)
    }

    /// Notes a mapping of a file from its start on, whose place was ours to choose.
    pub fn note_placed(&mut self, span: Span) {
        let next = self.placed_next % self.placed.len();
        self.placed[next] = span;
        self.placed_next = next + 1;
    }

    /// What starts in `span` is not of such a mapping any more.
    pub fn forget_placed(&mut self, span: Span) {
        for placed in &mut self.placed {
            if span.contains(placed.start) {
                *placed = Span::default();
            }
        }
    }

    /// Where the trampolines of `copy` go, if its text can be mapped at `span`.
    pub fn text_area(
        &self,
        tid: i32,
        limits: &Limits,
        copy: &Arc<TextCopy>,
        span: Span,
    ) -> Option<Span> {
        let area = copy.free_area(&self.map, span)?;
        let vma = copy.area_vma(area);
        let allowed = self.texts.len() < PLACES_MAX
            && self.map.len() + 4 <= MAX_MAP_COUNT
            && self.check_pending(tid, area).is_ok()
            && self.may_expand(limits, &vma, (area.len() + span.len()) / PAGE);
        allowed.then_some(area)
    }

    /// Puts the file's own pages in the place of copies that are mapped in `span`, before something is done there that
    /// they can't bear; in all of such a text, for a jump may lie across two pages.
    pub fn restore_text(&mut self, tid: i32, span: Span) -> Result<Steps, Stop> {
        let mut steps = Steps::new();
        let shared = |v: &Vma| {
            v.text_start()
                .filter(|(part, _)| !part.own)
                .map(|(_, at)| at)
        };
        let whole = |v: &Vma| Some(Span::at(shared(v)?, v.text.as_ref()?.copy.shared.len()));
        loop {
            let found = self.map.in_span(span).find_map(whole);
            let Some(whole) = found else { break };
            self.check_pending(tid, whole)?;
            for old in self.copy(whole) {
                if shared(&old) != Some(whole.start) {
                    continue;
                }
                let Some(part) = &old.text else { continue };
                let act = Act::MapFd {
                    fd: Arc::clone(&part.copy.fd),
                    offset: old.backing.offset(),
                    span: old.span,
                    prot: old.prot,
                    flags: libc::MAP_PRIVATE,
                };
                self.update(old.span, |vma| {
                    if let Some(part) = &mut vma.text {
                        part.own = true;
                    }
                });
                let span = old.span;
                steps.push(Step::with_undo(act, &[span], vec![old]));
            }
        }
        Ok(steps)
    }

    /// Takes away the trampolines of texts in whose place nothing is left after `gone` was unmapped.
    pub fn free_areas(&mut self, gone: Span) -> Steps {
        let mut steps = Steps::new();
        let map = &self.map;
        let unused = |t: &mut TextPlace| t.text.overlaps(gone) && map.is_free(t.text);
        let unused: Vec<TextPlace> = self.texts.extract_if(.., unused).collect();
        for TextPlace { area, .. } in unused {
            // Something else may be there by now.
            let there = self.map.in_span(area).filter(|v| v.text.is_some());
            let there: Vec<Span> = there.map(|v| v.span.intersect(area)).collect();
            for span in there {
                steps.extend(self.unmap_step(span));
            }
        }
        steps
    }

    /// Notes where a copy is mapped, and adds the mapping of its trampolines.
    pub fn add_text(&mut self, copy: &Arc<TextCopy>, area: Span, text: Span) {
        self.insert(copy.area_vma(area));
        self.texts.retain(|t| t.area != area);
        self.texts.push(TextPlace { area, text });
    }
}
