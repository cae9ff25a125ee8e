//! The FPU state in a signal frame.
//!
//! The kernel puts an xsave area after the frame, with `struct
//! _fpx_sw_bytes` in its legacy part's reserved bytes and a second magic word
//! behind it (kernel: arch/x86/include/uapi/asm/sigcontext.h). Every first
//! frame on an alternate stack of a given address modulo 64 has it at the same
//! place and of the same length, so both are learnt once from the zygote and
//! never believed from a stub.

use std::io;

const SW_RESERVED: usize = 464;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const XSTATE_BV: usize = 512;
/// What xrstor demands to be zero: XCOMP_BV and the header's rest.
const XHEADER_ZERO: std::ops::Range<usize> = 520..576;

/// Where things are in the first frame on a slot's stack.
#[derive(Clone, Debug)]
pub(crate) struct FrameShape {
    /// Offset of the frame in its slot.
    pub frame: u32,
    /// Offset of the FPU state in its slot.
    pub fp: u32,
    /// The initial state, as the zygote had it: `sw_reserved` and magic
    /// included.
    pub initial: Vec<u8>,
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

/// `extended_size` of a legacy area's `sw_reserved`, if it has one.
pub(crate) fn extended_size(legacy: &[u8; 512]) -> Option<usize> {
    (u32_at(legacy, SW_RESERVED) == MAGIC1).then(|| u32_at(legacy, SW_RESERVED + 4) as usize)
}

impl FrameShape {
    /// Bytes from a first frame to the end of its slot.
    pub fn room(&self) -> u64 {
        crate::layout::SLOT_STRIDE - u64::from(self.frame)
    }

    /// The components of the FPU state.
    pub fn features(&self) -> u64 {
        u64_at(&self.initial, SW_RESERVED + 8)
    }

    /// Whether `fp` could have been saved here: same layout, no feature that
    /// we lack, nothing that would fault when restored.
    pub fn check(&self, fp: &[u8]) -> io::Result<()> {
        let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let own = &self.initial;
        if fp.len() != own.len() || fp.len() < 580 {
            return bad("FPU state of another size");
        }
        if fp[SW_RESERVED..SW_RESERVED + 20] != own[SW_RESERVED..SW_RESERVED + 20] {
            return bad("FPU state of another layout");
        }
        if u32_at(fp, fp.len() - 4) != MAGIC2 {
            return bad("FPU state without its end mark");
        }
        let features = self.features();
        if u64_at(fp, XSTATE_BV) & !features != 0 {
            return bad("FPU state with features that this machine lacks");
        }
        let mask = match u32_at(own, MXCSR_MASK) {
            0 => 0xffbf,
            mask => mask,
        };
        if u32_at(fp, MXCSR) & !mask != 0 {
            return bad("reserved bits in MXCSR");
        }
        if fp[XHEADER_ZERO].iter().any(|b| *b != 0) {
            return bad("reserved bytes in the xsave header");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> FrameShape {
        let mut fp = vec![0u8; 836];
        let len = fp.len();
        fp[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80u32.to_le_bytes());
        fp[MXCSR_MASK..MXCSR_MASK + 4].copy_from_slice(&0x2_ffffu32.to_le_bytes());
        fp[SW_RESERVED..SW_RESERVED + 4].copy_from_slice(&MAGIC1.to_le_bytes());
        fp[SW_RESERVED + 4..SW_RESERVED + 8].copy_from_slice(&836u32.to_le_bytes());
        fp[SW_RESERVED + 8..SW_RESERVED + 16].copy_from_slice(&7u64.to_le_bytes());
        fp[len - 4..].copy_from_slice(&MAGIC2.to_le_bytes());
        FrameShape {
            frame: 0,
            fp: 0,
            initial: fp,
        }
    }

    #[test]
    fn takes_what_could_have_been_saved_here() {
        let s = shape();
        assert!(s.check(&s.initial).is_ok());
        let mut fp = s.initial.clone();
        fp[XSTATE_BV] = 7;
        fp[100] = 0x55;
        assert!(s.check(&fp).is_ok());
    }

    #[test]
    fn refuses_what_would_fault() {
        let s = shape();
        let with = |at: usize, v: u8| {
            let mut fp = s.initial.clone();
            fp[at] = v;
            s.check(&fp).is_err()
        };
        assert!(with(XSTATE_BV, 8));
        assert!(with(XSTATE_BV + 7, 0x80));
        assert!(with(520, 1) && with(575, 1));
        assert!(with(MXCSR + 2, 4) || with(MXCSR + 3, 1));
        assert!(with(SW_RESERVED, 0) && with(SW_RESERVED + 4, 0));
        assert!(with(835, 0));
        assert!(s.check(&s.initial[..835]).is_err());
        assert!(s.check(&[]).is_err());
    }

    #[test]
    fn reads_the_extended_size() {
        let s = shape();
        let legacy: [u8; 512] = s.initial[..512].try_into().expect("long enough");
        assert_eq!(extended_size(&legacy), Some(836));
        assert_eq!(extended_size(&[0; 512]), None);
    }
}
