//! Classic BPF as seccomp(2) has it: which programs are accepted (bpf_check_classic, seccomp_check_filter of the kernel), and
//! what they compute. A program can't loop: it jumps forwards only.

pub use arch::abi::SockFilter as Insn;
use arch::{Errno, Result};

/// Instructions of one program at most (BPF_MAXINSNS).
pub const MAX_INSNS: usize = 4096;
/// Bytes of `struct seccomp_data`.
pub const DATA_LEN: usize = 64;
/// Words of scratch memory (BPF_MEMWORDS).
const WORDS: usize = 16;

/// The operations of a program that has been checked.
mod op {
    // Classes, sizes and modes put together as in linux/bpf_common.h.
    pub const LD_ABS: u16 = 0x20;
    pub const LD_LEN: u16 = 0x80;
    pub const LDX_LEN: u16 = 0x81;
    pub const LD_IMM: u16 = 0x00;
    pub const LDX_IMM: u16 = 0x01;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_MEM: u16 = 0x61;
    pub const ST: u16 = 0x02;
    pub const STX: u16 = 0x03;
    pub const ADD: u16 = 0x04;
    pub const SUB: u16 = 0x14;
    pub const MUL: u16 = 0x24;
    pub const DIV: u16 = 0x34;
    pub const OR: u16 = 0x44;
    pub const AND: u16 = 0x54;
    pub const LSH: u16 = 0x64;
    pub const RSH: u16 = 0x74;
    pub const NEG: u16 = 0x84;
    pub const XOR: u16 = 0xa4;
    pub const JA: u16 = 0x05;
    pub const JEQ: u16 = 0x15;
    pub const JGT: u16 = 0x25;
    pub const JGE: u16 = 0x35;
    pub const JSET: u16 = 0x45;
    pub const RET_K: u16 = 0x06;
    pub const RET_A: u16 = 0x16;
    pub const TAX: u16 = 0x07;
    pub const TXA: u16 = 0x87;
    /// The operand is X in place of K, for arithmetic and jumps.
    pub const X: u16 = 0x08;
}

