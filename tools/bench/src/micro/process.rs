//! Processes and threads.

use super::{Body, Op, sys};
use crate::place::SCRATCH;
use anyhow::{Context, Result, bail};
use std::ffi::{CStr, CString};
use std::os::unix::fs::PermissionsExt;

pub const OPS: &[Op] = &[
    Op::new("fork", "fork, exit, wait", || Ok(fork(None))),
    Op::new(
        "fork-64m",
        "fork, exit, wait of a process with 64 MiB of touched memory",
        || {
            let map = sys::Mapping::new(64 << 20, None)?.small_pages()?;
            for page in 0..map.pages() {
                map.store(page, 1);
            }
            Ok(fork(Some(map)))
        },
    ),
    Op::new(
        "fork-exec",
        "fork, execve of a static program of 150 bytes, wait",
        || spawning(sys::fork_exec, tiny()?, 7),
    ),
    Op::new(
        "fork-exec-dynamic",
        "fork, execve of /bin/true with its libraries, wait",
        || spawning(sys::fork_exec, CString::new("/bin/true")?, 0),
    ),
    Op::new(
        "posix-spawn",
        "posix_spawn of a static program of 150 bytes, wait",
        || spawning(sys::posix_spawn, tiny()?, 7),
    ),
    Op::new("thread", "creation and join of a thread", || {
        Ok(Box::new(threads))
    }),
];

fn fork(keep: Option<sys::Mapping>) -> Body {
    Box::new(move |n| {
        let _keep = &keep;
        (0..n).try_for_each(|_| sys::fork(|| 5)?.wait(5))
    })
}

fn spawning(spawn: fn(&CStr) -> Result<sys::Child>, program: CString, status: i32) -> Result<Body> {
    Ok(Box::new(move |n| {
        (0..n).try_for_each(|_| spawn(&program)?.wait(status))
    }))
}

fn threads(n: u64) -> Result<()> {
    for i in 0..n {
        match std::thread::spawn(move || i).join() {
            Ok(j) if j == i => {}
            _ => bail!("a thread did not return what it should"),
        }
    }
    Ok(())
}

/// `exit_group(7)`.
#[cfg(target_arch = "x86_64")]
const CODE: (u16, &[u8]) = (
    62,
    &[
        0xbf, 7, 0, 0, 0, // mov $7, %edi
        0xb8, 231, 0, 0, 0, // mov $231, %eax
        0x0f, 0x05, // syscall
    ],
);
/// `exit_group(7)`.
#[cfg(target_arch = "aarch64")]
const CODE: (u16, &[u8]) = (
    183,
    &[
        0xe0, 0x00, 0x80, 0xd2, // mov x0, #7
        0xc8, 0x0b, 0x80, 0xd2, // mov x8, #94
        0x01, 0x00, 0x00, 0xd4, // svc #0
    ],
);

/// The smallest program there is: one segment, no interpreter, ends with 7.
fn tiny_elf() -> Vec<u8> {
    let (machine, code) = CODE;
    let base = 0x40_0000u64;
    let size = 120 + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, v: u16| elf.extend(v.to_le_bytes());
    let word = |elf: &mut Vec<u8>, v: u32| elf.extend(v.to_le_bytes());
    let long = |elf: &mut Vec<u8>, v: u64| elf.extend(v.to_le_bytes());
    half(&mut elf, 2); // ET_EXEC
    half(&mut elf, machine);
    word(&mut elf, 1);
    long(&mut elf, base + 120); // entry
    long(&mut elf, 64); // program headers
    long(&mut elf, 0);
    word(&mut elf, 0);
    for v in [64, 56, 1, 0, 0, 0] {
        half(&mut elf, v);
    }
    word(&mut elf, 1); // PT_LOAD
    word(&mut elf, 5); // R+X
    for v in [0, base, base, size, size, 0x1000] {
        long(&mut elf, v);
    }
    elf.extend(code);
    elf
}

fn tiny() -> Result<CString> {
    let path = format!("{SCRATCH}/tiny");
    std::fs::write(&path, tiny_elf()).with_context(|| path.clone())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(CString::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bounded::{Bounded, PATIENCE};

    #[test]
    fn the_tiny_program_ends_with_seven() {
        let path = std::env::temp_dir().join(format!("runsc-bench-tiny-{}", std::process::id()));
        std::fs::write(&path, tiny_elf()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's fork may hold the file open for writing for a moment.
        let status = loop {
            match std::process::Command::new(&path).finish_within(PATIENCE) {
                Err(why) if why.contains("Text file busy") => std::thread::yield_now(),
                other => break other.unwrap().status,
            }
        };
        std::fs::remove_file(&path).unwrap();
        assert_eq!(status.code(), Some(7));
    }
}
