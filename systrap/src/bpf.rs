//! A small assembler for classic BPF as seccomp runs it, and (for tests) an
//! interpreter.

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Offsets in `struct seccomp_data`.
pub const NR: u32 = 0;
pub const ARCH: u32 = 4;
pub const IP: u32 = 8;
/// Low word of argument `n`; the high one is 4 further.
pub const fn arg(n: u32) -> u32 {
    16 + 8 * n
}

pub const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub const RET_TRAP: u32 = 0x0003_0000;
pub const RET_ALLOW: u32 = 0x7fff_0000;

const LD_IMM: u16 = 0x00;
const LD_W_ABS: u16 = 0x20;
const LD_MEM: u16 = 0x60;
const ST: u16 = 0x02;
const TAX: u16 = 0x07;
const ALU_ADD_X: u16 = 0x0c;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGE_K: u16 = 0x35;
const JMP_JGE_X: u16 = 0x3d;
const RET_K: u16 = 0x06;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

/// What one argument must be for a call to be allowed.
#[derive(Clone, Debug)]
pub enum Rule {
    /// All 64 bits equal this.
    Is(u32, u64),
    /// The low 32 bits equal this (arguments that the kernel takes as `int`).
    Is32(u32, u32),
    /// No bit outside the mask, in all 64.
    Within(u32, u64),
    /// Low 32 bits, without those of the mask, are one of these; high bits
    /// are zero if the last says so.
    OneOf(u32, u32, Vec<u32>, bool),
    /// Where the low 32 bits of the first argument, without those of the mask,
    /// are one of these, the second argument is below this, a multiple of
    /// 2^32.
    BelowIf(u32, u32, Vec<u32>, u32, u64),
    /// The range that begins at the first argument and has the second's
    /// length ends at or below this, a multiple of 2^32; or lies in this one
    /// (whose start and end differ in their low words only) and is not longer.
    RangeBelow(u32, u32, u64, std::ops::Range<u64>),
}

/// A program under construction.
#[derive(Debug, Default)]
pub struct Program {
    pub insns: Vec<Insn>,
}

impl Program {
    pub fn load(&mut self, offset: u32) {
        self.insns.push(insn(LD_W_ABS, 0, 0, offset));
    }

    pub fn ret(&mut self, value: u32) {
        self.insns.push(insn(RET_K, 0, 0, value));
    }

    /// Returns `value` unless the accumulator is `k`.
    pub fn unless_eq(&mut self, k: u32, value: u32) {
        self.insns.push(insn(JMP_JEQ_K, 1, 0, k));
        self.ret(value);
    }

    /// Returns `value` unless `low <= accumulator < high`.
    pub fn unless_in(&mut self, low: u32, high: u32, value: u32) {
        self.insns.push(insn(JMP_JGE_K, 0, 1, low));
        self.insns.push(insn(JMP_JGE_K, 0, 1, high));
        self.ret(value);
    }

    /// With the call number in the accumulator: allows `nr` if all rules hold
    /// and kills otherwise; for other numbers goes on with the accumulator
    /// unchanged.
    pub fn allow(&mut self, nr: u32, rules: &[Rule]) {
        let mut body = Program::default();
        for rule in rules {
            body.rule(rule);
        }
        body.ret(RET_ALLOW);
        let skip = u8::try_from(body.insns.len()).expect("rules of one call are short");
        self.insns.push(insn(JMP_JEQ_K, 0, skip, nr));
        self.insns.append(&mut body.insns);
    }

