//! What a call site becomes: which bytes of it are rewritten, and the code
//! that they lead to. Pure; all of it is decided from bytes that the
//! application may have chosen, and concerns its own text only.
//!
//! Two forms, both a 5-byte jump to a trampoline within 2 GiB:
//!
//! - `mov $nr,%eax; syscall`: the jump takes the place of the `mov`. The
//!   `syscall` stays for threads that are between the two, and for whoever
//!   jumps to it.
//! - `syscall` and an instruction of at least three bytes that can be moved:
//!   the jump takes the place of the `syscall` and of that instruction's start,
//!   which is run in the trampoline. The second byte of the jump's distance is
//!   one that is no instruction, so that a thread that goes on after the old
//!   `syscall` gets SIGILL there, and is led to the trampoline.
//!
//! The 5 bytes are written with the rest of 8 in one cache line at once:
//! other processors see the old instruction or the new one.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use crate::proto::CODE;

/// So much text is looked at before and after a `syscall`.
pub(crate) const BEFORE: usize = 64;
pub(crate) const AFTER: usize = 32;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
const MOV_EAX: u8 = 0xb8;
const JMP: u8 = 0xe9;
/// Length of the `mov` and of the jump.
pub(crate) const LEN: usize = 5;
const LINE: u64 = 64;
/// The call that `__restore_rt` makes: unwinders know it by its bytes.
const RT_SIGRETURN: u32 = 15;
/// From so far before an instruction its start is looked for at most, and more than that.
const FAR: usize = 200;
const WINDOW: usize = FAR + 1;
/// Numbers of calls are below.
const NUMBERS: u32 = 1024;
/// Bytes that no 64-bit instruction starts with (Intel SDM, opcode map: #UD).
const INVALID: [u8; 17] = [
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce,
    0xea,
];
/// Offset of the entry's address in a trampoline.
const POINTER: usize = CODE as usize - 8;

/// What can be done at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `mov $nr,%eax; syscall`
    Number(u32),
    /// `syscall` and an instruction of this length.
    Moved(usize),
}

/// The text around a `syscall`.
pub(crate) struct Text {
    /// Address of the `syscall`.
    pub addr: u64,
    /// Bytes from `addr - before` on.
    pub bytes: Vec<u8>,
    pub before: usize,
}

/// A rewriting with its trampoline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The 8 bytes that are exchanged.
    pub at: u64,
    pub old: u64,
    pub new: u64,
    pub code: [u8; CODE as usize],
    pub form: Form,
}

/// A jump in the place of a call, for text that nobody runs yet.
pub(crate) struct Jump {
    pub at: u64,
    pub bytes: [u8; LEN],
    pub code: [u8; CODE as usize],
}

impl Text {
    /// The form that fits; None if the site must stay as it is.
    pub fn form(&self, nr: u64) -> Option<Form> {
        self.form_where(nr, in_one_line)
    }

    /// The same where only jumps at certain places can be written.
    fn form_where(&self, nr: u64, can_write: impl Fn(u64) -> bool) -> Option<Form> {
        let here = self.bytes.get(self.before..)?;
        if !here.starts_with(&SYSCALL) || nr == RT_SIGRETURN.into() {
            return None;
        }
        if let Some(imm) = self.number() {
            let fits = u64::from(imm) == nr & 0xffff_ffff;
            if fits && imm != RT_SIGRETURN && can_write(self.addr - LEN as u64) {
                return Some(Form::Number(imm));
            }
        }
        if self.restores() || !can_write(self.addr) {
            return None;
        }
        let rest = here.get(SYSCALL.len()..)?;
        let at = self.addr + SYSCALL.len() as u64;
        let insn = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
        let len = insn.len();
        (len + SYSCALL.len() >= LEN && movable(&insn)).then_some(Form::Moved(len))
    }

