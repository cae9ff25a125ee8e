//! The first stack: strings, auxiliary vector and pointers as execve(2) leaves them,
//! `create_elf_tables` in `fs/binfmt_elf.c`, getauxval(3).
//!
//! From high to low addresses: eight zero bytes, the executed path, environment, arguments, a
//! random gap, the platform's name, 16 random bytes, the auxiliary vector, environment pointers,
//! argument pointers, the argument count (where the stack pointer stands).

use arch::{Errno, Result};

/// `MAX_ARG_STRLEN`: longest argument or environment string with its NUL, in bytes.
pub const MAX_ARG_STRLEN: usize = 128 << 10;
/// `ARG_MAX`: room for arguments and environment that any stack limit leaves, in bytes.
pub const ARG_MAX: u64 = 128 << 10;
/// Three quarters of the default stack limit: the most that any stack limit gives, in bytes.
pub const ARG_TOTAL_MAX: u64 = (8 << 20) / 4 * 3;

/// Bytes that the random gap below the strings stays under.
pub const ALIGN_RANDOM_MAX: u64 = 8192;

/// What the auxiliary vector tells, getauxval(3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuxParams {
    /// AT_SYSINFO_EHDR: address of the vDSO; left out if None.
    pub sysinfo_ehdr: Option<u64>,
    /// AT_MINSIGSTKSZ, in bytes ([`arch::sigframe::min_sigstack`]).
    pub minsigstksz: u64,
    /// AT_HWCAP: on x86_64 CPUID leaf 1's EDX.
    pub hwcap: u64,
    /// AT_HWCAP2: bit 1 says that user mode may use `wrfsbase`.
    pub hwcap2: u64,
    /// AT_PHDR.
    pub phdr: u64,
    /// AT_PHENT.
    pub phent: u64,
    /// AT_PHNUM.
    pub phnum: u64,
    /// AT_BASE.
    pub base: u64,
    /// AT_ENTRY.
    pub entry: u64,
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    /// AT_SECURE: the program runs with more rights than who started it.
    pub secure: bool,
    /// AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN, in bytes, where rseq(2) exists.
    pub rseq: Option<(u64, u64)>,
}

/// What goes onto the stack.
#[derive(Clone, Copy, Debug)]
pub struct StackParams<'a, S> {
    /// End of the stack, page aligned.
    pub top: u64,
    /// Strings without their NUL (and without any inside).
    pub argv: &'a [S],
    pub envp: &'a [S],
    /// AT_EXECFN: the path that was executed, the script's for a script.
    pub execfn: &'a [u8],
    /// AT_PLATFORM ([`arch::MACHINE`]).
    pub platform: &'a [u8],
    /// AT_RANDOM.
    pub random: [u8; 16],
    /// Random number for the gap below the strings; zero for none.
    pub align_random: u64,
    /// RLIMIT_STACK's soft limit in bytes.
    pub stack_limit: u64,
}

/// A first stack, ready to be copied to `sp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackImage {
    /// From `sp` to the top.
    pub bytes: Vec<u8>,
    /// The first stack pointer, a multiple of 16.
    pub sp: u64,
    /// Bounds of the strings, /proc/PID/cmdline and environ.
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// The auxiliary vector as /proc/PID/auxv shows it, AT_NULL included.
    pub auxv: Vec<u8>,
}

/// The bytes that arguments, environment, the executed path and their pointers may take, given
/// RLIMIT_STACK's soft limit (`bprm_stack_limits`).
pub const fn arg_limit(stack_limit: u64) -> u64 {
    let quarter = stack_limit / 4;
    if quarter < ARG_MAX {
        ARG_MAX
    } else if quarter > ARG_TOTAL_MAX {
        ARG_TOTAL_MAX
    } else {
        quarter
    }
}

/// Counts down what the strings may still take.
struct Budget(u64);

