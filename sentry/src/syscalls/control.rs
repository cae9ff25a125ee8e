//! Ancillary data between the application's buffer and [`Control`] (cmsg(3)).

use super::Fd;
use crate::net::{Control, Socket, Ucred};
use crate::task::{Cx, cap};
use crate::user::UserAddr;
use crate::vfs::File;
use arch::abi::{Cmsghdr, MsgHdr, SCM_MAX_FD, cmsg_align, cmsg_len, cmsg_space};
use arch::{Errno, Result};
use std::sync::Arc;

/// net.core.optmem_max: the longest control buffer of a send.
const OPTMEM_MAX: u64 = 131_072;
const HEADER: usize = size_of::<Cmsghdr>();
/// Bytes of a descriptor.
const FD: usize = 4;

/// Reads what goes with a message: ENOBUFS for too long a buffer, EINVAL for nonsense in it, EBADF, EPERM.
pub(super) fn read(cx: &Cx, socket: &Arc<dyn Socket>, hdr: &MsgHdr) -> Result<Vec<Control>> {
    if hdr.control == 0 || hdr.controllen == 0 {
        return Ok(Vec::new());
    }
    if hdr.controllen > OPTMEM_MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut buf = vec![0; hdr.controllen as usize];
    cx.read_bytes(UserAddr(hdr.control), &mut buf)?;
    parse(cx, socket, &buf)
}

fn parse(cx: &Cx, socket: &Arc<dyn Socket>, buf: &[u8]) -> Result<Vec<Control>> {
    let family = i32::from(socket.base().family);
    let mut out = Vec::new();
    let mut files: Vec<Arc<File>> = Vec::new();
    for item in Items(buf) {
        let (header, data) = item?;
        match (header.level, header.kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => match family {
                libc::AF_UNIX => read_rights(cx, data, &mut files)?,
                libc::AF_NETLINK => return Err(Errno::EINVAL),
                _ => {}
            },
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                if matches!(family, libc::AF_UNIX | libc::AF_NETLINK) {
                    out.push(Control::Credentials(read_credentials(cx, data)?));
                }
            }
            (libc::SOL_SOCKET, _) if family == libc::AF_UNIX => return Err(Errno::EINVAL),
            // Not for Unix sockets: they skip it.
            _ if family == libc::AF_UNIX => {}
            (level, kind) => out.push(Control::Raw {
                level,
                kind,
                data: data.into(),
            }),
        }
    }
    if !files.is_empty() {
        out.push(Control::Rights(files));
    }
    Ok(out)
}

/// The same, for whoever only wants to see it taken apart.
pub(crate) fn items(buf: &[u8]) -> impl Iterator<Item = Result<(Cmsghdr, &[u8])>> {
    Items(buf)
}

/// The messages of a control buffer (for_each_cmsghdr): EINVAL for a length that doesn't fit.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<(Cmsghdr, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let header: Cmsghdr = bytemuck::pod_read_unaligned(self.0.get(..HEADER)?);
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let Some(data) = self.0.get(HEADER..len) else {
            self.0 = &[];
            return Some(Err(Errno::EINVAL));
        };
        self.0 = self.0.get(cmsg_align(len)..).unwrap_or_default();
        Some(Ok((header, data)))
    }
}

fn read_rights(cx: &Cx, data: &[u8], files: &mut Vec<Arc<File>>) -> Result<()> {
    let count = data.len() / FD;
    if files.len() + count > SCM_MAX_FD {
        return Err(Errno::EINVAL);
    }
    let table = cx.task.files();
    for fd in data.chunks_exact(FD) {
        let fd: i32 = bytemuck::pod_read_unaligned(fd);
        files.push(table.get_raw(Fd(fd))?);
    }
    Ok(())
}