    fn rule(&mut self, rule: &Rule) {
        let low = |v: u64| (v & 0xffff_ffff) as u32;
        let high = |v: u64| (v >> 32) as u32;
        match rule {
            Rule::Is(n, v) => {
                self.load(arg(*n));
                self.unless_eq(low(*v), RET_KILL_PROCESS);
                self.load(arg(*n) + 4);
                self.unless_eq(high(*v), RET_KILL_PROCESS);
            }
            Rule::Is32(n, v) => {
                self.load(arg(*n));
                self.unless_eq(*v, RET_KILL_PROCESS);
            }
            Rule::Within(n, mask) => {
                self.load(arg(*n));
                self.insns.push(insn(ALU_AND_K, 0, 0, !low(*mask)));
                self.unless_eq(0, RET_KILL_PROCESS);
                self.load(arg(*n) + 4);
                self.insns.push(insn(ALU_AND_K, 0, 0, !high(*mask)));
                self.unless_eq(0, RET_KILL_PROCESS);
            }
            Rule::OneOf(n, without, values, high_zero) => {
                if *high_zero {
                    self.load(arg(*n) + 4);
                    self.unless_eq(0, RET_KILL_PROCESS);
                }
                self.load(arg(*n));
                self.insns.push(insn(ALU_AND_K, 0, 0, !without));
                let count = u8::try_from(values.len()).expect("short list");
                for (i, v) in (0u8..).zip(values) {
                    // To after the final return.
                    self.insns.push(insn(JMP_JEQ_K, count - i, 0, *v));
                }
                self.ret(RET_KILL_PROCESS);
            }
            Rule::BelowIf(n, without, values, addr, limit) => {
                self.load(arg(*n));
                self.insns.push(insn(ALU_AND_K, 0, 0, !without));
                let count = u8::try_from(values.len()).expect("short list");
                for (i, v) in (0u8..).zip(values) {
                    self.insns.push(insn(JMP_JEQ_K, count - i, 0, *v));
                }
                self.insns.push(insn(JMP_JA, 0, 0, 3));
                self.load(arg(*addr) + 4);
                self.insns.push(insn(JMP_JGE_K, 0, 1, high(*limit)));
                self.ret(RET_KILL_PROCESS);
            }
            Rule::RangeBelow(start, len, limit, or) => {
                let (start, len) = (arg(*start), arg(*len));
                // High words whose sum can't overflow.
                for word in [start + 4, len + 4] {
                    self.load(word);
                    self.insns.push(insn(JMP_JGE_K, 0, 1, 1 << 31));
                    self.ret(RET_KILL_PROCESS);
                }
                // The low words' sum is kept, its carry goes to X.
                self.load(start);
                self.insns.push(insn(TAX, 0, 0, 0));
                self.load(len);
                self.insns.push(insn(ALU_ADD_X, 0, 0, 0));
                self.insns.push(insn(ST, 0, 0, 0));
                self.insns.push(insn(JMP_JGE_X, 2, 0, 0));
                self.insns.push(insn(LD_IMM, 0, 0, 1));
                self.insns.push(insn(JMP_JA, 0, 0, 1));
                self.insns.push(insn(LD_IMM, 0, 0, 0));
                for word in [start + 4, len + 4] {
                    self.insns.push(insn(TAX, 0, 0, 0));
                    self.load(word);
                    self.insns.push(insn(ALU_ADD_X, 0, 0, 0));
                }
                // Below, equal with a low word of 0, or in the other range.
                const OTHER: u8 = 13;
                self.insns.push(insn(JMP_JGE_K, 0, OTHER + 3, high(*limit)));
                self.insns.push(insn(JMP_JEQ_K, 0, 2, high(*limit)));
                self.insns.push(insn(LD_MEM, 0, 0, 0));
                self.insns.push(insn(JMP_JEQ_K, OTHER, 0, 0));
                let from = self.insns.len();
                self.load(start + 4);
                self.unless_eq(high(or.start), RET_KILL_PROCESS);
                self.load(start);
                self.unless_in(low(or.start), low(or.end), RET_KILL_PROCESS);
                self.load(len + 4);
                self.unless_eq(0, RET_KILL_PROCESS);
                self.load(len);
                self.insns
                    .push(insn(JMP_JGE_K, 0, 1, low(or.end - or.start) + 1));
                self.ret(RET_KILL_PROCESS);
                assert_eq!(self.insns.len() - from, usize::from(OTHER));
            }
        }
    }
}

/// Runs a program as the kernel would, on a `struct seccomp_data` given as
/// words.
#[cfg(test)]
pub fn run(program: &[Insn], data: &[u32; 16]) -> u32 {
    let (mut pc, mut a, mut x, mut memory) = (0usize, 0u32, 0u32, [0u32; 16]);
    loop {
        let i = program[pc];
        pc += 1;
        match i.code {
            LD_IMM => a = i.k,
            LD_W_ABS => a = data[i.k as usize / 4],
            LD_MEM => a = memory[i.k as usize],
            ST => memory[i.k as usize] = a,
            TAX => x = a,
            ALU_ADD_X => a = a.wrapping_add(x),
            ALU_AND_K => a &= i.k,
            JMP_JA => pc += i.k as usize,
            JMP_JGE_X => pc += usize::from(if a >= x { i.jt } else { i.jf }),
            JMP_JEQ_K => pc += usize::from(if a == i.k { i.jt } else { i.jf }),
            JMP_JGE_K => pc += usize::from(if a >= i.k { i.jt } else { i.jf }),
            RET_K => return i.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
