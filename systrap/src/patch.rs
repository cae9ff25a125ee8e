//! Rewritten call sites of an address space.
//!
//! The Sentry counts a site's traps, and once there have been enough has the
//! stub rewrite it: the trampoline first, then the jump to it (`A_PATCH`).
//! site.rs says what is written.
//!
//! What an application sees of its threads is always the text as it was:
//! [`Thread::shown`] and [`Thread::settle`] translate addresses in trampolines
//! to it, [`Thread::lead_around`] the other way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::layout::TASK_SIZE;
use crate::proto::*;
use crate::site::{AFTER, BEFORE, Form, Placed, Text};
use crate::zygote::FAST_ENTRY;
use crate::{AddressSpace, SharedText, Thread};

/// Sites that are counted in one address space.
const SITES_MAX: usize = 8192;
/// Mappings with room for trampolines: programs have their texts near each other.
const AREAS_MAX: usize = 32;
/// Calls after which no event comes.
const EXITS: [u32; 2] = [60, 231];
/// The number of a call that goes on where a signal had interrupted it: not the one that its site makes.
const RESTART_SYSCALL: u32 = 219;
/// Trampolines start at multiples of this.
const GRANULE: u64 = 16;

/// Where a call has trapped often enough: `address` is that of the `syscall`
/// instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapSite {
    pub address: u64,
    nr: u64,
}

/// What became of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// `perform` (or the next resume) rewrites it. What was prefetched for the
    /// call is there after `perform` too.
    Queued,
    /// It stays as it is, now or for good.
    Refused,
    /// There is no room for a trampoline within reach: give one
    /// ([`Thread::add_code_area`]) and try again.
    NeedsArea,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Traps(u32),
    Done,
}

#[derive(Clone, Default)]
struct Area {
    /// By offset.
    code: BTreeMap<u64, Placed>,
}

#[derive(Clone, Copy)]
struct Detour {
    to: u64,
    /// The trampoline is known to be there.
    sure: bool,
}

/// A text for all processes as it is mapped here.
#[derive(Clone)]
struct Attached {
    text: Arc<SharedText>,
    /// Where it starts, or would.
    start: u64,
    /// Where its area does.
    area: u64,
}

#[derive(Clone, Default)]
struct Inner {
    sites: HashMap<u64, State>,
    /// By start address.
    areas: BTreeMap<u64, Area>,
    /// Addresses where a thread can't go on since the text was rewritten.
    detours: HashMap<u64, Detour>,
    /// What is mapped of texts for all: by start address, with the end.
    texts: BTreeMap<u64, (u64, Attached)>,
    /// Their areas, by start address.
    shared: BTreeMap<u64, Attached>,
}

/// The sites of one address space. A fork shares the record until either side
/// changes it.
#[derive(Default)]
pub(crate) struct Patches {
    /// Whether there are areas. Written with the lock held.
    some: AtomicBool,
    /// A rewriting is on a thread's list: one at a time, since it changes the protection of pages that the next one may
    /// need. Set by that thread, cleared at its next event. A thread that ends before that leaves it set, and nothing more
    /// is rewritten in its process.
    busy: AtomicBool,
    inner: RwLock<Arc<Inner>>,
}

impl Patches {
    fn change<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.write();
        let result = f(Arc::make_mut(&mut inner));
        let some = !inner.areas.is_empty() || !inner.shared.is_empty();
        self.some.store(some, Ordering::Release);
        result
    }

    fn any(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// For a fork child.
    pub fn copy_from(&self, parent: &Patches) {
        *self.inner.write() = parent.inner.read().clone();
        self.some.store(parent.any(), Ordering::Release);
    }

    pub fn clear(&self) {
        self.busy.store(false, Ordering::Release);
        *self.inner.write() = Arc::default();
        self.some.store(false, Ordering::Release);
    }

    fn shown(&self, rip: u64) -> Option<u64> {
        self.inner.read().shown(rip)
    }

    fn detour(&self, rip: u64) -> Option<Detour> {
        let inner = self.inner.read();
        let own = inner.detours.get(&rip).copied();
        own.or_else(|| inner.shared_detour(rip))
    }

    /// Whether the `syscall` at `address` is a trampoline's, has been rewritten,
    /// or never will be.
    fn is_settled(&self, address: u64) -> bool {
        let inner = self.inner.read();
        // The common case by far, once a program runs.
        inner.sites.get(&address) == Some(&State::Done)
            || inner.shown(address + 2).is_some()
            || inner
                .shared_at(address)
                .is_some_and(|(here, off)| here.text.has(off))
    }

    fn make_sure(&self, rip: u64) {
        self.change(|inner| {
            if let Some(d) = inner.detours.get_mut(&rip) {
                d.sure = true;
            }
        });
    }
}

