//! File locks: flock(2), fcntl(2) POSIX and open-file-description locks.

use super::File;
use crate::executor::WaitQueue;
use std::sync::Arc;

/// The locks of one inode.
#[derive(Default)]
pub struct InodeLocks {
    /// Notified when a lock goes.
    pub changed: WaitQueue,
}

/// A descriptor of `file` in table `owner` is closed: the table's POSIX locks on the inode go.
pub(super) fn release_posix(_file: &Arc<File>, _owner: u64) {}

/// The last descriptor of a description is gone: its flock(2) and OFD locks go.
pub(super) fn release_file(_file: &File) {}
