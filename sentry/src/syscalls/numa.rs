//! NUMA policies (numa(7)) on a machine with one node.
//!
//! Whatever a policy asks for, memory comes from node 0; a policy that names another node is refused as Linux refuses
//! one that isn't online. The thread's policy is kept, for get_mempolicy(2); those of ranges are checked only.

use crate::mm::{NumaPolicy, Span, page_aligned, page_up};
use crate::task::{Cx, cap};
use crate::user::UserRef;
use arch::{Errno, Result};

const MPOL_DEFAULT: i32 = 0;
const MPOL_PREFERRED: i32 = 1;
const MPOL_BIND: i32 = 2;
const MPOL_LOCAL: i32 = 4;
const MPOL_WEIGHTED_INTERLEAVE: i32 = 6;
const MPOL_F_NUMA_BALANCING: i32 = 1 << 13;
const MPOL_F_RELATIVE_NODES: i32 = 1 << 14;
const MPOL_F_STATIC_NODES: i32 = 1 << 15;
const MODE_FLAGS: i32 = MPOL_F_NUMA_BALANCING | MPOL_F_RELATIVE_NODES | MPOL_F_STATIC_NODES;

/// Flags of get_mempolicy(2).
const MPOL_F_NODE: u64 = 1;
const MPOL_F_ADDR: u64 = 2;
const MPOL_F_MEMS_ALLOWED: u64 = 4;
/// Flags of mbind(2): STRICT, MOVE, MOVE_ALL.
const MBIND_FLAGS: u32 = 7;
const MPOL_MF_MOVE_ALL: u32 = 4;

/// The node set of a call. EINVAL for a set longer than a page of bits, or one with a node that doesn't exist.
fn read_nodes(cx: &Cx, mask: UserRef<u64>, max_node: u64) -> Result<bool> {
    // The kernel takes one bit off the count.
    let bits = max_node.saturating_sub(1);
    if bits == 0 || mask.is_null() {
        return Ok(false);
    }
    if bits > 4096 * 8 {
        return Err(Errno::EINVAL);
    }
    let words: Vec<u64> = cx.read_array(mask, usize::try_from(bits.div_ceil(64)).unwrap_or(0))?;
    let (first, rest) = words.split_first().ok_or(Errno::EINVAL)?;
    let used = if bits < 64 {
        first & ((1 << bits) - 1)
    } else {
        *first
    };
    if used & !1 != 0 || rest.iter().any(|w| *w != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(used & 1 != 0)
}

fn policy(cx: &Cx, mode: i32, mask: UserRef<u64>, max_node: u64) -> Result<NumaPolicy> {
    let flags = mode & MODE_FLAGS;
    let base = mode & !MODE_FLAGS;
    let both = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;
    if !(MPOL_DEFAULT..=MPOL_WEIGHTED_INTERLEAVE).contains(&base)
        || flags & both == both
        || flags & MPOL_F_NUMA_BALANCING != 0 && base != MPOL_BIND
    {
        return Err(Errno::EINVAL);
    }
    let node = read_nodes(cx, mask, max_node)?;
    let fits = match base {
        MPOL_DEFAULT | MPOL_LOCAL => !node && (base == MPOL_DEFAULT || flags == 0),
        MPOL_PREFERRED => node || flags & both == 0,
        _ => node,
    };
    if fits {
        Ok(NumaPolicy { mode, node })
    } else {
        Err(Errno::EINVAL)
    }
}

/// set_mempolicy(2).
pub fn set_mempolicy(cx: &Cx, mode: i32, mask: UserRef<u64>, max_node: u64) -> Result<()> {
    let policy = policy(cx, mode, mask, max_node)?;
    *cx.task.numa_policy.lock() = policy;
    Ok(())
}

/// mbind(2): checked; all memory is on the one node anyway.
pub fn mbind(
    cx: &Cx,
    addr: u64,
    len: u64,
    mode: i32,
    mask: UserRef<u64>,
    max_node: u64,
    flags: u32,
) -> Result<()> {
    if !page_aligned(addr) || flags & !MBIND_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MPOL_MF_MOVE_ALL != 0 && !cx.task.creds().has_cap(cap::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    policy(cx, mode, mask, max_node)?;
    let end = addr.wrapping_add(page_up(len));
    if end < addr {
        return Err(Errno::EINVAL);
    }
    let covered = end == addr || cx.task.mm().with(|s| s.map.covers(Span::new(addr, end)));
    if covered { Ok(()) } else { Err(Errno::EFAULT) }
}

/// get_mempolicy(2).
pub fn get_mempolicy(
    cx: &Cx,
    mode: UserRef<i32>,
    mask: UserRef<u64>,
    max_node: u64,
    addr: u64,
    flags: u64,
) -> Result<()> {
    if flags & !(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) != 0
        || !mask.is_null() && max_node < 1
    {
        return Err(Errno::EINVAL);
    }
    let (value, node) = if flags & MPOL_F_MEMS_ALLOWED != 0 {
        if flags & (MPOL_F_NODE | MPOL_F_ADDR) != 0 {
            return Err(Errno::EINVAL);
        }
        (0, true)
    } else if flags & MPOL_F_ADDR != 0 {
        if cx.task.mm().with(|s| s.map.at(addr).is_none()) {
            return Err(Errno::EFAULT);
        }
        // The node of the page with MPOL_F_NODE, else the range's policy: the default one.
        (0, false)
    } else {
        let policy = *cx.task.numa_policy.lock();
        if addr != 0 || flags & MPOL_F_NODE != 0 && policy.mode & !MODE_FLAGS < 3 {
            return Err(Errno::EINVAL);
        }
        (
            if flags & MPOL_F_NODE != 0 {
                0
            } else {
                policy.mode
            },
            policy.node,
        )
    };
    if !mode.is_null() {
        cx.write_obj(mode, &value)?;
    }
    if !mask.is_null() {
        let words = usize::try_from(max_node.div_ceil(64).min(512)).unwrap_or(0);
        let mut set = vec![0_u64; words];
        if let Some(first) = set.first_mut() {
            *first = u64::from(node);
        }
        cx.write_bytes(mask.addr(), bytemuck::cast_slice(&set))?;
    }
    Ok(())
}