impl Budget {
    fn new<S: AsRef<[u8]>>(params: &StackParams<'_, S>) -> Result<Budget> {
        let pointers = params.argv.len().max(1) as u64 + params.envp.len() as u64;
        let limit = arg_limit(params.stack_limit);
        match limit.checked_sub(pointers.saturating_mul(8)) {
            None | Some(0) => Err(Errno::E2BIG),
            Some(rest) => Ok(Budget(rest)),
        }
    }

    /// Takes `string` with its NUL.
    fn take(&mut self, string: &[u8]) -> Result<()> {
        let len = string.len() + 1;
        if len > MAX_ARG_STRLEN {
            return Err(Errno::E2BIG);
        }
        self.0 = self.0.checked_sub(len as u64).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

/// Builds the first stack.
///
/// An empty `argv` becomes one empty string, as Linux does since 5.18.
///
/// # Errors
/// E2BIG: a string beyond [`MAX_ARG_STRLEN`], or all of them beyond [`arg_limit`]. ENOMEM: `top` is
/// too low to hold it.
pub fn build<S: AsRef<[u8]>>(params: &StackParams<'_, S>, aux: &AuxParams) -> Result<StackImage> {
    let mut budget = Budget::new(params)?;
    budget.take(params.execfn)?;
    for string in params.envp.iter().chain(params.argv) {
        budget.take(string.as_ref())?;
    }

    // The strings, ascending from `arg_start` to the top.
    let mut strings = Vec::new();
    let argv = push_strings(&mut strings, params.argv.iter().map(AsRef::as_ref));
    let argv = if argv.is_empty() {
        push_strings(&mut strings, [&b""[..]].into_iter())
    } else {
        argv
    };
    let args_len = strings.len() as u64;
    let envp = push_strings(&mut strings, params.envp.iter().map(AsRef::as_ref));
    let env_len = strings.len() as u64;
    let execfn = strings.len() as u64;
    strings.extend_from_slice(params.execfn);
    strings.extend_from_slice(&[0; 9]);

    let below = |addr: u64, len: u64| addr.checked_sub(len).ok_or(Errno::ENOMEM);
    let arg_start = below(params.top, strings.len() as u64)?;
    let gap = params.align_random % ALIGN_RANDOM_MAX;
    let platform = below(
        below(arg_start, gap)? & !15,
        params.platform.len() as u64 + 1,
    )?;
    let random = below(platform, 16)?;

    let auxv = auxv(aux, arg_start + execfn, platform, random);
    let words = 1 + argv.len() + 1 + envp.len() + 1;
    let tables = (words * 8 + auxv.len()) as u64;
    let sp = below(random, tables)? & !15;

    let mut bytes = Vec::with_capacity((params.top - sp) as usize);
    let push = |bytes: &mut Vec<u8>, word: u64| bytes.extend_from_slice(&word.to_ne_bytes());
    push(&mut bytes, argv.len() as u64);
    for list in [&argv, &envp] {
        for offset in list {
            push(&mut bytes, arg_start + offset);
        }
        push(&mut bytes, 0);
    }
    bytes.extend_from_slice(&auxv);
    bytes.resize((random - sp) as usize, 0);
    bytes.extend_from_slice(&params.random);
    bytes.extend_from_slice(params.platform);
    bytes.resize((arg_start - sp) as usize, 0);
    bytes.extend_from_slice(&strings);

    Ok(StackImage {
        bytes,
        sp,
        arg_start,
        arg_end: arg_start + args_len,
        env_start: arg_start + args_len,
        env_end: arg_start + env_len,
        auxv,
    })
}

/// Appends strings with their NULs; answers the offset of each.
fn push_strings<'a>(out: &mut Vec<u8>, strings: impl Iterator<Item = &'a [u8]>) -> Vec<u64> {
    strings
        .map(|string| {
            let offset = out.len() as u64;
            out.extend_from_slice(string);
            out.push(0);
            offset
        })
        .collect()
}

/// The auxiliary vector in Linux's order.
fn auxv(aux: &AuxParams, execfn: u64, platform: u64, random: u64) -> Vec<u8> {
    /// Since Linux 6.3; not in every libc.
    const AT_RSEQ_FEATURE_SIZE: u64 = 27;
    const AT_RSEQ_ALIGN: u64 = 28;

    let mut entries = Vec::with_capacity(26);
    if let Some(address) = aux.sysinfo_ehdr {
        entries.push((libc::AT_SYSINFO_EHDR, address));
    }
    entries.extend([
        (libc::AT_MINSIGSTKSZ, aux.minsigstksz),
        (libc::AT_HWCAP, aux.hwcap),
        (libc::AT_PAGESZ, arch::PAGE_SIZE),
        (libc::AT_CLKTCK, arch::abi::CLK_TCK),
        (libc::AT_PHDR, aux.phdr),
        (libc::AT_PHENT, aux.phent),
        (libc::AT_PHNUM, aux.phnum),
        (libc::AT_BASE, aux.base),
        (libc::AT_FLAGS, 0),
        (libc::AT_ENTRY, aux.entry),
        (libc::AT_UID, u64::from(aux.uid)),
        (libc::AT_EUID, u64::from(aux.euid)),
        (libc::AT_GID, u64::from(aux.gid)),
        (libc::AT_EGID, u64::from(aux.egid)),
        (libc::AT_SECURE, u64::from(aux.secure)),
        (libc::AT_RANDOM, random),
        (libc::AT_HWCAP2, aux.hwcap2),
        (libc::AT_EXECFN, execfn),
        (libc::AT_PLATFORM, platform),
    ]);
    if let Some((size, align)) = aux.rseq {
        entries.push((AT_RSEQ_FEATURE_SIZE, size));
        entries.push((AT_RSEQ_ALIGN, align));
    }
    entries.push((libc::AT_NULL, 0));
    entries
        .iter()
        .flat_map(|(kind, value)| [kind.to_ne_bytes(), value.to_ne_bytes()])
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u64 = 0x7fff_ffff_f000;

    fn params<'a>(argv: &'a [&'a [u8]], envp: &'a [&'a [u8]]) -> StackParams<'a, &'a [u8]> {
        StackParams {
            top: TOP,
            argv,
            envp,
            execfn: b"/bin/true",
            platform: b"x86_64",
            random: [7; 16],
            align_random: 12345,
            stack_limit: 8 << 20,
        }
    }

    fn word(image: &StackImage, addr: u64) -> u64 {
        let at = (addr - image.sp) as usize;
        u64::from_ne_bytes(image.bytes[at..at + 8].try_into().unwrap())
    }

    fn string(image: &StackImage, addr: u64) -> &[u8] {
        let rest = &image.bytes[(addr - image.sp) as usize..];
        rest.split(|byte| *byte == 0).next().unwrap()
    }

    fn aux_value(image: &StackImage, kind: u64) -> Option<u64> {
        image.auxv.chunks_exact(16).find_map(|entry| {
            let (name, value) = entry.split_at(8);
            (name == kind.to_ne_bytes()).then(|| u64::from_ne_bytes(value.try_into().unwrap()))
        })
    }

    #[test]
    fn tables_point_at_the_strings() {
        let image = build(
            &params(&[b"true", b"", b"x y"], &[b"A=1", b"B=2"]),
            &AuxParams::default(),
        )
        .unwrap();
        assert_eq!(image.sp % 16, 0);
        assert_eq!(image.sp + image.bytes.len() as u64, TOP);
        assert_eq!(word(&image, image.sp), 3);
        let argument = |index: u64| string(&image, word(&image, image.sp + 8 + 8 * index));
        assert_eq!(
            [argument(0), argument(1), argument(2)],
            [&b"true"[..], b"", b"x y"]
        );
        assert_eq!(word(&image, image.sp + 32), 0);
        assert_eq!([argument(4), argument(5)], [&b"A=1"[..], b"B=2"]);
        assert_eq!(word(&image, image.sp + 56), 0);

        let auxv = &image.bytes[64..64 + image.auxv.len()];
        assert_eq!(auxv, image.auxv);
        let at = |kind| aux_value(&image, kind).unwrap();
        assert_eq!(string(&image, at(libc::AT_EXECFN)), b"/bin/true");
        assert_eq!(string(&image, at(libc::AT_PLATFORM)), b"x86_64");
        assert_eq!(&string(&image, at(libc::AT_RANDOM))[..16], [7; 16]);
        assert_eq!(at(libc::AT_PAGESZ), 4096);
        assert_eq!(aux_value(&image, libc::AT_SYSINFO_EHDR), None);
        assert_eq!(aux_value(&image, libc::AT_NULL), Some(0));

        let range =
            |from: u64, to: u64| &image.bytes[(from - image.sp) as usize..(to - image.sp) as usize];
        assert_eq!(range(image.arg_start, image.arg_end), b"true\0\0x y\0");
        assert_eq!(range(image.env_start, image.env_end), b"A=1\0B=2\0");
        assert_eq!(range(TOP - 8, TOP), [0; 8]);
    }

    #[test]
    fn no_arguments_become_an_empty_one() {
        let image = build(&params(&[], &[]), &AuxParams::default()).unwrap();
        assert_eq!(word(&image, image.sp), 1);
        assert_eq!(string(&image, word(&image, image.sp + 8)), b"");
        assert_eq!(image.arg_end - image.arg_start, 1);
    }

    #[test]
    fn stack_is_aligned_for_any_number_of_strings() {
        for count in 0..9 {
            for gap in [0, 1, 8191, u64::MAX] {
                let strings = vec![&b"abc"[..]; count];
                let mut params = params(&strings, &strings[..count / 2]);
                params.align_random = gap;
                let image = build(&params, &AuxParams::default()).unwrap();
                assert_eq!(image.sp % 16, 0);
                assert_eq!(image.sp + image.bytes.len() as u64, TOP);
            }
        }
    }

    #[test]
    fn one_string_has_a_limit() {
        let fits = vec![b'x'; MAX_ARG_STRLEN - 1];
        let exceeds = vec![b'x'; MAX_ARG_STRLEN];
        assert!(build(&params(&[&fits], &[]), &AuxParams::default()).is_ok());
        assert_eq!(
            build(&params(&[&exceeds], &[]), &AuxParams::default()),
            Err(Errno::E2BIG)
        );
        assert_eq!(
            build(&params(&[], &[&exceeds]), &AuxParams::default()),
            Err(Errno::E2BIG)
        );
    }

    #[test]
    fn all_strings_have_a_limit() {
        assert_eq!(arg_limit(0), 128 << 10);
        assert_eq!(arg_limit(8 << 20), 2 << 20);
        assert_eq!(arg_limit(u64::MAX), 6 << 20);

        // Pointers count: (strings of 1 KiB) * (1024 + 8) + "/bin/true\0" within 2 MiB.
        let text = [b'x'; 1023];
        let most = ((2 << 20) - 10) / (1024 + 8);
        let strings = vec![&text[..]; most];
        assert!(build(&params(&strings, &[]), &AuxParams::default()).is_ok());
        let strings = vec![&text[..]; most + 1];
        assert_eq!(
            build(&params(&strings, &[]), &AuxParams::default()),
            Err(Errno::E2BIG)
        );
        // Pointers alone may exceed it.
        let strings = vec![&b""[..]; 300_000];
        assert_eq!(
            build(&params(&strings, &[]), &AuxParams::default()),
            Err(Errno::E2BIG)
        );
    }

    #[test]
    fn a_low_top_is_refused() {
        for top in [0, 8, 64, 4096] {
            let mut params = params(&[b"true"], &[]);
            params.top = top;
            params.align_random = 8191;
            assert!(build(&params, &AuxParams::default()).is_err());
        }
    }
}