impl Inner {
    fn shown(&self, rip: u64) -> Option<u64> {
        if let Some((start, area)) = self.areas.range(..=rip).next_back()
            && let Some((at, placed)) = area.code.range(..=rip - start).next_back()
            && rip - start - at < CODE
        {
            return Some(placed.shown((rip - start - at) as usize));
        }
        let (area, here) = self.shared.range(..=rip).next_back()?;
        Some(here.start + here.text.shown(rip - area)?)
    }

    /// The text for all that `addr` is in, and the offset there.
    fn shared_at(&self, addr: u64) -> Option<(&Attached, u64)> {
        let (_, (end, here)) = self.texts.range(..=addr).next_back()?;
        (addr < *end).then(|| (here, addr - here.start))
    }

    fn shared_detour(&self, rip: u64) -> Option<Detour> {
        let (here, off) = self.shared_at(rip)?;
        let to = here.area + here.text.detour(off)?;
        let there = self.shared.get(&here.area)?;
        Arc::ptr_eq(&there.text, &here.text).then_some(Detour { to, sure: true })
    }

    /// The pages of `[start, end)` are, or will be, something else.
    fn forget(&mut self, start: u64, end: u64) {
        let gone = |at: &u64| *at < end && *at + CODE_AREA > start;
        self.areas.retain(|at, _| !gone(at));
        self.shared.retain(|at, _| !gone(at));
        self.sites.retain(|at, _| !(start..end).contains(at));
        self.detours.retain(|at, _| !(start..end).contains(at));
        let hit = self.texts.range(..end).filter(|(_, (e, _))| *e > start);
        let hit: Vec<u64> = hit.map(|(at, _)| *at).collect();
        for at in hit {
            let Some((to, text)) = self.texts.remove(&at) else {
                continue;
            };
            if at < start {
                self.texts.insert(at, (start, text.clone()));
            }
            if to > end {
                self.texts.insert(end, (to, text));
            }
        }
    }

    /// Takes room for a trampoline.
    fn place(&mut self, text: &Text, form: Form) -> Option<(u64, u64)> {
        for (start, area) in &mut self.areas {
            if start.abs_diff(text.addr) > 1 << 31 {
                continue;
            }
            let fits = |off: &u64| {
                let before = area.code.range(..=off).next_back();
                let after = area.code.range(off..).next();
                before.is_none_or(|(at, _)| at + CODE <= *off)
                    && after.is_none_or(|(at, _)| off + CODE <= *at)
                    && text.reaches(form, start + off)
            };
            let mut offs = (0..=CODE_AREA - CODE).step_by(GRANULE as usize);
            if let Some(off) = offs.find(fits) {
                let site = text.addr;
                area.code.insert(off, Placed { site, form });
                return Some((*start, off));
            }
        }
        None
    }
}

impl AddressSpace {
    /// The trampolines in `[start, end)` are gone, or will be, and the text of
    /// sites there is another's. Call sites that lead to trampolines that are
    /// gone are lost.
    pub fn forget_code(&self, start: u64, end: u64) {
        if self.patches.any() {
            self.patches.change(|inner| inner.forget(start, end));
        }
    }

    /// A text for all will be mapped at `start`, and its trampolines where they
    /// must be ([`SharedText::area_of`]); what was there has been forgotten.
    pub fn attach_text(&self, start: u64, text: &Arc<SharedText>) {
        let Some(area) = text.area_of(start) else {
            return;
        };
        let here = Attached {
            text: text.clone(),
            start,
            area,
        };
        self.patches.change(|inner| {
            inner.shared.insert(area, here.clone());
            inner.texts.insert(start, (start + text.len(), here));
        });
    }
}

impl Thread {
    /// To be called once for a `Syscall` event: the site, if it has now trapped
    /// as often as `Options::patch_after` says.
    pub fn trap_site(&self) -> Option<TrapSite> {
        let after = self.space.core.patch_after?;
        if self.fast {
            return None;
        }
        let address = self.ld64(self.frame + F_RIP).checked_sub(2)?;
        let nr = self.ld32(self.frame + F_SI_SYSCALL);
        if nr == RESTART_SYSCALL || EXITS.contains(&nr) {
            return None;
        }
        let foreign = self.ld32(self.frame + F_SI_ARCH) != AUDIT_ARCH_X86_64;
        if foreign || address >= TASK_SIZE - 2 || self.space.patches.is_settled(address) {
            return None;
        }
        let busy = self.space.patches.busy.load(Ordering::Acquire);
        let enough = self.space.patches.change(|inner| {
            if inner.sites.len() >= SITES_MAX {
                return false;
            }
            let state = inner.sites.entry(address).or_insert(State::Traps(0));
            let State::Traps(n) = state else { return false };
            *n = n.saturating_add(1);
            if *n < after || busy {
                return false;
            }
            *state = State::Done;
            true
        });
        enough.then_some(TrapSite {
            address,
            nr: nr.into(),
        })
    }

