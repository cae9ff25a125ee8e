//! How many pages of pipe buffers a user may have (pipe(7), fs.pipe-user-pages-soft).

use crate::task::{cap, current};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// fs.pipe-user-pages-soft: 64 MiB. New pipes are small beyond it, and none grows.
const SOFT: usize = 16_384;

static USERS: LazyLock<Mutex<HashMap<u32, usize>>> = LazyLock::new(Mutex::default);

/// A pipe's share.
pub(super) struct Share {
    uid: u32,
    pages: usize,
}

/// CAP_SYS_RESOURCE or CAP_SYS_ADMIN: no limit. What the kernel makes for itself has none either.
fn privileged() -> bool {
    current().is_none_or(|task| {
        let creds = task.creds();
        creds.has_cap(cap::SYS_RESOURCE) || creds.has_cap(cap::SYS_ADMIN)
    })
}

impl Share {
    /// A new pipe's share: `pages`, or `few` if the user has the limit's worth already.
    pub fn new(uid: u32, pages: usize, few: usize) -> Self {
        let mut users = USERS.lock();
        let have = users.entry(uid).or_default();
        let pages = if *have + pages > SOFT && !privileged() {
            few
        } else {
            pages
        };
        *have += pages;
        Self { uid, pages }
    }

    /// Pages it stands for.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Changes it (F_SETPIPE_SZ): EPERM for growth beyond the limit.
    pub fn resize(&mut self, pages: usize) -> Result<()> {
        let mut users = USERS.lock();
        let have = users.entry(self.uid).or_default();
        let others = have.saturating_sub(self.pages);
        if pages > self.pages && others + pages > SOFT && !privileged() {
            return Err(Errno::EPERM);
        }
        *have = others + pages;
        self.pages = pages;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        if let Some(have) = users.get_mut(&self.uid) {
            *have = have.saturating_sub(self.pages);
            if *have == 0 {
                users.remove(&self.uid);
            }
        }
    }
}
