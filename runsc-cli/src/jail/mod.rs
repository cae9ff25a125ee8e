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
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules::ALLOWED.iter().chain(rules::REFUSED) {
        let alternatives = map.entry(rule.call).or_default();
        if let When::Any(conditions) = rule.when {
            for conditions in conditions {
                alternatives.push(conjunction(conditions)?);
            }
        }
    }
    program(map, forbidden, SeccompAction::Allow)
}

/// What the second filter answers with ENOSYS.
fn compile_refusals() -> Result<BpfProgram> {
    let map = rules::REFUSED
        .iter()
        .map(|Rule { call, .. }| (*call, Vec::new()))
        .collect();
    program(
        map,
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
        for rule in rules::ALLOWED.iter().chain(rules::REFUSED) {
            assert!(!rule.reason.is_empty(), "{}", rule.call);
            assert!(seen.insert(rule.call), "{} twice", rule.call);
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
            "mknodat",
        ] {
            let nr = arch::nr::by_name(name).unwrap() as i64;
            assert!(rules::ALLOWED.iter().all(|r| r.call != nr), "{name}");
        }
    }
}