/// What a task may say of itself (scm_check_creds): its own pid and one of its ids, or anything with the capability.
fn read_credentials(cx: &Cx, data: &[u8]) -> Result<Ucred> {
    if data.len() != size_of::<Ucred>() {
        return Err(Errno::EINVAL);
    }
    let named: Ucred = bytemuck::pod_read_unaligned(data);
    let creds = cx.task.creds();
    let pid = named.pid == cx.task.group.pid || creds.has_cap(cap::SYS_ADMIN);
    let uid =
        [creds.uid, creds.euid, creds.suid].contains(&named.uid) || creds.has_cap(cap::SETUID);
    let gid =
        [creds.gid, creds.egid, creds.sgid].contains(&named.gid) || creds.has_cap(cap::SETGID);
    if !(pid && uid && gid) {
        return Err(Errno::EPERM);
    }
    if named.pid != cx.task.group.pid && cx.kernel().tasks.lock().task(named.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(named)
}

/// Stores what came with a message in the caller's buffer. Returns how much of the buffer is used, and whether something found no room
/// (MSG_CTRUNC). Files that found none are closed.
pub(super) fn write(cx: &Cx, hdr: &MsgHdr, control: Vec<Control>, cloexec: bool) -> (usize, bool) {
    let room = if hdr.control == 0 {
        0
    } else {
        usize::try_from(hdr.controllen).unwrap_or(usize::MAX)
    };
    let mut out = Writer {
        cx,
        at: UserAddr(hdr.control),
        left: room,
        used: 0,
        cut: false,
    };
    for item in control {
        match item {
            Control::Credentials(cred) => {
                out.put(
                    libc::SOL_SOCKET,
                    libc::SCM_CREDENTIALS,
                    bytemuck::bytes_of(&cred),
                );
            }
            Control::PidFd(pid) => out.put_pidfd(pid),
            Control::Raw { level, kind, data } => out.put(level, kind, &data),
            Control::Rights(files) => out.put_rights(files, cloexec),
        }
    }
    (out.used, out.cut)
}

struct Writer<'a> {
    cx: &'a Cx,
    at: UserAddr,
    left: usize,
    used: usize,
    cut: bool,
}

impl Writer<'_> {
    /// put_cmsg of the kernel: what doesn't fit is cut.
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        if self.left < HEADER {
            self.cut = true;
            return;
        }
        let mut data = data;
        if cmsg_len(data.len()) > self.left {
            self.cut = true;
            data = &data[..self.left - HEADER];
        }
        let header = Cmsghdr {
            len: cmsg_len(data.len()) as u64,
            level,
            kind,
        };
        let mut bytes = bytemuck::bytes_of(&header).to_vec();
        bytes.extend_from_slice(data);
        if self.cx.write_bytes(self.at, &bytes).is_ok() {
            self.advance(data.len());
        }
    }

    fn advance(&mut self, data: usize) {
        let step = cmsg_space(data).min(self.left);
        self.at = self.at.add(step as u64);
        self.left -= step;
        self.used += step;
    }

    /// A descriptor of the sender's process, or the negative error number where there is none.
    fn put_pidfd(&mut self, pid: i32) {
        let group = self.cx.kernel().tasks.lock().group(pid);
        let fd = match group {
            _ if self.left < HEADER + FD => Err(Errno::EINVAL),
            Some(group) => crate::event::pidfd::install(self.cx, &group),
            None => Err(Errno::ESRCH),
        };
        let value = fd.unwrap_or_else(|e| -e.raw());
        self.put(libc::SOL_SOCKET, arch::abi::SCM_PIDFD, &value.to_ne_bytes());
    }

    /// scm_detach_fds of the kernel: as many descriptors as fit and can be opened.
    fn put_rights(&mut self, files: Vec<Arc<File>>, cloexec: bool) {
        let room = self.left.saturating_sub(HEADER) / FD;
        let count = files.len();
        let mut fds: Vec<i32> = Vec::new();
        for file in files.into_iter().take(room) {
            match super::pipe::install(self.cx, file, cloexec) {
                Ok(fd) => fds.push(fd.0),
                Err(_) => break,
            }
        }
        if fds.len() < count {
            self.cut = true;
        }
        if !fds.is_empty() {
            let cut = self.cut;
            self.put(
                libc::SOL_SOCKET,
                libc::SCM_RIGHTS,
                bytemuck::cast_slice(&fds),
            );
            self.cut = cut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(len: u64, data: &[u8]) -> Vec<u8> {
        let header = Cmsghdr {
            len,
            level: 1,
            kind: 2,
        };
        let mut bytes = bytemuck::bytes_of(&header).to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn messages_are_found_one_behind_the_other() {
        let buf = [item(20, &[1, 2, 3, 4]), item(16, &[]), item(17, &[9])].concat();
        let data: Vec<_> = Items(&buf).map(|i| i.unwrap().1.to_vec()).collect();
        assert_eq!(data, [vec![1, 2, 3, 4], vec![], vec![9]]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_einval() {
        for len in [0, 15, 25, u64::MAX] {
            let buf = item(len, &[0; 8]);
            assert_eq!(Items(&buf).next(), Some(Err(Errno::EINVAL)), "{len}");
            assert_eq!(Items(&buf).count(), 1);
        }
        // Too short for a header: nothing there.
        assert_eq!(Items(&[0; 15]).next(), None);
    }
}
