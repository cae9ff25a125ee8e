//! Floating-point and vector state in signal frames, `arch/x86/kernel/fpu/signal.c`.
//!
//! An area is in the xsave instruction's standard format: 512 bytes of fxsave image, a header of
//! 64, then the extended components at offsets that CPUID gives. Linux uses the image's last 48
//! bytes for a header of its own (which components, how long) and appends a magic number.
//!
//! Whatever an application puts there, [`validate_frame`] returns an area that `xrstor` takes
//! without a fault, or the error for which Linux sends SIGSEGV.

#![expect(unsafe_code, reason = "reads of XCR0 and MXCSR_MASK are intrinsics")]

use crate::abi::abi_struct;
use crate::{Errno, Result};
use core::arch::x86_64::{__cpuid, __cpuid_count, _fxsave, _xgetbv};
use std::sync::OnceLock;

/// Bytes of the fxsave image.
pub const FXSAVE_LEN: usize = 512;
/// Bytes of the xsave header.
pub const HEADER_LEN: usize = 64;
/// Least length of an xsave area.
pub const MIN_LEN: usize = FXSAVE_LEN + HEADER_LEN;
/// Offset of [`SwReserved`] in the fxsave image.
pub const SW_RESERVED_OFFSET: usize = 464;
/// Length of the magic number after the area.
pub const MAGIC2_LEN: usize = 4;

/// `FP_XSTATE_MAGIC1`, in [`SwReserved`].
pub const MAGIC1: u32 = 0x4650_5853;
/// `FP_XSTATE_MAGIC2`, after the area.
pub const MAGIC2: u32 = 0x4650_5845;

/// Component bits.
pub const XFEATURE_FP: u64 = 1 << 0;
pub const XFEATURE_SSE: u64 = 1 << 1;
pub const XFEATURE_YMM: u64 = 1 << 2;
pub const XFEATURE_PKRU: u64 = 1 << 9;
/// AMX's tile configuration and data: only for those who asked with ARCH_REQ_XCOMP_PERM, which is
/// refused here, so never part of a frame.
pub const XFEATURE_XTILE: u64 = 3 << 17;
const LEGACY: u64 = XFEATURE_FP | XFEATURE_SSE;

const MXCSR_OFFSET: usize = 24;
const MXCSR_MASK_OFFSET: usize = 28;
const XCOMP_BV_OFFSET: usize = FXSAVE_LEN + 8;
const XSTATE_BV_OFFSET: usize = FXSAVE_LEN;

/// The x87 control word and MXCSR of a fresh thread.
pub const FCW_DEFAULT: u16 = 0x37f;
pub const MXCSR_DEFAULT: u32 = 0x1f80;

abi_struct! {
    /// `struct _fpx_sw_bytes`: Linux's words in the fxsave image.
    pub struct SwReserved: 48 {
        pub magic1: u32,
        /// Length of the area and what follows, in bytes.
        pub extended_size: u32,
        /// Components in the area.
        pub xfeatures: u64,
        /// Length of the area, in bytes.
        pub xstate_size: u32,
        pub padding: [u32; 7],
    }
}

/// What an xsave area looks like on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Components of an area; x87 and SSE always among them.
    pub xfeatures: u64,
    /// Length of the area in bytes, at least [`MIN_LEN`].
    pub size: usize,
    /// Bits of MXCSR that may be set.
    pub mxcsr_mask: u32,
}

impl Layout {
    /// A processor with x87 and SSE alone.
    pub const MINIMAL: Layout = Layout {
        xfeatures: LEGACY,
        size: MIN_LEN,
        mxcsr_mask: 0xffbf,
    };

