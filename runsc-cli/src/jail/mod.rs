//! The seccomp filter of the Sentry's process: the second wall.
//!
//! A program that breaks out of its stub and takes over the Sentry can ask the host for what stands in [`rules`] and for
//! nothing else. No call there takes a path that leaves the directories the Sentry holds open, makes a process, opens a socket
//! to somewhere, loads code, or changes identity.
//!
//! Whatever is not listed kills the whole process at once. With `--debug` it traps instead, so that the call can be named
//! before the process ends; it isn't made in either case.

mod rules;
mod violation;

use crate::failure::{Context, Failure, Result};
use rules::{Rule, When};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Puts the process into the jail. There is no way back.
pub fn enter(debug: bool) -> Result<()> {
    if debug {
        violation::report_them();
    }
    let forbidden = if debug {
        SeccompAction::Trap
    } else {
        SeccompAction::KillProcess
    };
    // Two filters: a call is allowed only if both say so, and the second answers a few with an error that callers know to
    // deal with.
    let program = compile(forbidden)?;
    let refuse = compile_refusals()?;
    for program in [refuse, program] {
        let program = quick(program);
        crate::sys::install_filter(&program)
            .context(|| "install the seccomp filter of the sandbox".into())?;
    }
    Ok(())
}

/// Calls of every use of a file, for which all of their rule is that the first argument is a descriptor.
const QUICK: &[libc::c_long] = &[
    libc::SYS_statx,
    libc::SYS_openat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fchownat,
    libc::SYS_fchmodat2,
    libc::SYS_utimensat,
];

/// Puts before a filter what allows these calls. A filter goes through its calls one by one, and these, whose arguments
/// matter, are not among those of which the host remembers the answer.
fn quick(program: BpfProgram) -> BpfProgram {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Offsets in struct seccomp_data: number, architecture, low half of the first argument.
    const NR: u32 = 0;
    const ARCH: u32 = 4;
    const FIRST: u32 = 16;
    const X86_64: u32 = 0xc000_003e;
    let op = |code, k, jt, jf| seccompiler::sock_filter { code, jt, jf, k };
    let calls = QUICK.len() as u8;
    let mut out = vec![
        op(LOAD, ARCH, 0, 0),
        // Another architecture: past all of this.
        op(EQUAL, X86_64, 0, calls + 4),
        op(LOAD, NR, 0, 0),
    ];
    for (i, call) in (0..calls).zip(QUICK) {
        // None of them: past the test of the argument.
        let past = if i + 1 == calls { 3 } else { 0 };
        out.push(op(EQUAL, *call as u32, calls - 1 - i, past));
    }
    out.extend([
        op(LOAD, FIRST, 0, 0),
        op(AT_LEAST, 1 << 31, 1, 0),
        op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
    out.extend(program);
    out
}

fn compile(forbidden: SeccompAction) -> Result<BpfProgram> {
    let rules = rules::ALLOWED.iter().chain(rules::REFUSED);
    program(alternatives(rules)?, forbidden, SeccompAction::Allow)
}

fn alternatives<'a>(
    rules: impl Iterator<Item = &'a Rule>,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules {
        let alternatives = map.entry(rule.call).or_default();
        if let When::Any(conditions) = rule.when {
            for conditions in conditions {
                alternatives.push(conjunction(conditions)?);
            }
        }
    }
    Ok(map)
}

/// What the second filter answers with ENOSYS.
fn compile_refusals() -> Result<BpfProgram> {
    program(
        alternatives(rules::REFUSED.iter())?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )
}

fn program(
    map: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(|e| bad(&e))?;
    let filter = SeccompFilter::new(map, otherwise, matched, arch).map_err(|e| bad(&e))?;
    filter.try_into().map_err(|e| bad(&e))
}

fn conjunction(conditions: &[rules::Condition]) -> Result<SeccompRule> {
    let one = |c: &rules::Condition| {
        let width = if c.wide {
            SeccompCmpArgLen::Qword
        } else {
            SeccompCmpArgLen::Dword
        };
        SeccompCondition::new(c.argument, width, c.test.clone(), c.value).map_err(|e| bad(&e))
    };
    SeccompRule::new(conditions.iter().map(one).collect::<Result<_>>()?).map_err(|e| bad(&e))
}