    /// The form that fits whatever the site is called with, as far as the bytes
    /// alone tell, in text that nobody runs yet.
    pub fn plain_form(&self) -> Option<Form> {
        // Without a number before it: none that it could have.
        let number = self.number().map_or(u64::MAX, u64::from);
        let form = self.form_where(number, |_| true)?;
        match form {
            Form::Number(nr) => nr < NUMBERS,
            Form::Moved(_) => self.is_checked() || self.is_boundary(self.before),
        }
        .then_some(form)
    }

    /// `syscall` and a look whether there was an error, as all C libraries have it: `cmp $-4095,%rax` or the like. No
    /// other instruction has these bytes in it.
    fn is_checked(&self) -> bool {
        let after = self.bytes.get(self.before + SYSCALL.len()..);
        let after = after.unwrap_or_default();
        let after = after.strip_prefix(&[0x48]).unwrap_or(after);
        matches!(after, [0x3d, 0 | 1, 0xf0, 0xff, 0xff, ..])
    }

    /// The operand of a `mov $imm32,%eax` right before the `syscall`, if that
    /// is an instruction of its own.
    fn number(&self) -> Option<u32> {
        let start = self.before.checked_sub(LEN)?;
        let bytes: &[u8; LEN] = self.bytes.get(start..self.before)?.try_into().ok()?;
        if bytes[0] != MOV_EAX || !self.is_boundary(start) {
            return None;
        }
        let [_, imm @ ..] = *bytes;
        Some(u32::from_le_bytes(imm))
    }

    /// Whether an instruction starts at this index, for most ways to come
    /// there: decoding from any byte soon finds the real boundaries.
    fn is_boundary(&self, start: usize) -> bool {
        // The start of the mapping is a boundary. From further away more find it.
        let (from, step) = match start {
            ..48 => (0..1, 1),
            48..FAR => (start - 48..start - 16, 1),
            _ => (start - FAR..start - 72, 5),
        };
        // Where ways meet they go on as one: each place is decoded once.
        let mut known: [Option<bool>; WINDOW] = [None; WINDOW];
        let (mut hits, mut tries) = (0, 0);
        for first in from.step_by(step) {
            let mut way = [0_u8; WINDOW];
            let (mut len, mut at) = (0, first);
            let hit = loop {
                if at >= start {
                    break at == start;
                }
                let back = start - at;
                if let Some(hit) = known[back] {
                    break hit;
                }
                way[len] = back as u8;
                len += 1;
                let piece = self.bytes.get(at..).unwrap_or_default();
                let insn = Decoder::with_ip(64, piece, 0, DecoderOptions::NONE).decode();
                if insn.is_invalid() {
                    break false;
                }
                at += insn.len();
            };
            for back in &way[..len] {
                known[usize::from(*back)] = Some(hit);
            }
            tries += 1;
            hits += u32::from(hit);
        }
        hits * 2 > tries
    }