    /// The processor that runs this code, as its kernel set it up; AMX is left out.
    pub fn host() -> &'static Layout {
        static HOST: OnceLock<Layout> = OnceLock::new();
        HOST.get_or_init(Layout::detect)
    }

    fn detect() -> Layout {
        let mxcsr_mask = read_mxcsr_mask();
        let Some(xcr0) = read_xcr0() else {
            return Layout {
                mxcsr_mask,
                ..Layout::MINIMAL
            };
        };
        let xfeatures = (xcr0 & !XFEATURE_XTILE) | LEGACY;
        let size = (2..63)
            .filter(|bit| xfeatures & 1 << bit != 0)
            .map(|bit| {
                let leaf = __cpuid_count(0xd, bit);
                leaf.ebx as usize + leaf.eax as usize
            })
            .fold(MIN_LEN, usize::max);
        Layout {
            xfeatures,
            size,
            mxcsr_mask,
        }
    }

    /// Bytes that the state takes in a signal frame, the magic number included.
    pub const fn frame_len(&self) -> usize {
        self.size + MAGIC2_LEN
    }

    /// Linux's words for an area of this layout.
    pub fn sw_reserved(&self) -> SwReserved {
        SwReserved {
            magic1: MAGIC1,
            extended_size: self.frame_len() as u32,
            xfeatures: self.xfeatures,
            xstate_size: self.size as u32,
            padding: [0; 7],
        }
    }

    /// Puts Linux's words and the magic number into `frame`, whose length is
    /// [`frame_len`](Self::frame_len).
    fn seal(&self, frame: &mut [u8]) {
        frame[SW_RESERVED_OFFSET..FXSAVE_LEN]
            .copy_from_slice(bytemuck::bytes_of(&self.sw_reserved()));
        frame[self.size..self.size + MAGIC2_LEN].copy_from_slice(&MAGIC2.to_le_bytes());
    }
}

fn read_xcr0() -> Option<u64> {
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid(0).eax < 0xd || __cpuid(1).ecx & OSXSAVE == 0 {
        return None;
    }
    // SAFETY: OSXSAVE says that the processor has xgetbv and that the kernel enabled it.
    Some(unsafe { xgetbv0() })
}

/// # Safety
/// The processor must have OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv0() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

