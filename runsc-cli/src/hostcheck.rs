//! What the host must have, looked at before anything runs.

use crate::failure::{Failure, Result};
use nix::errno::Errno;

/// Oldest kernel that has all we use: mount_setattr(2) came with 5.12, what follows it was settled by 5.15.
const OLDEST: (u32, u32) = (5, 15);

/// Checks kernel version, seccomp, process_vm_readv(2), memfd_create(2). Costs a few microseconds.
pub fn check() -> Result<()> {
    let uname = nix::sys::utsname::uname().map_err(|e| Failure::new(format!("uname: {e}")))?;
    let release = uname.release().to_string_lossy();
    if !recent_enough(&release) {
        return Err(missing(&format!(
            "Linux {}.{} or newer; this host runs {release}. Use a host with a newer kernel",
            OLDEST.0, OLDEST.1
        )));
    }
    if let Err(e) = crate::sys::seccomp_trap_available() {
        return Err(missing(&format!(
            "seccomp filters with SECCOMP_RET_TRAP (seccomp: {e}). The kernel needs CONFIG_SECCOMP_FILTER, and inside another \
             container seccomp(2) must be allowed"
        )));
    }
    if let Err(e) = crate::sys::process_vm_available() {
        return Err(missing(&format!(
            "process_vm_readv(2) ({e}). The kernel needs CONFIG_CROSS_MEMORY_ATTACH, and inside another container the call \
             must be allowed (Docker: --security-opt seccomp=unconfined)"
        )));
    }
    if ptrace_scope() == Some(3) {
        return Err(missing(
            "process_vm_readv(2) on its own children, which kernel.yama.ptrace_scope = 3 forbids for good. Boot with a \
             lower value",
        ));
    }
    if let Err(e) = nix::sys::memfd::memfd_create(c"check", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
    {
        return Err(missing(&format!(
            "memfd_create(2) ({e}). The kernel needs CONFIG_MEMFD_CREATE"
        )));
    }
    Ok(())
}

fn missing(what: &str) -> Failure {
    Failure::new(format!(
        "this host lacks something that runsc needs: {what}"
    ))
}

fn recent_enough(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= OLDEST
}

/// kernel.yama.ptrace_scope; `None` without Yama.
pub fn ptrace_scope() -> Option<u32> {
    sysctl("kernel/yama/ptrace_scope")
}

fn sysctl(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/sys/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Why the host refused new namespaces.
pub fn explain_clone(error: Errno, root: bool) -> Failure {
    let why = match error {
        Errno::EPERM if sysctl("kernel/unprivileged_userns_clone") == Some(0) => {
            "kernel.unprivileged_userns_clone is 0: set it to 1, or run as root"
        }
        Errno::EPERM if sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1) => {
            "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0, or run as root"
        }
        Errno::EPERM if root => {
            "CAP_SYS_ADMIN is missing or a seccomp filter forbids it: inside another container, give it that capability and \
             an unconfined seccomp profile"
        }
        Errno::EPERM => {
            "users may not make user namespaces here: run as root, or outside of the container that forbids it"
        }
        Errno::ENOSPC => {
            "a limit is reached: see user.max_user_namespaces and its kin in /proc/sys/user"
        }
        Errno::EINVAL => {
            "the kernel lacks a kind of namespace: it needs CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS, CONFIG_UTS_NS"
        }
        _ => "see clone(2)",
    };
    missing(&format!("new namespaces ({}). {why}", error.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for fine in [
            "5.15.0",
            "5.15",
            "6.1.0-18-amd64",
            "6.18.44-fc-v657",
            "10.0",
        ] {
            assert!(recent_enough(fine), "{fine}");
        }
        for old in ["5.14.21-generic", "4.19.0", "5", "", "x.y"] {
            assert!(!recent_enough(old), "{old}");
        }
    }

    #[test]
    fn this_host_will_do() {
        check().unwrap();
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let text = explain_clone(Errno::ENOSPC, false).message;
        assert!(text.contains("user.max_user_namespaces"), "{text}");
    }
}
