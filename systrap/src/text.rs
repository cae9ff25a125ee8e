//! The text of a file, rewritten once for all processes of a sandbox.
//!
//! The text is copied to a memfd, with its call sites rewritten and their
//! trampolines behind it, and sealed: from then on nobody can change it, the
//! Sentry included. Processes map the copy in the file's place and the
//! trampolines at a fixed distance below ([`SharedText::area_of`]), both
//! private.
//!
//! One process's trap at a site says nothing here: a hostile one can make a
//! call from the middle of any instruction that happens to have the two bytes
//! in it, and what is written then would be run by others. So a site must be
//! plain from the file's bytes alone ([`Text::plain_form`]), and all of those
//! are rewritten at once, before anyone runs them: no torn writes, nobody
//! between two instructions of the old code but by a jump.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::layout::PAGE;
use crate::proto::*;
use crate::site::{AFTER, Form, LEN as JUMP, Placed, Text};
use crate::zygote::FAST_ENTRY;
use crate::{Platform, sys};

/// Where the text is while it is rewritten: only distances matter.
const BASE: u64 = 1 << 40;
/// The trampolines must be within reach of all of the text.
const REACH: u64 = 1 << 30;
/// Text is copied in pieces of this length.
const CHUNK: usize = 256 << 10;
/// So much text is looked at before a call.
const LOOK: usize = 256;
/// Trampolines start at multiples of this.
const GRANULE: u64 = 16;
const GRANULES: usize = (CODE_AREA / GRANULE) as usize;
const CODE_GRANULES: usize = (CODE / GRANULE) as usize;

/// What was rewritten. Offsets are those in the text, and in the area.
#[derive(Default)]
struct Sites {
    /// Trampolines, ascending.
    code: Vec<(u64, Placed)>,
    /// From the end of an old call to where it goes on in the area.
    detours: HashMap<u64, u64>,
    /// Places of the calls.
    calls: HashMap<u64, Form>,
    /// What the text was where jumps are now, ascending.
    originals: Vec<(u64, [u8; JUMP])>,
}

/// A text with its trampolines.
pub struct SharedText {
    fd: Arc<OwnedFd>,
    len: u64,
    /// From the start of the area to that of the text.
    distance: u64,
    sites: Sites,
}

/// Room for trampolines, as it fills.
struct Room {
    used: [bool; GRANULES],
    /// Nothing is free from here on.
    top: usize,
}

impl Room {
    fn new() -> Self {
        Self {
            used: [false; GRANULES],
            top: GRANULES,
        }
    }

    fn is_free(&self, at: usize) -> bool {
        let here = self.used.get(at..at + CODE_GRANULES);
        here.is_some_and(|here| !here.contains(&true))
    }

    /// An offset for the trampoline of a site whose area is at `area`. The
    /// picky form takes the first that does, from below, the other one the
    /// last.
    fn take(&mut self, area: u64, text: &Text, form: Form) -> Option<u64> {
        let at = match form {
            Form::Number(_) => {
                while self.top >= CODE_GRANULES && !self.is_free(self.top - CODE_GRANULES) {
                    self.top -= 1;
                }
                self.top.checked_sub(CODE_GRANULES)?
            }
            Form::Moved(_) => (0..GRANULES)
                .find(|at| self.is_free(*at) && text.reaches(form, area + *at as u64 * GRANULE))?,
        };
        self.used[at..at + CODE_GRANULES].fill(true);
        Some(at as u64 * GRANULE)
    }
}

/// What is rewritten, as it is found.
struct Work {
    sites: Sites,
    room: Room,
    code: Vec<u8>,
    /// By offset.
    jumps: Vec<(u64, [u8; JUMP])>,
    /// Start of the area, where the text is at `BASE`.
    area: u64,
    /// What a site takes ends here.
    taken: u64,
}

impl Work {
    fn new(distance: u64) -> Self {
        Self {
            sites: Sites::default(),
            room: Room::new(),
            code: vec![0; CODE_AREA as usize],
            jumps: Vec::new(),
            area: BASE - distance,
            taken: 0,
        }
    }

    /// Finds the plain call sites whose `syscall` starts between indexes `from`
    /// and `to` of `text`, which is the text from offset `at` on. What is
    /// before and behind is for looking at.
    fn search(&mut self, text: &[u8], at: u64, from: usize, to: usize) {
        let range = &text[from..(to + 1).min(text.len())];
        for index in memchr::memmem::find_iter(range, &[0x0f, 0x05]) {
            self.call(text, at, from + index);
        }
    }

