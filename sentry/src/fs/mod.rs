//! File systems.

pub mod cgroup;
pub mod dev;
pub mod devpts;
pub mod fixed;
pub mod host;
pub mod mqueue;
pub mod overlay;
pub mod proc;
pub mod pseudo;
pub mod sysfs;
pub mod tmp;

#[cfg(test)]
pub(crate) mod tests;

/// The controlling terminal of a process as /proc/PID/stat has it: its number, and its foreground process group.
pub fn controlling_terminal(group: &crate::task::ThreadGroup) -> Option<(u64, i32)> {
    let tty = crate::tty::job::current(group)?;
    Some((tty.dev().encode(), tty.foreground()))
}