    /// `mov $15,%rax; syscall` or `mov $15,%eax; syscall`.
    fn restores(&self) -> bool {
        let before = &self.bytes[..self.before];
        before.ends_with(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0])
            || before.ends_with(&[MOV_EAX, 15, 0, 0, 0])
    }

    /// Where the jump goes.
    fn start(&self, form: Form) -> u64 {
        match form {
            Form::Number(_) => self.addr - LEN as u64,
            Form::Moved(_) => self.addr,
        }
    }

    /// Whether a trampoline can be at `code` (of a site at `addr`).
    pub fn reaches(&self, form: Form, code: u64) -> bool {
        let Some(rel) = distance(self.start(form) + LEN as u64, code) else {
            return false;
        };
        match form {
            Form::Number(_) => true,
            Form::Moved(_) => INVALID.contains(&rel.to_le_bytes()[1]),
        }
    }

    /// The jump to a trampoline at `code`, where it is, and that trampoline.
    pub fn jump(&self, form: Form, code: u64, entry: u64) -> Option<Jump> {
        if !self.reaches(form, code) {
            return None;
        }
        let at = self.start(form);
        let rel = distance(at + LEN as u64, code)?;
        let mut bytes = [JMP; LEN];
        bytes[1..].copy_from_slice(&rel.to_le_bytes());
        Some(Jump {
            at,
            bytes,
            code: self.code(form, code, entry)?,
        })
    }

    /// The rewriting with a trampoline at `code`, which enters the stub at
    /// `entry`.
    pub fn plan(&self, form: Form, code: u64, entry: u64) -> Option<Plan> {
        let jump = self.jump(form, code, entry)?;
        let start = jump.at;
        // The window: 8 bytes in the line of the 5.
        let last = (start & !(LINE - 1)) + LINE - 8;
        let at = start.min(last);
        let skip = (start - at) as usize;
        let index = (self.before as u64 + at).checked_sub(self.addr)?;
        let index = usize::try_from(index).ok()?;
        let old: [u8; 8] = self.bytes.get(index..index + 8)?.try_into().ok()?;
        let mut new = old;
        new[skip..skip + LEN].copy_from_slice(&jump.bytes);
        Some(Plan {
            at,
            old: u64::from_le_bytes(old),
            new: u64::from_le_bytes(new),
            code: jump.code,
            form,
        })
    }

    fn code(&self, form: Form, code: u64, entry: u64) -> Option<[u8; CODE as usize]> {
        let mut out = Code {
            bytes: [0xcc; CODE as usize],
            len: 0,
            at: code,
        };
        let after = self.addr + SYSCALL.len() as u64;
        match form {
            Form::Number(nr) => {
                out.push(&[MOV_EAX]);
                out.push(&nr.to_le_bytes());
                out.lea_rcx(after)?;
                out.enter();
            }
            Form::Moved(len) => {
                let cont = code + CONT as u64;
                out.lea_rcx(cont)?;
                out.enter();
                out.push(&SYSCALL);
                debug_assert_eq!(out.len, CONT);
                let from = self.before + SYSCALL.len();
                out.push(self.bytes.get(from..from + len)?);
                let back = distance(code + (out.len + LEN) as u64, after + len as u64)?;
                out.push(&[JMP]);
                out.push(&back.to_le_bytes());
            }
        }
        if out.len > POINTER {
            return None;
        }
        out.bytes[POINTER..].copy_from_slice(&entry.to_le_bytes());
        Some(out.bytes)
    }
}

/// Where a trampoline of `Form::Moved` goes on after the call; two bytes
/// before that is a `syscall`.
const CONT: usize = 7 + 6 + 2;

struct Code {
    bytes: [u8; CODE as usize],
    len: usize,
    at: u64,
}

impl Code {
    fn push(&mut self, b: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + b.len()) {
            room.copy_from_slice(b);
        }
        self.len += b.len();
    }

    /// `lea target(%rip),%rcx`
    fn lea_rcx(&mut self, target: u64) -> Option<()> {
        let rel = distance(self.at + self.len as u64 + 7, target)?;
        self.push(&[0x48, 0x8d, 0x0d]);
        self.push(&rel.to_le_bytes());
        Some(())
    }

    /// `jmp *POINTER(%rip)`
    fn enter(&mut self) {
        let rel = (POINTER - self.len - 6) as u32;
        self.push(&[0xff, 0x25]);
        self.push(&rel.to_le_bytes());
    }
}

fn distance(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from).cast_signed()).ok()
}

fn in_one_line(start: u64) -> bool {
    start % LINE <= LINE - LEN as u64
}

/// Whether an instruction does the same elsewhere.
fn movable(insn: &Instruction) -> bool {
    !insn.is_invalid()
        && insn.flow_control() == FlowControl::Next
        && !insn.is_ip_rel_memory_operand()
}

/// A trampoline, as it concerns a thread that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Address of the `syscall`.
    pub site: u64,
    pub form: Form,
}