/// Whether the program may be installed: EINVAL for anything that could go wrong when it runs.
pub fn check(program: &[Insn]) -> Result<()> {
    if program.is_empty() || program.len() > MAX_INSNS || !is_sound(program) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn is_sound(program: &[Insn]) -> bool {
    let len = program.len();
    // The words of scratch memory that have been written on every way to an instruction.
    let mut written = vec![u16::MAX; len];
    let mut now = 0u16;
    for (pc, insn) in program.iter().enumerate() {
        now &= written[pc];
        let left = len - pc - 1;
        let k = insn.k as usize;
        let mut reaches = |offset: usize, now: u16| {
            if offset < left {
                written[pc + 1 + offset] &= now;
            }
            offset < left
        };
        let good = match insn.code {
            op::LD_ABS => k.is_multiple_of(4) && k < DATA_LEN,
            op::LD_MEM | op::LDX_MEM => k < WORDS && now & 1 << k != 0,
            op::ST | op::STX if k < WORDS => {
                now |= 1 << k;
                true
            }
            op::DIV => insn.k != 0,
            op::LSH | op::RSH => insn.k < 32,
            op::JA => {
                let good = reaches(k, now);
                now = u16::MAX;
                good
            }
            code if is_branch(code) => {
                let good = reaches(insn.jt.into(), now) && reaches(insn.jf.into(), now);
                now = u16::MAX;
                good
            }
            code => is_plain(code),
        };
        if !good {
            return false;
        }
    }
    program
        .last()
        .is_some_and(|i| matches!(i.code, op::RET_K | op::RET_A))
}

const fn is_branch(code: u16) -> bool {
    matches!(code & !op::X, op::JEQ | op::JGT | op::JGE | op::JSET)
}

/// Operations that nothing more has to be known of.
const fn is_plain(code: u16) -> bool {
    matches!(
        code,
        op::LD_LEN
            | op::LDX_LEN
            | op::LD_IMM
            | op::LDX_IMM
            | op::RET_K
            | op::RET_A
            | op::TAX
            | op::TXA
            | op::NEG
    ) || matches!(
        code & !op::X,
        op::ADD | op::SUB | op::MUL | op::AND | op::OR | op::XOR
    ) || matches!(code, 0x3c | 0x6c | 0x7c)
}

/// Runs a program that [`check`] has accepted.
pub fn run(program: &[Insn], data: &[u8; DATA_LEN]) -> u32 {
    let (mut a, mut x) = (0u32, 0u32);
    let mut memory = [0u32; WORDS];
    let word = |k: u32| {
        let at = k as usize;
        let bytes = data.get(at..at + 4).unwrap_or_default();
        bytes.try_into().map_or(0, u32::from_ne_bytes)
    };
    let mut pc = 0;
    // What has been checked ends with a return; anything else would kill.
    while let Some(&Insn { code, jt, jf, k }) = program.get(pc) {
        pc += 1;
        let slot = k as usize % WORDS;
        let operand = if code & op::X != 0 { x } else { k };
        match code {
            op::LD_ABS => a = word(k),
            op::LD_LEN => a = DATA_LEN as u32,
            op::LDX_LEN => x = DATA_LEN as u32,
            op::LD_IMM => a = k,
            op::LDX_IMM => x = k,
            op::LD_MEM => a = memory[slot],
            op::LDX_MEM => x = memory[slot],
            op::ST => memory[slot] = a,
            op::STX => memory[slot] = x,
            op::RET_K => return k,
            op::RET_A => return a,
            op::TAX => x = a,
            op::TXA => a = x,
            op::NEG => a = a.wrapping_neg(),
            op::JA => pc += k as usize,
            _ => match code & !op::X {
                op::ADD => a = a.wrapping_add(operand),
                op::SUB => a = a.wrapping_sub(operand),
                op::MUL => a = a.wrapping_mul(operand),
                op::DIV => match a.checked_div(operand) {
                    Some(quotient) => a = quotient,
                    None => return 0,
                },
                op::OR => a |= operand,
                op::AND => a &= operand,
                op::XOR => a ^= operand,
                op::LSH => a = a.wrapping_shl(operand),
                op::RSH => a = a.wrapping_shr(operand),
                branch => {
                    let taken = match branch {
                        op::JEQ => a == operand,
                        op::JGT => a > operand,
                        op::JGE => a >= operand,
                        _ => a & operand != 0,
                    };
                    pc += usize::from(if taken { jt } else { jf });
                }
            },
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    fn ret(k: u32) -> Insn {
        insn(op::RET_K, 0, 0, k)
    }

    fn good(program: &[Insn]) -> bool {
        check(program).is_ok()
    }

    #[test]
    fn programs_are_checked() {
        assert!(good(&[ret(0)]));
        assert!(!good(&[]));
        assert!(!good(&vec![ret(0); MAX_INSNS + 1]));
        // No return at the end.
        assert!(!good(&[insn(op::LD_IMM, 0, 0, 1)]));
        // Loads: aligned, inside.
        assert!(good(&[insn(op::LD_ABS, 0, 0, 60), ret(0)]));
        assert!(!good(&[insn(op::LD_ABS, 0, 0, 64), ret(0)]));
        assert!(!good(&[insn(op::LD_ABS, 0, 0, 2), ret(0)]));
        // Halves and bytes, MOD: not of seccomp's.
        assert!(!good(&[insn(0x28, 0, 0, 0), ret(0)]));
        assert!(!good(&[insn(0x94, 0, 0, 3), ret(0)]));
        // Jumps stay inside.
        assert!(!good(&[insn(op::JA, 0, 0, 1), ret(0)]));
        assert!(good(&[insn(op::JA, 0, 0, 0), ret(0)]));
        assert!(!good(&[insn(op::JEQ, 1, 0, 0), ret(0)]));
        assert!(!good(&[insn(op::JA, 0, 0, u32::MAX), ret(0)]));
        assert!(!good(&[insn(op::DIV, 0, 0, 0), ret(0)]));
        assert!(!good(&[insn(op::LSH, 0, 0, 32), ret(0)]));
        // Scratch memory: written first, on every way.
        assert!(!good(&[insn(op::LD_MEM, 0, 0, 3), ret(0)]));
        assert!(good(&[
            insn(op::ST, 0, 0, 3),
            insn(op::LD_MEM, 0, 0, 3),
            ret(0)
        ]));
        assert!(!good(&[
            insn(op::JEQ, 0, 1, 7),
            insn(op::ST, 0, 0, 3),
            insn(op::LD_MEM, 0, 0, 3),
            ret(0)
        ]));
        assert!(!good(&[insn(op::ST, 0, 0, 16), ret(0)]));
    }

    #[test]
    fn programs_compute() {
        let mut data = [0; DATA_LEN];
        data[..4].copy_from_slice(&39u32.to_ne_bytes());
        let by_number = [
            insn(op::LD_ABS, 0, 0, 0),
            insn(op::JEQ, 0, 1, 39),
            ret(1),
            ret(2),
        ];
        assert_eq!(run(&by_number, &data), 1);
        data[0] = 40;
        assert_eq!(run(&by_number, &data), 2);
        let arithmetic = [
            insn(op::LD_IMM, 0, 0, 7),
            insn(op::TAX, 0, 0, 0),
            insn(op::MUL, 0, 0, 6),
            insn(op::ST, 0, 0, 2),
            insn(op::SUB | op::X, 0, 0, 0),
            insn(op::LDX_MEM, 0, 0, 2),
            insn(op::XOR | op::X, 0, 0, 0),
            insn(op::RSH, 0, 0, 1),
            insn(op::NEG, 0, 0, 0),
            insn(op::RET_A, 0, 0, 0),
        ];
        assert!(good(&arithmetic));
        assert_eq!(run(&arithmetic, &data), ((35u32 ^ 42) >> 1).wrapping_neg());
        // Division by a zero X ends the program with 0.
        let zero = [insn(op::DIV | op::X, 0, 0, 0), ret(9)];
        assert!(good(&zero));
        assert_eq!(run(&zero, &data), 0);
    }

    #[test]
    fn garbage_neither_panics_nor_hangs() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32
        };
        for _ in 0..20_000 {
            let n = next() % 6 + 1;
            let program: Vec<Insn> = (0..n)
                .map(|_| Insn {
                    code: (next() & 0xff) as u16,
                    jt: (next() & 3) as u8,
                    jf: (next() & 3) as u8,
                    k: next() >> (next() % 32),
                })
                .chain([ret(1)])
                .collect();
            let _ = good(&program);
            run(&program, &[0xa5; DATA_LEN]);
        }
    }
}