    /// Has the stub rewrite a site at the next resume; to be called before
    /// anything else is on the action list. `text`: the mapping that it is in,
    /// private, readable and executable but not writable.
    pub fn patch(&mut self, site: TrapSite, text: std::ops::Range<u64>) -> Patched {
        let space = self.space.clone();
        let from = site.address.saturating_sub(BEFORE as u64).max(text.start);
        let to = (site.address + AFTER as u64).min(text.end);
        if from >= to || !self.actions().is_empty() {
            return Patched::Refused;
        }
        let mut bytes = vec![0; (to - from) as usize];
        let got = space.read(from, &mut bytes);
        bytes.truncate(got);
        let text = Text {
            addr: site.address,
            bytes,
            before: (site.address - from) as usize,
        };
        let Some(form) = text.form(site.nr) else {
            return Patched::Refused;
        };
        if space.patches.busy.swap(true, Ordering::AcqRel) {
            // Another thread was first: at a later trap.
            space.patches.change(|inner| {
                inner.sites.insert(site.address, State::Traps(0));
            });
            return Patched::Refused;
        }
        let placed = space.patches.change(|inner| inner.place(&text, form));
        let Some((area, off)) = placed else {
            space.patches.busy.store(false, Ordering::Release);
            let full = space.patches.inner.read().areas.len() >= AREAS_MAX;
            return if full {
                Patched::Refused
            } else {
                Patched::NeedsArea
            };
        };
        let Some(plan) = text.plan(form, area + off, FAST_ENTRY) else {
            space.patches.busy.store(false, Ordering::Release);
            return Patched::Refused;
        };
        self.rewrites = true;
        self.kept = Some((self.pieces.prefetched.clone(), self.pieces.used));
        let placed = Placed {
            site: site.address,
            form,
        };
        if let Some((at, cont)) = placed.detour() {
            let to = area + off + cont;
            space.patches.change(|inner| {
                inner.detours.insert(at, Detour { to, sure: false });
            });
            self.unsure = Some(at);
        }
        if !self.actions().patch(area, off, &plan) {
            self.patch_is_done(false);
            return Patched::Refused;
        }
        space.core.counts.patched();
        Patched::Queued
    }

    /// Room for trampolines, `code_area_len()` bytes at `start`, will be mapped
    /// private, readable and executable by the actions before the next patch.
    pub fn add_code_area(&mut self, start: u64) {
        self.space.patches.change(|inner| {
            inner.areas.insert(start, Area::default());
        });
    }

    /// Where the application is when its registers say `rip`.
    pub(crate) fn shown(&self, rip: u64) -> u64 {
        let patches = &self.space.patches;
        if !patches.any() {
            return rip;
        }
        patches.shown(rip).unwrap_or(rip)
    }

    /// Takes an event's frame out of trampolines. True if the event was the
    /// rewriting's doing, and none of the application's.
    pub(crate) fn settle(&mut self, signo: u32) -> bool {
        let space = self.space.clone();
        if !space.patches.any() || signo.cast_signed() == libc::SIGSYS {
            return false;
        }
        let rip = self.ld64(self.frame + F_RIP);
        if signo.cast_signed() == libc::SIGILL && space.patches.detour(rip).is_some() {
            // There is a jump now, so its trampoline is there too.
            space.patches.make_sure(rip);
            return true;
        }
        if let Some(shown) = space.patches.shown(rip) {
            self.st64(self.frame + F_RIP, shown);
        }
        false
    }

    /// The thread's last actions have been performed, or failed.
    pub(crate) fn patch_is_done(&mut self, performed: bool) {
        if std::mem::take(&mut self.rewrites) {
            self.space.patches.busy.store(false, Ordering::Release);
        }
        if let Some(at) = self.unsure.take() {
            if performed {
                self.space.patches.make_sure(at);
            } else {
                let shown = self.shown(self.ld64(self.frame + F_RIP));
                self.st64(self.frame + F_RIP, shown);
            }
        }
    }

    /// Before going on where the text was rewritten: to the trampoline.
    pub(crate) fn lead_around(&mut self) {
        if !self.space.patches.any() {
            return;
        }
        let rip = self.ld64(self.frame + F_RIP);
        if let Some(d) = self.space.patches.detour(rip)
            && (d.sure || self.unsure == Some(rip))
        {
            self.st64(self.frame + F_RIP, d.to);
        }
    }
}

/// Bytes of room for trampolines, a multiple of the page size.
pub fn code_area_len() -> u64 {
    CODE_AREA
}