impl Placed {
    /// Where a thread that is at offset `off` of the trampoline would be in
    /// the text as it was.
    pub fn shown(&self, off: usize) -> u64 {
        let site = self.site;
        match self.form {
            Form::Number(_) if off < LEN => site - LEN as u64,
            Form::Number(_) => site,
            Form::Moved(_) if off < CONT => site,
            Form::Moved(_) if off == CONT => site + SYSCALL.len() as u64,
            Form::Moved(len) => site + (SYSCALL.len() + len) as u64,
        }
    }

    /// An address in the text where the old code can't go on, and the offset
    /// in the trampoline where it does.
    pub fn detour(&self) -> Option<(u64, u64)> {
        match self.form {
            Form::Number(_) => None,
            Form::Moved(_) => Some((self.site + SYSCALL.len() as u64, CONT as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: u64 = 0x7fff_0001_0123;

    fn text(addr: u64, before: &[u8], from: &[u8]) -> Text {
        let mut bytes = vec![0x90; BEFORE - before.len()];
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(from);
        bytes.resize(BEFORE + AFTER, 0x90);
        Text {
            addr,
            bytes,
            before: BEFORE,
        }
    }

    fn jump(plan: &Plan, start: u64) -> u64 {
        let bytes = plan.new.to_le_bytes();
        let skip = (start - plan.at) as usize;
        assert_eq!(bytes[skip], JMP);
        let rel = i32::from_le_bytes(bytes[skip + 1..skip + 5].try_into().expect("4 bytes"));
        (start + 5).wrapping_add_signed(rel.into())
    }

    #[test]
    fn a_number_before_the_call_is_replaced_and_the_call_stays() {
        let t = text(0x40_1010, &[0xb8, 39, 0, 0, 0], &[0x0f, 5, 0xc3]);
        let form = t.form(39).expect("fits");
        assert_eq!(form, Form::Number(39));
        let plan = t.plan(form, 0x3f_0000, ENTRY).expect("near");
        assert_eq!(jump(&plan, 0x40_100b), 0x3f_0000);
        assert_eq!(plan.at, 0x40_100b);
        assert_eq!(plan.new.to_le_bytes()[5..], [0x0f, 5, 0xc3]);
        assert_eq!(plan.code[..5], [0xb8, 39, 0, 0, 0]);
        assert_eq!(plan.code[POINTER..], ENTRY.to_le_bytes());
        let lea = Decoder::with_ip(64, &plan.code[5..], 0x3f_0005, 0).decode();
        assert_eq!(lea.ip_rel_memory_address(), 0x40_1012);
        let jmp = Decoder::with_ip(64, &plan.code[12..], 0x3f_000c, 0).decode();
        assert_eq!(jmp.ip_rel_memory_address(), 0x3f_0000 + POINTER as u64);
    }

    #[test]
    fn the_number_must_be_the_one_that_was_called() {
        let t = text(0x40_1010, &[0xb8, 39, 0, 0, 0], &[0x0f, 5, 0xc3]);
        assert_eq!(t.form(40), None);
        // The end of a movabs is not a mov.
        let t = text(
            0x40_1010,
            &[
                0x31, 0xc0, 0x31, 0xc0, 0x48, 0xb8, 1, 2, 3, 0xb8, 39, 0, 0, 0,
            ],
            &[0x0f, 5, 0xc3],
        );
        assert_eq!(t.form(39), None);
    }

    #[test]
    fn sigreturn_is_left_alone() {
        let wide = [0x48, 0xc7, 0xc0, 15, 0, 0, 0];
        let nop = [0x0f, 5, 0x0f, 0x1f, 0x80, 0, 0, 0, 0];
        assert_eq!(text(0x1010, &wide, &nop).form(15), None);
        assert_eq!(text(0x1010, &wide, &nop).form(1), None);
        assert_eq!(text(0x1010, &[0xb8, 15, 0, 0, 0], &nop).form(15), None);
        assert_eq!(text(0x1010, &[0xb8, 15, 0, 0, 0], &nop).form(3), None);
    }

    #[test]
    fn the_next_instruction_is_moved() {
        // cmp $-4096,%rax
        let cmp = [0x48, 0x3d, 0, 0xf0, 0xff, 0xff];
        let mut from = vec![0x0f, 5];
        from.extend_from_slice(&cmp);
        let t = text(0x7f00_0000_1010, &[0x31, 0xc0], &from);
        let form = t.form(0).expect("fits");
        assert_eq!(form, Form::Moved(6));
        let area = 0x7eff_fff0_0000;
        let code = (0..0x1_0000)
            .step_by(16)
            .map(|off| area + off)
            .find(|c| t.reaches(form, *c))
            .expect("a place");
        let plan = t.plan(form, code, ENTRY).expect("near");
        assert_eq!(jump(&plan, 0x7f00_0000_1010), code);
        let skip = (0x7f00_0000_1010 - plan.at) as usize;
        let after = &plan.new.to_le_bytes()[skip + 2..];
        assert!(
            Decoder::with_ip(64, after, 0, 0).decode().is_invalid(),
            "going on after the call faults"
        );
        assert_eq!(plan.code[CONT - 2..CONT], SYSCALL);
        assert_eq!(plan.code[CONT..CONT + 6], cmp);
        let back = Decoder::with_ip(64, &plan.code[CONT + 6..], code + 21, 0).decode();
        assert_eq!(back.near_branch64(), 0x7f00_0000_1018);
    }

    #[test]
    fn what_cannot_move_stays() {
        let form = |from: &[u8]| {
            let mut all = vec![0x0f, 5];
            all.extend_from_slice(from);
            text(0x1010, &[0x31, 0xc0], &all).form(0)
        };
        assert_eq!(form(&[0xc3]), None, "ret");
        assert_eq!(form(&[0x89, 0xc2]), None, "too short");
        assert_eq!(form(&[0xe8, 0, 0, 0, 0]), None, "call");
        assert_eq!(form(&[0x0f, 0x84, 0, 0, 0, 0]), None, "jcc");
        assert_eq!(form(&[0x48, 0x8b, 5, 0, 0, 0, 0]), None, "rip-relative");
        assert_eq!(form(&[0x06, 0, 0, 0]), None, "invalid");
        assert_eq!(form(&[0x48, 0x89, 0xc3]), Some(Form::Moved(3)));
    }

    #[test]
    fn a_site_across_a_cache_line_stays() {
        let cmp = [0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff];
        for off in 0..64 {
            let t = text(0x1000 + off, &[0x31, 0xc0], &cmp);
            assert_eq!(t.form(0).is_some(), off <= 59, "{off}");
            if let Some(form) = t.form(0) {
                let code = (0..0x1_0000)
                    .step_by(16)
                    .find(|c| t.reaches(form, *c))
                    .expect("a place");
                let plan = t.plan(form, code, ENTRY).expect("a plan");
                assert_eq!(plan.at / 64, (plan.at + 7) / 64);
            }
        }
    }

    #[test]
    fn too_far_is_refused() {
        let t = text(0x7f00_0000_1010, &[0xb8, 1, 0, 0, 0], &[0x0f, 5]);
        assert!(!t.reaches(Form::Number(1), 0x40_0000));
        assert_eq!(t.plan(Form::Number(1), 0x40_0000, ENTRY), None);
    }

    #[test]
    fn a_thread_in_the_trampoline_is_shown_at_the_site() {
        let a = Placed {
            site: 0x1005,
            form: Form::Number(1),
        };
        assert_eq!([0, 5, 12].map(|o| a.shown(o)), [0x1000, 0x1005, 0x1005]);
        assert_eq!(a.detour(), None);
        let b = Placed {
            site: 0x1005,
            form: Form::Moved(6),
        };
        assert_eq!(
            [0, 7, 13, 15, 21].map(|o| b.shown(o)),
            [0x1005, 0x1005, 0x1005, 0x1007, 0x100d]
        );
        assert_eq!(b.detour(), Some((0x1007, 15)));
    }
}
