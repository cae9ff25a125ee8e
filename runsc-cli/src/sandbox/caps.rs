//! What the Sentry may still do, in its own user namespace.

use super::failed;
use crate::failure::Result;
use crate::sys;
use nix::sys::prctl;
use sentry::task::cap;

/// Rights over files of whatever owner, as a root inside the container expects. They reach only as far as the directories
/// that the Sentry holds open.
const WRITE: &[u32] = &[
    cap::CHOWN,
    cap::DAC_OVERRIDE,
    cap::DAC_READ_SEARCH,
    cap::FOWNER,
    cap::FSETID,
    cap::SETFCAP,
];
/// The same where the host's files are only read.
const READ: &[u32] = &[cap::DAC_READ_SEARCH];

/// Drops every capability but those that file ownership needs, for good. `ptrace_scope` is Yama's.
pub fn drop_all(writes: bool, ptrace_scope: Option<u32>) -> Result<()> {
    let mut keep = if writes { WRITE } else { READ }
        .iter()
        .fold(0, |set, cap| set | 1u64 << cap);
    if ptrace_scope == Some(2) {
        // Yama wants it for process_vm_readv(2) on stubs, which live in this very user namespace.
        keep |= 1 << cap::SYS_PTRACE;
    }
    for capability in 0..64 {
        // Numbers beyond the last that the kernel knows are EINVAL.
        if keep & (1 << capability) == 0 && sys::drop_bounding(capability).is_err() {
            break;
        }
    }
    sys::set_capabilities(keep).map_err(|e| failed("give up capabilities", e))?;
    prctl::set_no_new_privs().map_err(|e| failed("set no_new_privs", e))
}
