//! Rewriting of call sites (docs/SYSTRAP.md): what may be rewritten, and where the trampolines go.
//!
//! Only text as programs are loaded is touched: private file mappings that can be executed and not written. The room for
//! trampolines is a mapping like others, seen in /proc/PID/maps and inherited over fork(2); it is an application's own
//! doing if it maps something else there.

use super::pending::Pending;
use super::plan::{Act, Done, OnFail, Outcome, Step, Undo};
use super::span::{PAGE, Span, TASK_SIZE, page_down};
use super::state::{Caller, State};
use super::vma::{Backing, Prot, Vma, VmaFlags};
use super::{MMAP_MIN_ADDR, Mm};
use crate::task::Cx;
use arch::Errno;
use std::sync::atomic::Ordering;
use systrap::{Patched, TrapSite};

/// How far from the text the room may be: a jump reaches 2 GiB.
const REACH: u64 = (2 << 30) - (64 << 20);
/// What is kept between the text and the room if possible: programs map things near each other.
const APART: u64 = 256 << 20;

/// The jump may take the place of an instruction before the call.
const BEFORE: u64 = 5;

impl Mm {
    /// Has the calling thread's stub rewrite a site, if that can be done. Its action list is empty.
    pub async fn patch(&self, cx: &Cx, site: TrapSite) {
        for _ in 0..2 {
            let tid = cx.task.tid();
            let text = {
                let mut state = self.state.write();
                let Some(text) = state.text_at(site.address) else {
                    return;
                };
                // Until it is done nobody may change the page's protection, nor may the process be copied.
                let page = page_down(site.address.saturating_sub(BEFORE));
                let pages = Span::new(page, page_down(site.address) + PAGE);
                if state.check_pending(tid, pages).is_err() {
                    return;
                }
                state.note(Pending::claim(tid, pages));
                self.pending.store(state.pending.len(), Ordering::Release);
                text
            };
            let done = cx.thread.lock().patch(site, text.start..text.end);
            if done == Patched::Queued {
                // At once: the call may sleep for long.
                crate::task::run::perform(cx).await;
                return;
            }
            self.actions_performed(tid);
            if done == Patched::Refused {
                return;
            }
            if !self.add_code_area(cx, text).await {
                return;
            }
        }
    }

    /// Maps room for trampolines near `text`, at once.
    async fn add_code_area(&self, cx: &Cx, text: Span) -> bool {
        let Ok(Ok(at)) = self.try_change(cx, |state, who| state.map_code_area(who, text)) else {
            return false;
        };
        match crate::task::run::perform(cx).await {
            systrap::Event::Parked => {}
            systrap::Event::ActionFailed { index, errno } => {
                let errno = Errno::from_raw(errno).unwrap_or(Errno::ENOMEM);
                self.action_failed(cx, index, errno);
                return false;
            }
            _ => return false,
        }
        cx.thread.lock().add_code_area(at);
        true
    }
}

impl State {
    /// The mapping of a call site, if its text may be rewritten.
    fn text_at(&self, addr: u64) -> Option<Span> {
        let vma = self.map.find(addr).filter(|v| v.span.start <= addr)?;
        let plain = vma.prot == Prot::READ | Prot::EXEC
            && matches!(vma.backing, Backing::File { .. })
            && !vma.flags.contains(VmaFlags::SHARED);
        plain.then_some(vma.span)
    }

    /// Takes a range for trampolines: some way below the text, else right below it, else above.
    fn map_code_area(&mut self, who: &Caller, text: Span) -> Outcome {
        let len = systrap::code_area_len();
        let low = text.end.saturating_sub(REACH).max(MMAP_MIN_ADDR);
        let high = text.start.saturating_add(REACH).min(TASK_SIZE);
        let gap = |from: u64, to: u64| {
            let at = (from < to).then(|| self.map.highest_gap(len, from, to, PAGE));
            at.flatten()
        };
        let at = gap(low, text.start.saturating_sub(APART))
            .or_else(|| gap(low, text.start))
            .or_else(|| self.map.lowest_gap(len, text.end, high, PAGE))
            .ok_or(Errno::ENOMEM)?;
        let span = Span::at(at, len);
        self.check_count(1)?;
        self.check_pending(who.tid, span)?;
        let mut vma = Vma::anon(span, Prot::READ | Prot::EXEC);
        vma.flags |= VmaFlags::NO_RESERVE;
        if !self.may_expand(&who.limits, &vma, vma.pages()) {
            return Err(Errno::ENOMEM.into());
        }
        let act = Act::MapAnon {
            span,
            prot: vma.prot,
            flags: libc::MAP_NORESERVE,
        };
        self.insert(vma);
        let step = Step {
            act,
            undo: Undo {
                spans: [span].as_slice().into(),
                ..Undo::default()
            },
            on_fail: OnFail::Errno,
        };
        Ok(Done::one(at, step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::Limits;

    fn state_with(text: Span) -> State {
        let mut s = State::default();
        s.insert(Vma::anon(text, Prot::READ | Prot::EXEC));
        s
    }

    fn area(s: &mut State, text: Span) -> Option<u64> {
        let who = Caller {
            tid: 1,
            limits: Limits::NONE,
            read_implies_exec: false,
        };
        s.map_code_area(&who, text)
            .ok()
            .and_then(|done| done.answer.ok())
    }

    #[test]
    fn the_room_is_within_reach_and_apart() {
        let text = Span::at(0x7f00_0000_0000, 0x10_0000);
        let mut s = state_with(text);
        let at = area(&mut s, text).unwrap();
        assert!(text.end - at < 1 << 31 && text.start - at >= APART);
        let next = area(&mut s, text).unwrap();
        assert_ne!(at, next);
    }

    #[test]
    fn low_text_has_it_below_or_above() {
        let text = Span::at(0x40_0000, 0x10_0000);
        let mut s = state_with(text);
        let at = area(&mut s, text).unwrap();
        assert_eq!(at + systrap::code_area_len(), text.start);
        let text = Span::at(MMAP_MIN_ADDR, 0x10_0000);
        let mut s = state_with(text);
        assert_eq!(area(&mut s, text).unwrap(), text.end);
    }

    #[test]
    fn anonymous_text_stays() {
        let text = Span::at(0x40_0000, 0x10_0000);
        assert!(state_with(text).text_at(0x40_0010).is_none());
        assert!(state_with(text).text_at(0x10).is_none());
    }
}