fn bad(e: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("compile the seccomp filter of the sandbox: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_is_small() {
        let program = compile(SeccompAction::KillProcess).unwrap();
        assert!((50..4096).contains(&program.len()), "{}", program.len());
        assert!(compile_refusals().unwrap().len() < 20);
    }

    /// What a program of the operations that filters here use says of a call.
    fn verdict(program: &BpfProgram, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let word = |at: u32| match at {
            0 => nr,
            4 => arch,
            at => {
                let arg = args[(at as usize - 16) / 8];
                if at % 8 == 0 {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let op = &program[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { op.jt } else { op.jf });
            match op.code {
                0x20 => a = word(op.k),
                0x54 => a &= op.k,
                0x05 => at += op.k as usize,
                0x15 => at += branch(a == op.k),
                0x25 => at += branch(a > op.k),
                0x35 => at += branch(a >= op.k),
                0x06 => return op.k,
                code => panic!("operation {code:#x}"),
            }
        }
    }

    #[test]
    fn the_quick_way_says_what_the_rules_say() {
        let programs = [
            compile(SeccompAction::KillProcess).unwrap(),
            compile_refusals().unwrap(),
        ];
        for program in programs {
            let both = quick(program.clone());
            for arch in [0xc000_003e, 0x4000_0003] {
                for nr in (0..480).chain([0x4000_0000 | 332, u32::MAX]) {
                    for first in [
                        0,
                        3,
                        0x7fff_ffff,
                        0x8000_0000,
                        (-100_i64).cast_unsigned(),
                        1 << 40,
                    ] {
                        let args = [first, 0, 0, 0, 0, 0];
                        assert_eq!(
                            verdict(&program, arch, nr, args),
                            verdict(&both, arch, nr, args),
                            "{arch:x} {nr} {first:x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_rule_has_a_reason_and_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        let refused = rules::REFUSED.iter().map(|rule| (rule, false));
        for (rule, allowed) in rules::ALLOWED.iter().map(|r| (r, true)).chain(refused) {
            assert!(!rule.reason.is_empty(), "{}", rule.call);
            assert!(seen.insert((rule.call, allowed)), "{} twice", rule.call);
            if let When::Any(alternatives) = rule.when {
                assert!(
                    !alternatives.is_empty(),
                    "{}: no alternative allows everything",
                    rule.call
                );
                assert!(alternatives.iter().all(|a| !a.is_empty()), "{}", rule.call);
            }
        }
    }

    #[test]
    fn what_breaks_out_is_not_there() {
        for name in [
            "execve",
            "execveat",
            "fork",
            "vfork",
            "ptrace",
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "unshare",
            "open",
            "socket",
            "connect",
            "bind",
            "bpf",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "keyctl",
            "open_by_handle_at",
            "name_to_handle_at",
            "init_module",
            "kexec_load",
            "setuid",
            "capset",
            "process_madvise",
            "pidfd_getfd",
            "seccomp",
            "iopl",
            "modify_ldt",
            "reboot",
            "swapon",
            "quotactl",
            "acct",
            "mknod",
        ] {
            let nr = arch::nr::by_name(name).unwrap() as i64;
            assert!(rules::ALLOWED.iter().all(|r| r.call != nr), "{name}");
        }
    }

    /// What the C library makes of a function whose name isn't that of its call.
    const WRAPPERS: &[(&str, &str)] = &[
        ("eventfd", "eventfd2"),
        ("fstat", "newfstatat"),
        ("fstatvfs", "fstatfs"),
        ("pread", "pread64"),
        ("pthread_sigmask", "rt_sigprocmask"),
        ("pwrite", "pwrite64"),
        ("recv", "recvfrom"),
        ("sched_getcpu", "getcpu"),
        ("send", "sendto"),
        ("sigaction", "rt_sigaction"),
        ("signalfd", "signalfd4"),
        ("waitpid", "wait4"),
    ];

    /// Functions that make no host call, or only before the jail is closed.
    const NONE: &[&str] = &["getauxval", "open", "sigaddset", "sigemptyset", "syscall"];

    /// The rooms that make host calls for a running Sentry: what they use must be allowed, or a rare path ends the sandbox.
    #[test]
    fn every_host_call_of_the_sentry_is_allowed() {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files: Vec<_> = std::fs::read_dir(top.join("sentry/src/host"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.extend(["sys.rs", "mem.rs"].map(|name| top.join("systrap/src").join(name)));
        let allowed = |name: &str| {
            let name = WRAPPERS
                .iter()
                .find(|(n, _)| *n == name)
                .map_or(name, |(_, call)| call);
            let nr = arch::nr::by_name(name).map(|nr| nr as i64);
            rules::ALLOWED.iter().any(|rule| Some(rule.call) == nr)
        };
        let mut missing = std::collections::BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for piece in code.split("libc::").skip(1) {
                let end = piece
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap();
                let call = match piece[..end].strip_prefix("SYS_") {
                    Some(call) => call,
                    None if piece[end..].starts_with('(') => &piece[..end],
                    None => continue,
                };
                let is_function = call.starts_with(|c: char| c.is_ascii_lowercase());
                if is_function && !NONE.contains(&call) && !allowed(call) {
                    missing.insert(format!("{call} in {}", file.file_name().unwrap().display()));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
