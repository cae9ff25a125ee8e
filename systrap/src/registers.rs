//! Registers and FPU state of a trapped thread, in its signal frame.

use std::io;

use crate::layout::{REGION, SLOT_STRIDE};
use crate::proto::*;
use crate::thread::Full;
use crate::{Regs, Thread};

impl Thread {
    /// Registers of the trapped frame.
    pub fn regs(&self) -> Regs {
        let greg = |off| self.ld64(self.frame + off);
        let seg = |off| self.space.region.ld16(self.base + self.frame + off);
        if self.fast && self.full == Full::No {
            return self.fast_regs();
        }
        let (fs_base, gs_base) = self.bases();
        Regs {
            r15: greg(F_R15),
            r14: greg(F_R14),
            r13: greg(F_R13),
            r12: greg(F_R12),
            rbp: greg(F_RBP),
            rbx: greg(F_RBX),
            r11: greg(F_R11),
            r10: greg(F_R10),
            r9: greg(F_R9),
            r8: greg(F_R8),
            rax: greg(F_RAX),
            rcx: greg(F_RCX),
            rdx: greg(F_RDX),
            rsi: greg(F_RSI),
            rdi: greg(F_RDI),
            rip: self.shown(greg(F_RIP)),
            rflags: greg(F_RFLAGS),
            rsp: greg(F_RSP),
            cs: seg(F_CS),
            ss: seg(F_SS),
            fs_base,
            gs_base,
        }
    }

    /// Takes effect at the next resume. A non-canonical base is ignored.
    pub fn set_regs(&mut self, r: &Regs) {
        let frame = self.frame;
        self.complete_for(r);
        self.rip_set = true;
        self.ret = None;
        for (off, v) in [
            (F_R15, r.r15),
            (F_R14, r.r14),
            (F_R13, r.r13),
            (F_R12, r.r12),
            (F_RBP, r.rbp),
            (F_RBX, r.rbx),
            (F_R11, r.r11),
            (F_R10, r.r10),
            (F_R9, r.r9),
            (F_R8, r.r8),
            (F_RAX, r.rax),
            (F_RCX, r.rcx),
            (F_RDX, r.rdx),
            (F_RSI, r.rsi),
            (F_RDI, r.rdi),
            (F_RIP, r.rip),
            (F_RFLAGS, r.rflags),
            (F_RSP, r.rsp),
        ] {
            self.st64(frame + off, v);
        }
        self.space.region.st16(self.base + frame + F_CS, r.cs);
        self.space.region.st16(self.base + frame + F_SS, r.ss);
        let (mut fs, mut gs) = self.bases();
        if r.fs_base != fs && r.fs_base < 1 << 47 {
            fs = r.fs_base;
            self.flags |= RF_SET_FS;
        }
        if r.gs_base != gs && r.gs_base < 1 << 47 {
            gs = r.gs_base;
            self.flags |= RF_SET_GS;
        }
        self.bases.set(Some((fs, gs)));
    }

    /// Sets `rax`.
    pub fn set_return(&mut self, rax: u64) {
        if self.fast && self.full == Full::No {
            self.ret = Some(rax);
        } else {
            self.st64(self.frame + F_RAX, rax);
        }
    }

    /// The FPU state of the trapped frame in the layout of a signal frame's
    /// `fpstate` (xsave area with `sw_reserved`, final magic included). Empty
    /// if the application's frame has none that makes sense, or if it is still
    /// in the registers ([`Thread::needs_fetch`]).
    pub fn fpstate(&self) -> Vec<u8> {
        let Some(shape) = self.space.core.frame.get() else {
            return Vec::new();
        };
        if self.fast && self.full != Full::Given {
            return Vec::new();
        }
        if self.ld64(self.frame + F_FPSTATE) == 0 {
            return shape.initial.clone();
        }
        let len = shape.initial.len();
        let Some(off) = self.fpstate_at(len) else {
            return Vec::new();
        };
        let mut bytes = vec![0; len];
        self.slot_copy_from(off, &mut bytes);
        bytes
    }

    /// Where in the slot the frame says that its FPU state of `len` bytes is.
    pub(crate) fn fpstate_at(&self, len: usize) -> Option<u64> {
        let at = self.ld64(self.frame + F_FPSTATE);
        at.checked_sub(REGION + self.base)
            .filter(|o| *o <= SLOT_STRIDE - len as u64)
    }

    /// Replaces the FPU state; validated. An empty slice gives the initial
    /// state (execve).
    pub fn set_fpstate(&mut self, fp: &[u8]) -> io::Result<()> {
        let core = self.space.core.clone();
        let Some(shape) = core.frame.get() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let fp = if fp.is_empty() {
            &shape.initial[..]
        } else {
            fp
        };
        shape.check(fp)?;
        self.complete(Full::Given);
        // Behind this frame as the kernel would lay it out.
        let off = u64::from(shape.fp) - u64::from(shape.frame) + self.frame;
        if off + fp.len() as u64 > SLOT_STRIDE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.slot_copy_to(off, fp);
        self.st64(self.frame + F_FPSTATE, REGION + self.base + off);
        Ok(())
    }
}