    /// The bytes of a `syscall` are at `index`; None if it is to stay.
    fn call(&mut self, text: &[u8], at: u64, index: usize) -> Option<()> {
        let from = index.saturating_sub(LOOK);
        let to = (index + AFTER).min(text.len());
        let off = at + index as u64;
        let here = Text {
            addr: BASE + off,
            bytes: text[from..to].to_vec(),
            before: index - from,
        };
        let form = here.plain_form()?;
        let (start, end) = match form {
            Form::Number(_) => (off - JUMP as u64, off + 2),
            Form::Moved(len) => (off, off + 2 + len as u64),
        };
        let first = usize::try_from(start.checked_sub(at)?).ok()?;
        let old: [u8; JUMP] = text.get(first..first + JUMP)?.try_into().ok()?;
        if start < self.taken {
            return None;
        }
        let place = self.room.take(self.area, &here, form)?;
        let jump = here.jump(form, self.area + place, FAST_ENTRY)?;
        self.taken = end;
        self.code[place as usize..][..CODE as usize].copy_from_slice(&jump.code);
        self.jumps.push((start, jump.bytes));
        let placed = Placed { site: off, form };
        if let Some((from, to)) = placed.detour() {
            self.sites.detours.insert(from, place + to);
        }
        self.sites.originals.push((start, old));
        self.sites.calls.insert(off, form);
        self.sites.code.push((place, placed));
        Some(())
    }

    /// Looks at all of a text, piece by piece. `read` fills a buffer from an
    /// offset on.
    fn all(
        &mut self,
        len: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut text = vec![0; LOOK + CHUNK + AFTER];
        // The offset of `text`, how much of it is there, and how far the search
        // has come.
        let (mut base, mut have, mut done) = (0, 0, 0);
        while done < len {
            let end = len.min(done + CHUNK as u64);
            let until = (len.min(end + AFTER as u64) - base) as usize;
            if have < until {
                read(base + have as u64, &mut text[have..until])?;
                have = until;
            }
            let (from, to) = ((done - base) as usize, (end - base) as usize);
            self.search(&text[..have], base, from, to);
            let keep = to.saturating_sub(LOOK);
            text.copy_within(keep..have, 0);
            (base, have, done) = (base + keep as u64, have - keep, end);
        }
        self.sites.code.sort_unstable_by_key(|(at, _)| *at);
        Ok(())
    }
}

