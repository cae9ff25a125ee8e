//! A container's tree of mounts.

use crate::config::{ContainerConfig, MountKind, Overlay, StartError, TmpfsOptions};
use crate::fs::host::{HostFs, Sharing};
use crate::fs::{cgroup, dev, devpts, overlay, proc, sysfs, tmp};
use crate::kernel::Kernel;
use crate::task::Creds;
use crate::vfs::walk::{At, Env, WalkFlags};
use crate::vfs::{Dentry, FileType, FsContext, Mount, MountFlags, MountNamespace, Path, names};
use arch::{Errno, Result};
use std::sync::Arc;

/// Set-up works as root of the container.
pub(super) fn env(fs: &FsContext) -> Env<'static> {
    let (root, cwd) = fs.root_and_cwd();
    Env {
        creds: Arc::new(Creds::root()),
        root,
        cwd,
        umask: 0,
        cx: None,
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn failed(what: &str, path: &[u8], e: Errno) -> StartError {
    let path = text(path);
    StartError::Setup(format!("{what} \"{path}\": {}", e.message().to_lowercase()))
}

/// Mounts the root and everything else. Takes what it mounts out of the configuration.
pub(super) fn build(
    kernel: &Arc<Kernel>,
    config: &mut ContainerConfig,
    root: std::os::fd::OwnedFd,
) -> std::result::Result<Arc<FsContext>, StartError> {
    let memory = config.root.overlay == Overlay::Memory;
    let writable = !config.root.readonly && !memory;
    let lower =
        HostFs::create(root, Sharing::Exclusive, writable).map_err(|e| failed("root", b"/", e))?;
    let top = if memory {
        overlay::new(lower).map_err(|e| failed("root", b"/", e))?
    } else {
        lower
    };
    let mut flags = MountFlags::RELATIME;
    flags.set(MountFlags::RDONLY, config.root.readonly);
    // Mount points are made on a root that is read-only for the container.
    let root = Mount::new(
        top,
        if memory { b"overlay" } else { b"root" },
        flags & !MountFlags::RDONLY,
    );
    let ns = MountNamespace::new(Arc::clone(&root));
    let fs = FsContext::new(ns);
    // Flags come last: a mount point may lie in a mount that is read-only for the container.
    let mut mounted = vec![(root, flags)];
    let mut dev = false;
    for mount in std::mem::take(&mut config.mounts) {
        dev |= matches!(&mount.kind, MountKind::Dev(_));
        let target = mount.target.clone();
        let flags = MountFlags::from_bits_truncate(mount.flags as u32);
        let new = one(kernel, &fs, config, mount).map_err(|e| failed("mount on", &target, e))?;
        mounted.push((new, flags));
    }
    if !dev {
        // There is no /dev of ours: they are made where the root or a mount has a place for them.
        for device in &config.devices {
            dev::populate::make(&env(&fs), device)
                .map_err(|e| failed("make device", &device.path, e))?;
        }
    }
    for (mount, flags) in mounted {
        mount.set_flags(flags);
    }
    for path in &config.masked_paths {
        mask(&fs, path).map_err(|e| failed("mask", path, e))?;
    }
    for path in &config.readonly_paths {
        read_only(&fs, path).map_err(|e| failed("make read-only", path, e))?;
    }
    Ok(fs)
}

fn one(
    kernel: &Arc<Kernel>,
    fs: &FsContext,
    config: &ContainerConfig,
    mount: crate::config::Mount,
) -> Result<Arc<Mount>> {
    let copy_up = matches!(&mount.kind, MountKind::Tmpfs(o) | MountKind::Dev(o) if o.copy_up);
    let known = MountFlags::from_bits_truncate(mount.flags as u32);
    let is_dir = !matches!(&mount.kind, MountKind::Bind { is_dir: false, .. });
    let mut devices = false;
    let root: Arc<Dentry> = match mount.kind {
        MountKind::Proc => proc::new(kernel),
        MountKind::Tmpfs(options) => tmp::TmpFs::create(tmpfs(&options))?,
        MountKind::Dev(options) => {
            devices = true;
            let mut options = tmpfs(&options);
            options.mode = if options.mode == 0o1777 {
                0o755
            } else {
                options.mode
            };
            tmp::TmpFs::create(options)?
        }
        MountKind::Bind { from, .. } => {
            HostFs::create(from, Sharing::Shared, !known.contains(MountFlags::RDONLY))?
        }
        MountKind::Devpts {
            mode,
            ptmxmode,
            gid,
        } => devpts::DevPts::create(devpts::Options {
            mode,
            ptmxmode,
            gid,
            ..devpts::Options::default()
        }),
        MountKind::Sysfs => sysfs::new(kernel),
        MountKind::Cgroup { limits, .. } => cgroup::new(kernel, limits),
        MountKind::Mqueue => kernel.mqueue.root(),
    };
    let at = mount_point(fs, &mount.target, is_dir)?;
    let new = Mount::new(root, &mount.source, MountFlags::empty());
    if copy_up {
        super::copy_up::copy(&env(fs), &at, &new.root_path())?;
    }
    fs.namespace().mount(&new, &at)?;
    if devices {
        dev::populate(&env(fs), &new.root_path(), &config.devices)?;
    }
    Ok(new)
}

fn tmpfs(options: &TmpfsOptions) -> tmp::Options {
    tmp::Options {
        size: options.size,
        nr_inodes: options.nr_inodes,
        mode: options.mode.unwrap_or(0o1777),
        uid: options.uid,
        gid: options.gid,
    }
}

/// The place to mount on. What is missing is made; symbolic links stay within the container.
fn mount_point(fs: &FsContext, target: &[u8], is_dir: bool) -> Result<Path> {
    let env = env(fs);
    let walk = WalkFlags::FOLLOW;
    match env.resolve(&At::Cwd, target, walk) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let mut ends: Vec<usize> = target
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, b)| **b == b'/')
        .map(|(i, _)| i)
        .collect();
    ends.push(target.len());
    let last = ends.len() - 1;
    for (n, end) in ends.into_iter().enumerate() {
        let part = &target[..end];
        let made = if n == last && !is_dir {
            names::mknod(
                &env,
                &At::Cwd,
                part,
                libc::S_IFREG | 0o644,
                Default::default(),
            )
            .map(drop)
        } else {
            names::mkdir(&env, &At::Cwd, part, 0o755).map(drop)
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    env.resolve(&At::Cwd, target, walk)
}

/// linux.maskedPaths: an empty read-only directory, or nothing to read.
fn mask(fs: &FsContext, path: &[u8]) -> Result<()> {
    let place = match env(fs).resolve(&At::Cwd, path, WalkFlags::FOLLOW) {
        Ok(place) => place,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let flags = MountFlags::RDONLY;
    let mount = if place.inode().file_type() == FileType::Directory {
        tmp::TmpFs::mount(
            tmp::Options {
                mode: 0o555,
                ..tmp::Options::default()
            },
            flags,
        )?
    } else {
        match env(fs).resolve(&At::Cwd, b"/dev/null", WalkFlags::empty()) {
            Ok(null) => Mount::new(Arc::clone(&null.dentry), b"tmpfs", flags),
            Err(_) => empty_file(fs, flags)?,
        }
    };
    fs.namespace().mount(&mount, &place)
}

/// A file with nothing in it, of nobody's.
fn empty_file(fs: &FsContext, flags: MountFlags) -> Result<Arc<Mount>> {
    let holder = tmp::TmpFs::mount(tmp::Options::default(), MountFlags::empty())?;
    let at = At::Dir(holder.root_path());
    let file = names::mknod(&env(fs), &at, b"empty", libc::S_IFREG, Default::default())?;
    Ok(Mount::new(Arc::clone(&file.dentry), b"tmpfs", flags))
}

/// linux.readonlyPaths: the same place once more, read-only.
fn read_only(fs: &FsContext, path: &[u8]) -> Result<()> {
    let place = match env(fs).resolve(&At::Cwd, path, WalkFlags::FOLLOW) {
        Ok(place) => place,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let flags = place.mount.flags() | MountFlags::RDONLY;
    let mount = Mount::new(Arc::clone(&place.dentry), b"readonly", flags);
    fs.namespace().mount(&mount, &place)
}
