//! Tables of mounts: /proc/PID/mounts, /proc/PID/mountinfo.

use super::mount::{Mount, MountFlags};
use super::path::Path;
use std::sync::Arc;

/// A mount that can be seen from somewhere.
pub struct MountInfo {
    pub mount: Arc<Mount>,
    pub parent_id: u64,
    /// The mountpoint seen from the root asked for.
    pub point: Vec<u8>,
}

impl MountInfo {
    fn options(flags: MountFlags, out: &mut Vec<u8>) {
        out.extend_from_slice(if flags.contains(MountFlags::RDONLY) {
            b"ro"
        } else {
            b"rw"
        });
        for (flag, name) in [
            (MountFlags::NOSUID, ",nosuid"),
            (MountFlags::NODEV, ",nodev"),
            (MountFlags::NOEXEC, ",noexec"),
            (MountFlags::NOATIME, ",noatime"),
            (MountFlags::NODIRATIME, ",nodiratime"),
            (MountFlags::RELATIME, ",relatime"),
            (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
        ] {
            if flags.contains(flag) {
                out.extend_from_slice(name.as_bytes());
            }
        }
    }

    /// A line of /proc/PID/mounts.
    pub fn mounts_line(&self, out: &mut Vec<u8>) {
        let sb = self.mount.sb();
        escape(
            if self.mount.source.is_empty() {
                b"none"
            } else {
                &self.mount.source
            },
            out,
        );
        out.push(b' ');
        escape(&self.point, out);
        out.push(b' ');
        out.extend_from_slice(sb.fs.type_name().as_bytes());
        out.push(b' ');
        let flags = self.mount.flags()
            | if sb.read_only() {
                MountFlags::RDONLY
            } else {
                MountFlags::empty()
            };
        Self::options(flags, out);
        out.extend_from_slice(&sb.fs.options());
        out.extend_from_slice(b" 0 0\n");
    }

    /// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
    pub fn mountinfo_line(&self, out: &mut Vec<u8>) {
        let sb = self.mount.sb();
        let ids = format!(
            "{} {} {}:{} ",
            self.mount.id, self.parent_id, sb.dev.major, sb.dev.minor
        );
        out.extend_from_slice(ids.as_bytes());
        escape(&Path::within_fs(&self.mount.root), out);
        out.push(b' ');
        escape(&self.point, out);
        out.push(b' ');
        Self::options(self.mount.flags(), out);
        let spreads = self.mount.propagation();
        for (name, group) in [("shared", spreads.shared), ("master", spreads.master)] {
            if let Some(group) = group {
                out.extend_from_slice(format!(" {name}:{group}").as_bytes());
            }
        }
        if spreads.unbindable {
            out.extend_from_slice(b" unbindable");
        }
        out.extend_from_slice(b" - ");
        out.extend_from_slice(sb.fs.type_name().as_bytes());
        out.push(b' ');
        escape(
            if self.mount.source.is_empty() {
                b"none"
            } else {
                &self.mount.source
            },
            out,
        );
        out.push(b' ');
        out.extend_from_slice(if sb.read_only() { b"ro" } else { b"rw" });
        out.extend_from_slice(&sb.fs.options());
        out.push(b'\n');
    }
}

/// Space, tab, newline, backslash and `#` as octal, as in /proc/mounts.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &b in text {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                out.extend_from_slice(format!("\\{b:03o}").as_bytes())
            }
            _ => out.push(b),
        }
    }
}