impl Platform {
    /// A copy of a text, part of a file that is mapped private, readable and
    /// executable, for all processes to map: `len` bytes that `read` gives (it
    /// fills a buffer from an offset on). Its trampolines are to be mapped
    /// right below the image, which starts `lead` bytes below the text.
    /// `Ok(None)`: nothing in it can be rewritten, or nothing is to be.
    /// EINVAL if the lengths aren't multiples of the page size, or out of reach.
    pub fn share_text(
        &self,
        len: u64,
        lead: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<Option<SharedText>> {
        let core = self.core();
        let pages = len.is_multiple_of(PAGE) && lead.is_multiple_of(PAGE);
        if !pages || lead.saturating_add(len) > REACH {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if core.patching().is_none() {
            return Ok(None);
        }
        let distance = lead + CODE_AREA;
        // Most texts make no calls of their own: they cost no memory.
        let mut work = Work::new(distance);
        work.all(len, &mut read)?;
        if work.jumps.is_empty() {
            return Ok(None);
        }
        let fd = sys::memfd(c"runsc-text", len + CODE_AREA)?;
        let mut piece = vec![0; CHUNK];
        for at in (0..len).step_by(CHUNK) {
            let piece = &mut piece[..(len - at).min(CHUNK as u64) as usize];
            read(at, piece)?;
            sys::write_at(&fd, piece, at)?;
        }
        for (at, jump) in &work.jumps {
            sys::write_at(&fd, jump, *at)?;
        }
        // Pages that have none stay holes.
        for (i, page) in (0u64..).zip(work.code.chunks(PAGE as usize)) {
            if page.iter().any(|b| *b != 0) {
                sys::write_at(&fd, page, len + i * PAGE)?;
            }
        }
        sys::seal(
            &fd,
            libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL,
        )?;
        // Threads that make texts share a place with others: each site is counted by itself.
        for _ in &work.jumps {
            core.counts.shared_sites();
        }
        Ok(Some(SharedText {
            fd: Arc::new(fd),
            len,
            distance,
            sites: work.sites,
        }))
    }
}

impl SharedText {
    /// What to map: the text from its start on, then `code_area_len()` bytes of
    /// trampolines.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Bytes of text.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where the trampolines of a text at `start` must be.
    pub fn area_of(&self, start: u64) -> Option<u64> {
        start.checked_sub(self.distance)
    }

    /// Call sites that were rewritten.
    pub fn sites(&self) -> usize {
        self.sites.calls.len()
    }

    /// Puts back what the file has, in bytes read from offset `off` of the text
    /// on.
    pub fn restore(&self, off: u64, bytes: &mut [u8]) {
        let end = off.saturating_add(bytes.len() as u64);
        let first = off.saturating_sub(JUMP as u64);
        let list = &self.sites.originals;
        let from = list.partition_point(|(at, _)| *at < first);
        for (at, old) in list[from..].iter().take_while(|(at, _)| *at < end) {
            for (at, byte) in (*at..).zip(old) {
                let to = at.checked_sub(off).and_then(|i| usize::try_from(i).ok());
                if let Some(to) = to.and_then(|to| bytes.get_mut(to)) {
                    *to = *byte;
                }
            }
        }
    }

    /// For a thread at offset `off` of the area: the offset in the text where
    /// it would be in the file's own.
    pub(crate) fn shown(&self, off: u64) -> Option<u64> {
        let list = &self.sites.code;
        let at = list.partition_point(|(at, _)| *at <= off).checked_sub(1)?;
        let (at, placed) = list.get(at)?;
        let off = off - at;
        (off < CODE).then(|| placed.shown(off as usize))
    }

    /// Where a thread that would go on at offset `off` of the text does so in
    /// the area.
    pub(crate) fn detour(&self, off: u64) -> Option<u64> {
        self.sites.detours.get(&off).copied()
    }

    /// Whether the `syscall` at offset `off` has been rewritten.
    pub(crate) fn has(&self, off: u64) -> bool {
        self.sites.calls.contains_key(&off)
    }
}

impl std::fmt::Debug for SharedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedText({} bytes, {} sites)", self.len, self.sites())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 0x2000;

    /// As all of it would be.
    fn rewrite(text: &mut [u8], distance: u64) -> (Vec<u8>, Sites) {
        let mut work = Work::new(distance);
        let old = text.to_vec();
        let read = |at: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&old[at as usize..][..buf.len()]);
            Ok(())
        };
        work.all(old.len() as u64, read).expect("no errors");
        for (at, jump) in &work.jumps {
            text[*at as usize..][..JUMP].copy_from_slice(jump);
        }
        (work.code, work.sites)
    }

    #[test]
    fn pieces_of_a_long_text_are_seen_as_one() {
        for at in CHUNK - 20..CHUNK + 10 {
            for (off, site) in [(5, &NUMBER[..]), (0, &MOVED)] {
                let mut text = vec![0x90; 2 * CHUNK + 0x1000];
                text[at..at + site.len()].copy_from_slice(site);
                let (_, sites) = rewrite(&mut text, CODE_AREA);
                assert!(sites.calls.contains_key(&((at + off) as u64)), "{at:x}");
                assert_eq!((text[at], sites.calls.len()), (0xe9, 1));
            }
        }
    }

    /// Text of one-byte instructions with pieces in it.
    fn text(pieces: &[(usize, &[u8])]) -> Vec<u8> {
        let mut text = vec![0x90; LEN];
        for (at, bytes) in pieces {
            text[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        text
    }

    /// mov $39,%eax; syscall
    const NUMBER: [u8; 7] = [0xb8, 39, 0, 0, 0, 0x0f, 5];
    /// syscall; cmp $-4096,%rax
    const MOVED: [u8; 8] = [0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff];

    fn jump(text: &[u8], at: usize) -> i64 {
        assert_eq!(text[at], 0xe9);
        let rel = i32::from_le_bytes(text[at + 1..at + 5].try_into().expect("4 bytes"));
        at as i64 + 5 + i64::from(rel)
    }

    #[test]
    fn all_plain_sites_are_rewritten() {
        let old = text(&[(0x100, &NUMBER), (0x200, &MOVED), (0x1000, &NUMBER)]);
        let mut new = old.clone();
        let (code, sites) = rewrite(&mut new, 0x3_0000);
        assert_eq!(sites.calls.len(), 3);
        for start in [0x100, 0x200, 0x1000] {
            let at = jump(&new, start) + 0x3_0000;
            assert!((0..CODE_AREA as i64).contains(&at));
            assert!(sites.code.iter().any(|(c, _)| *c == at as u64));
            assert_ne!(code[at as usize..][..CODE as usize], [0; CODE as usize]);
        }
        assert_eq!(new[0x105..0x107], [0x0f, 5], "the call stays");
        let shared = SharedText {
            fd: Arc::new(sys::memfd(c"test", 0).expect("a memfd")),
            len: LEN as u64,
            distance: 0x3_0000,
            sites,
        };
        assert!(shared.has(0x105) && shared.has(0x200) && !shared.has(0x100));
        let to = shared.detour(0x202).expect("leads around");
        assert_eq!(shared.shown(to), Some(0x202));
        assert_eq!(shared.detour(0x107), None);
        let mut seen = new.clone();
        shared.restore(0, &mut seen);
        assert_eq!(seen, old);
        for (from, to) in [
            (0x102, 0x104),
            (0xfe, 0x102),
            (0x200, 0x1003),
            (0x103, 0x110),
        ] {
            let mut seen = new[from..to].to_vec();
            shared.restore(from as u64, &mut seen);
            assert_eq!(seen, old[from..to], "{from:x}");
        }
    }

    #[test]
    fn what_only_looks_like_a_call_stays() {
        // mov $0x050f…,%ecx; movabs; a displacement.
        let cases: [&[u8]; 4] = [
            &[0xb9, 0x0f, 0x05, 0x48, 0x3d, 0x90, 0x90, 0x90],
            &[0x48, 0xb8, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0],
            &[0x8b, 0x80, 0x0f, 0x05, 0x48, 0x3d, 0x90, 0x90],
            &[0xc7, 0x05, 0, 0x0f, 0x05, 0x00, 0x48, 0x89, 0xc7, 0x90],
        ];
        for case in cases {
            let old = text(&[(0x100, case)]);
            let mut new = old.clone();
            let (_, sites) = rewrite(&mut new, CODE_AREA);
            assert_eq!(sites.calls.len(), 0, "{case:x?}");
            assert_eq!(new, old);
        }
    }

    #[test]
    fn sites_keep_out_of_each_others_way() {
        // The second mov would be moved by the first call.
        let both = [0x31, 0xc0, 0x0f, 5, 0xb8, 60, 0, 0, 0, 0x0f, 5, 0x90];
        let mut new = text(&[(0x100, &both)]);
        let (_, sites) = rewrite(&mut new, CODE_AREA);
        assert_eq!(sites.calls.len(), 1);
        // Right behind one another.
        let both = [NUMBER, NUMBER].concat();
        let mut new = text(&[(0x100, &both)]);
        let (_, sites) = rewrite(&mut new, CODE_AREA);
        assert_eq!(sites.calls.len(), 2);
        assert_eq!((new[0x100], new[0x107]), (0xe9, 0xe9));
        assert_eq!(new[0x105..0x107], [0x0f, 5]);
    }

    #[test]
    fn cache_lines_matter_not() {
        for start in 0xfe0..0x1010 {
            let mut new = text(&[(start, &NUMBER)]);
            let (_, sites) = rewrite(&mut new, CODE_AREA);
            assert_eq!(sites.calls.len(), 1, "{start:x}");
        }
    }

    #[test]
    fn a_full_room_takes_no_more() {
        let mut text = Vec::new();
        while text.len() < 64 << 10 {
            text.extend_from_slice(&NUMBER);
            text.push(0x90);
        }
        let (_, sites) = rewrite(&mut text, CODE_AREA);
        assert_eq!(sites.calls.len() as u64, CODE_AREA / CODE);
        let mut starts: Vec<u64> = sites.code.iter().map(|(at, _)| *at).collect();
        starts.dedup();
        assert!(starts.windows(2).all(|w| w[0] + CODE <= w[1]));
    }
}
