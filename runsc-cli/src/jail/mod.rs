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
        crate::sys::install_filter(&program)
            .context(|| "install the seccomp filter of the sandbox".into())?;
    }
    Ok(())
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
        ("pread", "pread64"),
        ("pthread_sigmask", "rt_sigprocmask"),
        ("pwrite", "pwrite64"),
        ("recv", "recvfrom"),
        ("sched_getcpu", "getcpu"),
        ("send", "sendto"),
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
