//! futex_waitv(2), futex_wake(2), futex_wait(2), futex_requeue(2), for what the stub hands on: addresses outside of the
//! application's memory, and futex_requeue(2) with words or flags that it doesn't take.

use crate::task::Cx;
use crate::user::{UserAddr, UserRef};
use arch::abi::{FUTEX_WAITV_MAX, FUTEX2_PRIVATE, FUTEX2_SIZE_MASK, FUTEX2_SIZE_U32, FutexWaitv};
use arch::{Errno, Result};

/// The stub does these itself but for addresses outside of the application's memory.
const OUTSIDE: Result<u64> = Err(Errno::EFAULT);

fn check_flags(flags: u32) -> Result<()> {
    let known = FUTEX2_SIZE_MASK | arch::abi::FUTEX2_NUMA | FUTEX2_PRIVATE;
    if flags & !known != 0 || flags & FUTEX2_SIZE_MASK != FUTEX2_SIZE_U32 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// futex_waitv(2).
pub fn futex_waitv(_: &Cx, waiters: u64, n: u32, flags: u32) -> Result<u64> {
    if flags != 0 || n == 0 || n > FUTEX_WAITV_MAX || waiters == 0 {
        return Err(Errno::EINVAL);
    }
    OUTSIDE
}

/// futex_wake(2) of Linux 6.7.
pub fn futex_wake(_: &Cx, addr: u64, mask: u64, flags: u32) -> Result<u64> {
    check_flags(flags)?;
    if mask >> 32 != 0 || !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    OUTSIDE
}

/// futex_wait(2) of Linux 6.7.
pub fn futex_wait(_: &Cx, addr: u64, val: u64, mask: u64, flags: u32) -> Result<u64> {
    check_flags(flags)?;
    if val >> 32 != 0 || mask >> 32 != 0 || mask == 0 || !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    OUTSIDE
}

/// futex_requeue(2) of Linux 6.7. Both words must be private or both shared: ENOSYS else.
pub fn futex_requeue(cx: &Cx, waiters: u64, flags: u32) -> Result<u64> {
    if flags != 0 || waiters == 0 {
        return Err(Errno::EINVAL);
    }
    let size = size_of::<FutexWaitv>() as u64;
    let mut kinds = [0; 2];
    for (kind, at) in kinds.iter_mut().zip([waiters, waiters.wrapping_add(size)]) {
        let word: FutexWaitv = cx.read_obj(UserRef::new(UserAddr(at)))?;
        if word.reserved != 0 || word.val >> 32 != 0 {
            return Err(Errno::EINVAL);
        }
        check_flags(word.flags)?;
        *kind = word.flags;
    }
    if kinds[0] != kinds[1] || kinds[0] & arch::abi::FUTEX2_NUMA != 0 {
        return Err(Errno::ENOSYS);
    }
    OUTSIDE
}
