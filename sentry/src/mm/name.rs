//! Names of anonymous memory (prctl(2), PR_SET_VMA_ANON_NAME).

use super::plan::{Done, Outcome, Steps, Stop};
use super::span::{Span, page_aligned, page_up};
use super::state::{Caller, State};
use super::vma::Backing;
use arch::{Errno, Result};
use std::sync::Arc;

/// Longest name, with its NUL (ANON_VMA_NAME_MAX_LEN).
pub const NAME_MAX: usize = 80;

/// EINVAL for a name that couldn't stand in a line of /proc/PID/maps.
pub fn check_name(name: &[u8]) -> Result<()> {
    let bad = |c: &u8| !(0x20..0x7f).contains(c) || b"\\`$[]".contains(c);
    if name.iter().any(bad) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

impl State {
    /// Names the anonymous memory of a range; `None` takes names away. EBADF where a file is mapped, ENOMEM for a hole.
    pub fn set_name(&mut self, who: &Caller, addr: u64, len: u64, name: Option<&[u8]>) -> Outcome {
        let len_up = page_up(len);
        if !page_aligned(addr) || len != 0 && len_up == 0 {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        let end = addr.checked_add(len_up).ok_or(Errno::EINVAL)?;
        if end == addr {
            return Ok(Done::just(0));
        }
        let mut good = Span::new(addr, end);
        self.check_pending(who.tid, good)?;
        self.check_count(self.cuts(good))?;
        let hole = !self.map.covers(good);
        let file = self
            .map
            .in_span(good)
            .find(|v| matches!(v.backing, Backing::File { .. } | Backing::Shm { .. }));
        let mut answer = if hole { Err(Errno::ENOMEM) } else { Ok(0) };
        if let Some(vma) = file {
            good.end = vma.span.start.max(addr);
            answer = Err(Errno::EBADF);
        }
        let name: Option<Arc<[u8]>> = name.map(Arc::from);
        self.update(good, |vma| vma.name.clone_from(&name));
        Ok(Done {
            answer,
            steps: Steps::new(),
        })
    }
}
