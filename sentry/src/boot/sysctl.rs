//! `linux.sysctl` of the configuration.

use crate::config::StartError;
use crate::fs::proc;
use crate::kernel::Kernel;
use crate::user::{SliceSource, VecSink};
use crate::vfs::open::{OpenHow, open};
use crate::vfs::walk::{At, Env};
use crate::vfs::{Mount, MountFlags};
use arch::{Errno, Result};
use std::sync::Arc;

/// Sets the values below /proc/sys. One that isn't there, or that can't be what is asked for, is an error: the container would
/// not be what was wanted.
pub(super) fn apply(
    kernel: &Arc<Kernel>,
    env: &Env<'_>,
    settings: &[(String, String)],
) -> std::result::Result<(), StartError> {
    if settings.is_empty() {
        return Ok(());
    }
    // One of our own: the container may have none, or has it read-only.
    let proc = Mount::new(proc::new(kernel), b"proc", MountFlags::empty());
    let top = At::Dir(proc.root_path());
    for (name, value) in settings {
        set(env, &top, &path(name), value).map_err(|why| {
            let why = match why {
                Refusal::Unknown => "there is no such value in the sandbox".into(),
                Refusal::Is(now) => format!("in the sandbox it can't be other than {now:?}"),
                Refusal::Other(e) => e.message().to_lowercase(),
            };
            StartError::Setup(format!("linux.sysctl: {name} = {value:?}: {why}"))
        })?;
    }
    Ok(())
}

enum Refusal {
    Unknown,
    Is(String),
    Other(Errno),
}

/// `net.ipv4.ip_forward`, or the same with slashes (sysctl(8)).
fn path(name: &str) -> String {
    let first = name.find(['.', '/']);
    let plain = first.is_some_and(|at| name.as_bytes()[at] == b'/');
    if plain {
        format!("sys/{name}")
    } else {
        // In the other form the two change places.
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        };
        format!("sys/{}", name.chars().map(swap).collect::<String>())
    }
}

fn set(env: &Env<'_>, top: &At, path: &str, value: &str) -> std::result::Result<(), Refusal> {
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Refusal::Unknown);
    }
    let how = OpenHow::new((libc::O_RDWR | libc::O_NOFOLLOW) as u32, 0);
    let file = match open(env, top, path.as_bytes(), how) {
        Ok(file) => file,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR) => return Err(Refusal::Unknown),
        Err(e) => return Err(Refusal::Other(e)),
    };
    let written = file
        .ops
        .write(&file, 0, &mut SliceSource(value.as_bytes()))
        .map(drop);
    let read = || -> Result<String> {
        let mut text = VecSink::new(4096);
        file.ops.read(&file, 0, &mut text)?;
        Ok(String::from_utf8_lossy(&text.data).trim().to_owned())
    };
    match written {
        Ok(()) => Ok(()),
        Err(e) => match read() {
            Ok(now) if now.split_whitespace().eq(value.split_whitespace()) => Ok(()),
            Ok(now) => Err(Refusal::Is(now)),
            Err(_) => Err(Refusal::Other(e)),
        },
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_have_two_forms() {
        assert_eq!(super::path("kernel.shmmax"), "sys/kernel/shmmax");
        assert_eq!(
            super::path("net/ipv4/conf/eth0.1/forwarding"),
            "sys/net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            super::path("net.ipv4.conf.eth0/1.forwarding"),
            "sys/net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
