//! Signal handlers: the way into one without a hand-over more than the call that it interrupts.

use crate::proto::*;
use crate::thread::Full;
use crate::window::Piece;
use crate::{Regs, Thread};

impl Thread {
    /// Bytes of an FPU state as [`Thread::fpstate`] gives it.
    pub fn fpstate_len(&self) -> usize {
        let shape = self.space.core.frame.get();
        shape.map_or(0, |shape| shape.initial.len())
    }

    /// Whether nothing has to be performed before [`Thread::move_fpstate`]: a
    /// list that is there already may fail, and output too, and the
    /// application must not be in its handler then.
    pub fn can_move_fpstate(&self) -> bool {
        let clear = self.pending.list.is_empty() && self.pieces.queued.is_empty();
        !self.needs_fetch() || self.full == Full::No && clear
    }

    /// Has the next resume store the FPU state at `addr`, as [`Thread::fpstate`]
    /// would give it, and go on with the initial one. `addr` is a multiple of
    /// 64, and the application can write there. False if that can't be done
    /// now; then nothing has changed. If the stub finds that it can't write
    /// there, `ActionFailed` or `WriteBackFault` comes.
    ///
    /// The registers of the handler are to be set by
    /// [`Thread::set_handler_regs`].
    pub fn move_fpstate(&mut self, addr: u64) -> bool {
        if self.needs_fetch() {
            self.move_live(addr)
        } else {
            self.move_saved(addr)
        }
    }

    /// It is in the stub's registers.
    fn move_live(&mut self, addr: u64) -> bool {
        let core = self.space.core.clone();
        let Some(shape) = core.frame.get() else {
            return false;
        };
        let fp = &shape.initial;
        if !self.can_move_fpstate() {
            return false;
        }
        let sw = FP_SW as usize..FP_SW as usize + SW_LEN;
        let end = fp.len() - END_LEN;
        let queued = self.window().queue_write(addr + sw.start as u64, &fp[sw])
            && self.window().queue_write(addr + end as u64, &fp[end..]);
        if !queued || !self.actions().save_fpu(addr, shape.features()) {
            self.pieces.queued.clear();
            return false;
        }
        true
    }

    /// It is in the frame, in the slot: the stub copies it from there.
    fn move_saved(&mut self, addr: u64) -> bool {
        let len = self.fpstate_len();
        let Some(off) = self.fpstate_at(len) else {
            return false;
        };
        if self.pieces.queued.len() as u64 >= WB_MAX {
            return false;
        }
        self.pieces.queued.push(Piece {
            addr,
            len: len as u32,
            off: off as u32,
        });
        // To the kernel, no state is the initial one.
        self.st64(self.frame + F_FPSTATE, 0);
        true
    }

    /// As [`Thread::set_regs`], for the entry of a signal handler: `rcx` and `r11` are not kept where that would cost a
    /// hand-over. (They are registers that a function may change, and no argument of the handler.)
    pub fn set_handler_regs(&mut self, r: &Regs) {
        let mut r = *r;
        if self.needs_fetch() {
            (r.rcx, r.r11) = (r.rip, r.rflags);
        }
        self.set_regs(&r);
    }
}

/// How long the kernel's words in an xsave area's legacy part are, and what is behind the area.
const SW_LEN: usize = 48;
const END_LEN: usize = 4;
