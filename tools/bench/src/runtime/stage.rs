//! Where containers run: mount and network namespaces of this tool's own, and a fresh root file system for every run.
//!
//! The root file system is an overlay of a tree that is only read (the host's root, or `--rootfs`) under an empty tmpfs, as engines
//! make it from image layers. Nothing that a container writes survives its run.
#![expect(unsafe_code, reason = "the loopback interface is brought up by ioctl")]

use super::config;
use crate::place::{BIND, SCRATCH};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What mount(2) wants for "nothing".
const NONE: Option<&str> = None;

/// A tmpfs for everything that this tool makes.
pub struct Stage {
    dir: PathBuf,
    lower: PathBuf,
    guest: PathBuf,
    runs: u64,
}

impl Stage {
    /// Leaves the host's mount and network namespaces for good. To be called while the process has one thread.
    pub fn new(lower: &Path, guest: &Path) -> Result<Self> {
        let lower = lower
            .canonicalize()
            .with_context(|| format!("--rootfs {}", lower.display()))?;
        if lower.as_os_str().as_encoded_bytes().contains(&b':')
            || lower.as_os_str().as_encoded_bytes().contains(&b',')
        {
            bail!(
                "--rootfs {}: its name must hold no `:` and no `,`",
                lower.display()
            );
        }
        let guest = guest
            .canonicalize()
            .with_context(|| format!("{} (build it with this program)", guest.display()))?;
        check_interpreter(&guest, &lower)?;
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET) {
            bail!(
                "unshare: {e}: root's rights (CAP_SYS_ADMIN) are needed to make root file systems and namespaces"
            );
        }
        loopback_up()?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .context("make / private")?;
        let dir = std::env::temp_dir().join(format!("runsc-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        mount(
            Some("runsc-bench"),
            &dir,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .context("mount a tmpfs")?;
        Ok(Self {
            dir,
            lower,
            guest,
            runs: 0,
        })
    }

    /// A bundle that runs `args`.
    pub fn bundle(&mut self, args: &[String]) -> Result<Bundle> {
        self.runs += 1;
        let dir = self.dir.join(format!("run{}", self.runs));
        let rootfs = dir.join("rootfs");
        for name in [
            "rootfs",
            "bind",
            &format!("upper{SCRATCH}"),
            "upper/bench/home",
            &format!("upper{BIND}"),
            "work",
        ] {
            std::fs::create_dir_all(dir.join(name))?;
        }
        std::fs::copy(&self.guest, dir.join("upper/bench/guest")).context("copy the guest")?;
        let data = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower.display(),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        mount(
            Some("overlay"),
            &rootfs,
            Some("overlay"),
            MsFlags::empty(),
            Some(data.as_str()),
        )
        .context("mount an overlay file system as the container's root")?;
        let bundle = Bundle {
            id: format!("bench-{}-{}", std::process::id(), self.runs),
            dir,
        };
        for name in ["proc", "sys", "dev", "tmp"] {
            std::fs::create_dir_all(rootfs.join(name))?;
        }
        let bind = bundle.dir.join("bind");
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let bind = bind.to_str().context("the path is not UTF-8")?;
        let config = config::config(args, bind, most.min(65536));
        std::fs::write(
            bundle.dir.join("config.json"),
            serde_json::to_vec_pretty(&config)?,
        )?;
        Ok(bundle)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// A directory with config.json and a root file system, for one run.
pub struct Bundle {
    /// The container's name.
    pub id: String,
    /// The directory.
    pub dir: PathBuf,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let rootfs = self.dir.join("rootfs");
        // A process that has just been killed may hold it for a moment.
        for _ in 0..50 {
            match umount2(&rootfs, MntFlags::empty()) {
                Err(Errno::EBUSY) => std::thread::sleep(Duration::from_millis(20)),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        // Whatever a runtime left mounted there goes as well, before anything is removed.
        if umount2(&rootfs, MntFlags::MNT_DETACH).is_ok() {
            while umount2(&rootfs, MntFlags::MNT_DETACH).is_ok() {}
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Brings the loopback interface of a new network namespace up.
pub fn loopback_up() -> Result<()> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).context("a socket")?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: all zeroes is a valid ifreq; name and flags are set before the call, which reads only these.
    let rc = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        #[expect(clippy::cast_possible_truncation, reason = "flags of 16 bits")]
        let flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        request.ifr_ifru.ifru_flags = flags;
        libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request)
    };
    if rc != 0 {
        bail!("bring lo up: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// A guest that needs a dynamic loader runs only where that is.
fn check_interpreter(guest: &Path, lower: &Path) -> Result<()> {
    let elf = std::fs::read(guest)?;
    let Some(interpreter) = interpreter(&elf) else {
        return Ok(());
    };
    if lower.join(interpreter.trim_start_matches('/')).exists() {
        return Ok(());
    }
    bail!(
        "the guest program needs {interpreter}, which {} does not have. Build a static one and name it by --guest:\n\
         RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -p runsc-bench --bin runsc-bench-guest \
         --target x86_64-unknown-linux-gnu",
        lower.display()
    )
}

/// PT_INTERP of an ELF file of 64 bits, little-endian.
fn interpreter(elf: &[u8]) -> Option<&str> {
    let bytes = |at: usize, length: usize| elf.get(at..at.checked_add(length)?);
    let half = |at| Some(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?));
    let long = |at| Some(u64::from_le_bytes(bytes(at, 8)?.try_into().ok()?));
    let headers = usize::try_from(long(32)?).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    (0..count).find_map(|i| {
        let at = headers.checked_add(i * size)?;
        if bytes(at, 4)? != 3u32.to_le_bytes() {
            return None;
        }
        let (from, length) = (
            usize::try_from(long(at.checked_add(8)?)?).ok()?,
            usize::try_from(long(at.checked_add(32)?)?).ok()?,
        );
        std::str::from_utf8(bytes(from, length)?)
            .ok()
            .map(|s| s.trim_end_matches('\0'))
    })
}

/// mkdir -p under a root, for mount points.
pub fn mount_point(root: &Path, destination: &str) -> Result<PathBuf> {
    let path = root.join(destination.trim_start_matches('/'));
    if !path.exists() {
        std::fs::create_dir_all(&path)?;
        let _ = nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            &path,
            Mode::from_bits_truncate(0o755),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_found() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(interpreter(&me).is_some_and(|i| i.starts_with('/')));
        for junk in [&b""[..], b"\x7fELF", &[0xff; 64], &[0xff; 200]] {
            assert_eq!(interpreter(junk), None);
        }
    }
}
