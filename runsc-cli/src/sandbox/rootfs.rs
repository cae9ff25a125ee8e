//! The host's directories that the Sentry keeps open, and the empty root that it is left with.

use super::{failed, mountpoints};
use crate::failure::{Failure, Result};
use crate::oci::errno_text;
use crate::plan::{Kind, Mount, Plan};
use crate::sys;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sentry::config::{self, HostHandles, MountKind, Overlay};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens the root and everything that is to be bound: private copies of those mounts, in no namespace, without devices and
/// set-user-id, and read-only where nothing is to be written. So the host itself enforces what the Sentry promises.
pub fn open(plan: &Plan) -> Result<config::Root> {
    let readonly = plan.root.readonly || plan.root.overlay == Overlay::Memory;
    let context = |e| failed("root file system", e);
    if readonly && plan.root.overlay == Overlay::None {
        let writable = clone_mount(&plan.root.path, true, false).map_err(context)?;
        mountpoints::make(writable.as_fd(), plan);
    }
    let dir = clone_mount(&plan.root.path, true, readonly).map_err(context)?;
    Ok(config::Root {
        dir,
        readonly: plan.root.readonly,
        overlay: plan.root.overlay,
    })
}

/// A mount with its host directory opened, if it has one.
pub fn open_mount(m: Mount) -> Result<config::Mount> {
    let Mount {
        target,
        source,
        flags,
        kind,
    } = m;
    let kind = match kind {
        Kind::Internal(kind) => kind,
        Kind::Bind { from, recursive } => {
            let from = clone_mount(&from, recursive, flags & libc::MS_RDONLY != 0)
                .map_err(|e| failed(&format!("mount {}", String::from_utf8_lossy(&target)), e))?;
            let is_dir = mountpoints::is_directory(&from);
            MountKind::Bind { from, is_dir }
        }
    };
    Ok(config::Mount {
        target,
        kind,
        source,
        flags,
    })
}

fn clone_mount(path: &Path, recursive: bool, readonly: bool) -> Result<OwnedFd> {
    let name = |e: std::io::Error| Failure::new(format!("{}: {}", path.display(), errno_text(&e)));
    let c_path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::new("a path has a NUL in it"))?;
    let fd = match sys::clone_mount(&c_path, recursive) {
        // What is mounted below it belongs to the host's namespace and can't be uncovered: it stays.
        Err(e) if !recursive && e.raw_os_error() == Some(libc::EINVAL) => {
            sys::clone_mount(&c_path, true)
        }
        other => other,
    }
    .map_err(name)?;
    let mut attributes = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    if readonly {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    sys::set_mount_attributes(fd.as_fd(), attributes).map_err(name)?;
    Ok(fd)
}

/// What the kernel needs of the host's /proc. What can't be had is left out.
pub fn open_handles() -> HostHandles {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    let get = |path: &str, flags| open(path, flags | OFlag::O_CLOEXEC, Mode::empty()).ok();
    HostHandles {
        cpuinfo: get("/proc/cpuinfo", OFlag::O_RDONLY),
        meminfo: get("/proc/meminfo", OFlag::O_RDONLY),
        stat: get("/proc/stat", OFlag::O_RDONLY),
        loadavg: get("/proc/loadavg", OFlag::O_RDONLY),
        thp: get(
            "/sys/kernel/mm/transparent_hugepage/enabled",
            OFlag::O_RDONLY,
        ),
    }
}

/// Has the kernel keep a way to its own process's entry in /proc: in a procfs of its own pid namespace, which shows nothing
/// but itself and its stubs. Where the host refuses to mount one (inside some containers), in the one that is there.
pub fn keep_proc() -> Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mount_proc = |data| mount(Some("proc"), "/proc", Some("proc"), flags, data);
    if let Err(e) = mount_proc(Some("subset=pid")).or_else(|_| mount_proc(none)) {
        tracing::debug!("no procfs of the sandbox's own: {e}");
    }
    sentry::host::fs::keep_proc_fd()
        .map_err(|e| failed("open /proc/self/fd (is /proc mounted?)", e))
}

/// Keeps what happens to mounts here from reaching the host. (With a user namespace of our own it couldn't.)
pub fn detach_mounts() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
        .map_err(|e| failed("detach mounts", e))
}

/// Makes an empty, read-only directory the root, and lets go of everything else that was mounted.
pub fn leave() -> Result<()> {
    let none = None::<&str>;
    let empty = "size=4k,nr_inodes=2,mode=555";
    let place = ["/proc", "/tmp", "/run"]
        .into_iter()
        .find(|p| Path::new(p).is_dir());
    let place = place.ok_or_else(|| {
        Failure::new("there is no directory /proc, /tmp or /run to mount an empty root on")
    })?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("none"), place, Some("tmpfs"), quiet, Some(empty))
        .map_err(|e| failed("mount an empty root", e))?;
    nix::unistd::chdir(place).map_err(|e| failed("enter the empty root", e))?;
    match nix::unistd::pivot_root(".", ".") {
        // The old root now lies on top of the new one.
        Ok(()) => {
            umount2(".", MntFlags::MNT_DETACH).map_err(|e| failed("leave the host's root", e))?
        }
        // The host runs from its initramfs, which can't be pivoted away: cover it.
        Err(nix::errno::Errno::EINVAL) => {
            mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
                .map_err(|e| failed("cover the host's root", e))?;
            nix::unistd::chroot(".").map_err(|e| failed("leave the host's root", e))?;
        }
        Err(e) => return Err(failed("make an empty directory the root", e)),
    }
    nix::unistd::chdir("/").map_err(|e| failed("enter the empty root", e))?;
    let seal = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | quiet;
    mount(none, "/", none, seal, none).map_err(|e| failed("seal the empty root", e))
}