fn read_mxcsr_mask() -> u32 {
    #[repr(C, align(16))]
    struct Image([u8; FXSAVE_LEN]);
    let mut image = Image([0; FXSAVE_LEN]);
    // SAFETY: the image is 512 bytes, aligned to 16; every x86_64 processor has fxsave.
    unsafe { _fxsave(image.0.as_mut_ptr()) };
    match read_u32(&image.0, MXCSR_MASK_OFFSET) {
        0 => Layout::MINIMAL.mxcsr_mask,
        mask => mask,
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Linux's words in the first [`FXSAVE_LEN`] bytes of an area.
pub fn sw_reserved(image: &[u8; FXSAVE_LEN]) -> SwReserved {
    bytemuck::pod_read_unaligned(&image[SW_RESERVED_OFFSET..])
}

/// How many bytes of a frame are to be read, given its first [`FXSAVE_LEN`]: those of an extended
/// area with its magic number, or the image alone where the words claim no such area.
pub fn claimed_len(image: &[u8; FXSAVE_LEN], layout: &Layout) -> usize {
    let sw = sw_reserved(image);
    let len = sw.xstate_size as usize;
    if sw.magic1 != MAGIC1
        || len < MIN_LEN
        || len > layout.size
        || sw.xstate_size > sw.extended_size
    {
        return FXSAVE_LEN;
    }
    len + MAGIC2_LEN
}

/// Turns the floating-point state of a signal frame, of which `bytes` is a private copy (see
/// [`claimed_len`]), into an area of `layout` with its magic number that is safe to `xrstor` with
/// all of `layout.xfeatures`.
///
/// As in Linux, an area without valid words or magic number counts as an fxsave image, with
/// all else in its initial state.
///
/// # Errors
/// EINVAL where Linux kills with SIGSEGV: fewer bytes than an image, reserved MXCSR bits, components
/// that the processor doesn't have, a compacted format, reserved header bits.
pub fn validate_frame(bytes: &[u8], layout: &Layout) -> Result<Vec<u8>> {
    let image: &[u8; FXSAVE_LEN] = bytes.first_chunk().ok_or(Errno::EINVAL)?;
    if read_u32(image, MXCSR_OFFSET) & !layout.mxcsr_mask != 0 {
        return Err(Errno::EINVAL);
    }
    let mut out = vec![0; layout.frame_len()];

    let claimed = claimed_len(image, layout);
    let extended = claimed > FXSAVE_LEN
        && bytes.len() >= claimed
        && read_u32(bytes, claimed - MAGIC2_LEN) == MAGIC2;
    if extended {
        let len = claimed - MAGIC2_LEN;
        let xstate_bv = read_u64(bytes, XSTATE_BV_OFFSET);
        let rest_is_zero = bytes[XCOMP_BV_OFFSET..MIN_LEN]
            .iter()
            .all(|byte| *byte == 0);
        if xstate_bv & !layout.xfeatures != 0 || !rest_is_zero {
            return Err(Errno::EINVAL);
        }
        out[..len].copy_from_slice(&bytes[..len]);
        // A component that the words leave out, or that lies beyond the area, is initialised.
        let wanted = xstate_bv & sw_reserved(image).xfeatures & components_within(layout, len);
        out[XSTATE_BV_OFFSET..XCOMP_BV_OFFSET].copy_from_slice(&wanted.to_le_bytes());
    } else {
        out[..FXSAVE_LEN].copy_from_slice(image);
        out[XSTATE_BV_OFFSET..XCOMP_BV_OFFSET].copy_from_slice(&LEGACY.to_le_bytes());
    }
    layout.seal(&mut out);
    Ok(out)
}

/// Components of `layout` that end within `len` bytes.
fn components_within(layout: &Layout, len: usize) -> u64 {
    if len >= layout.size {
        return layout.xfeatures;
    }
    (2..63)
        .filter(|bit| layout.xfeatures & 1 << bit != 0)
        .filter(|bit| {
            let leaf = __cpuid_count(0xd, *bit);
            leaf.ebx as usize + leaf.eax as usize <= len
        })
        .fold(LEGACY, |mask, bit| mask | 1 << bit)
}

/// An area of `layout`, with its magic number, that puts every component into the state of a fresh
/// thread.
pub fn minimal_fpstate(layout: &Layout) -> Vec<u8> {
    let mut out = vec![0; layout.frame_len()];
    out[..2].copy_from_slice(&FCW_DEFAULT.to_le_bytes());
    out[MXCSR_OFFSET..MXCSR_OFFSET + 4].copy_from_slice(&MXCSR_DEFAULT.to_le_bytes());
    out[MXCSR_MASK_OFFSET..MXCSR_MASK_OFFSET + 4].copy_from_slice(&layout.mxcsr_mask.to_le_bytes());
    layout.seal(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::arch::x86_64::{_xrstor64, _xsave64};

    #[repr(C, align(64))]
    struct Area([u8; 16384]);

    /// Loads `frame` with the processor itself (a fault would end the test) and stores the state
    /// again, all within one function that uses no vector code between.
    #[target_feature(enable = "xsave")]
    unsafe fn load_and_store(frame: &[u8], mask: u64) -> Area {
        let mut input = Box::new(Area([0; 16384]));
        input.0[..frame.len()].copy_from_slice(frame);
        let mut before = Box::new(Area([0; 16384]));
        let mut after = Box::new(Area([0; 16384]));
        // SAFETY: the areas are aligned and larger than any layout; the old state is put back.
        unsafe {
            _xsave64(before.0.as_mut_ptr(), mask);
            _xrstor64(input.0.as_ptr(), mask);
            _xsave64(after.0.as_mut_ptr(), mask);
            _xrstor64(before.0.as_ptr(), mask);
        }
        *after
    }

    fn takes(frame: &[u8]) -> Area {
        let mask = Layout::host().xfeatures & !XFEATURE_PKRU;
        // SAFETY: guarded by the tests' early return on hosts without xsave.
        unsafe { load_and_store(frame, mask) }
    }

    fn has_xsave() -> bool {
        read_xcr0().is_some()
    }

    /// A frame that the kernel itself made.
    fn kernel_frame() -> Vec<u8> {
        use std::sync::Mutex;
        static FRAME: Mutex<Vec<u8>> = Mutex::new(Vec::new());

        extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
            // SAFETY: the kernel passes a ucontext whose fpstate is an xsave area with its words.
            let bytes = unsafe {
                let context = &*context.cast::<libc::ucontext_t>();
                let start = context.uc_mcontext.fpregs.cast::<u8>();
                let image = &*start.cast::<[u8; FXSAVE_LEN]>();
                std::slice::from_raw_parts(start, sw_reserved(image).extended_size as usize)
            };
            // Raised synchronously by the test below, so allocating is fine.
            *FRAME.lock().unwrap() = bytes.to_vec();
        }

        // SAFETY: a plain handler for a signal that nothing else here uses.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGRTMIN() + 3, &action, std::ptr::null_mut());
            libc::raise(libc::SIGRTMIN() + 3);
        }
        FRAME.lock().unwrap().clone()
    }

    #[test]
    fn layout_agrees_with_the_kernels_own_frame() {
        if !has_xsave() {
            return;
        }
        let frame = kernel_frame();
        let sw = sw_reserved(frame.first_chunk().unwrap());
        let layout = Layout::host();
        assert_eq!(sw.magic1, MAGIC1);
        assert_eq!(sw.xfeatures & !XFEATURE_XTILE, layout.xfeatures);
        if sw.xfeatures & XFEATURE_XTILE == 0 {
            assert_eq!(sw.xstate_size as usize, layout.size);
            assert_eq!(sw.extended_size as usize, layout.frame_len());
            let valid = validate_frame(&frame, layout).unwrap();
            assert_eq!(valid, frame);
        }
    }

    #[test]
    fn initial_state_is_valid_and_loads() {
        let layout = Layout::host();
        let frame = minimal_fpstate(layout);
        assert_eq!(validate_frame(&frame, layout).as_deref(), Ok(&frame[..]));
        if has_xsave() {
            let area = takes(&frame);
            assert_eq!(area.0[0..2], FCW_DEFAULT.to_le_bytes());
            assert_eq!(read_u32(&area.0, MXCSR_OFFSET), MXCSR_DEFAULT);
            assert!(area.0[160..416].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let layout = Layout::host();
        let good = minimal_fpstate(layout);
        let refused = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            assert_eq!(validate_frame(&frame, layout), Err(Errno::EINVAL), "{at}");
        };
        refused(MXCSR_OFFSET + 3, 0xff);
        refused(XSTATE_BV_OFFSET + 7, 0x80);
        for at in XCOMP_BV_OFFSET..MIN_LEN {
            refused(at, 1);
        }
        for len in 0..FXSAVE_LEN {
            assert_eq!(validate_frame(&good[..len], layout), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn bad_magic_falls_back_to_the_image() {
        let layout = Layout::host();
        let mut frame = minimal_fpstate(layout);
        frame[XCOMP_BV_OFFSET] = 1;
        frame[160] = 0x5a;
        *frame.last_mut().unwrap() ^= 1;
        let valid = validate_frame(&frame, layout).unwrap();
        assert_eq!(read_u64(&valid, XSTATE_BV_OFFSET), LEGACY);
        assert_eq!(read_u64(&valid, XCOMP_BV_OFFSET), 0);
        if has_xsave() {
            assert_eq!(takes(&valid).0[160], 0x5a);
        }
    }

    #[test]
    fn any_bytes_load_once_validated() {
        let layout = Layout::host();
        let good = minimal_fpstate(layout);
        // xorshift, so that a failure can be had again.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut accepted = 0;
        for round in 0..20_000 {
            let mut frame = good.clone();
            let flips = next() % 8;
            for _ in 0..flips {
                let at = match next() % 3 {
                    0 => next() as usize % frame.len(),
                    1 => SW_RESERVED_OFFSET + next() as usize % 24,
                    _ => FXSAVE_LEN + next() as usize % HEADER_LEN,
                };
                frame[at] ^= 1 << (next() % 8);
            }
            if round % 3 == 0 {
                // Random payload under a sane header.
                for at in (32..SW_RESERVED_OFFSET).chain(MIN_LEN..layout.size) {
                    frame[at] = next() as u8;
                }
                frame[XSTATE_BV_OFFSET] = layout.xfeatures as u8;
            }
            if let Ok(valid) = validate_frame(&frame, layout) {
                accepted += 1;
                assert_eq!(valid.len(), layout.frame_len());
                if has_xsave() {
                    takes(&valid);
                }
            }
        }
        assert!(accepted > 1000);
    }

    #[test]
    fn short_areas_initialise_what_they_lack() {
        let layout = Layout::host();
        let mut frame = minimal_fpstate(layout);
        let sw = SwReserved {
            xstate_size: MIN_LEN as u32,
            ..layout.sw_reserved()
        };
        frame[SW_RESERVED_OFFSET..FXSAVE_LEN].copy_from_slice(bytemuck::bytes_of(&sw));
        frame[XSTATE_BV_OFFSET..XCOMP_BV_OFFSET].copy_from_slice(&layout.xfeatures.to_le_bytes());
        frame.truncate(MIN_LEN);
        frame.extend_from_slice(&MAGIC2.to_le_bytes());
        let valid = validate_frame(&frame, layout).unwrap();
        let kept = read_u64(&valid, XSTATE_BV_OFFSET);
        assert_eq!(kept & !LEGACY, components_within(layout, MIN_LEN) & !LEGACY);
        assert_eq!(kept & LEGACY, LEGACY);
    }
}
