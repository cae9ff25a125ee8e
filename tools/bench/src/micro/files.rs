//! Names: open, stat, directories, creation and removal.

use super::{Body, Op, sys};
use crate::place::{BIND, SCRATCH, scratch};
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::os::fd::AsRawFd;

pub const OPS: &[Op] = &[
    Op::new(
        "open-close",
        "open and close of a file of the root file system",
        || open_close(existing(SCRATCH)?),
    ),
    Op::new(
        "open-close-bind",
        "open and close of a file of a bind mount",
        || open_close(existing(BIND)?),
    ),
    Op::new("open-missing", "open of a name that is not there", || {
        let path = scratch("missing")?;
        Ok(Box::new(move |n| {
            (0..n).try_for_each(|_| sys::open_missing(&path))
        }))
    }),
    Op::new("stat", "stat of a file of the root file system", || {
        stat(existing(SCRATCH)?)
    }),
    Op::new("stat-deep", "stat of a file ten directories down", || {
        let dir = format!("{SCRATCH}{}", "/d".repeat(10));
        std::fs::create_dir_all(&dir)?;
        stat(existing(&dir)?)
    }),
    Op::new("stat-bind", "stat of a file of a bind mount", || {
        stat(existing(BIND)?)
    }),
    Op::new("stat-missing", "stat of a name that is not there", || {
        let path = scratch("missing")?;
        Ok(Box::new(move |n| {
            (0..n).try_for_each(|_| sys::stat_missing(&path))
        }))
    }),
    Op::new(
        "fstat",
        "fstat of an open file of the root file system",
        || with_file(sys::fstat, 5),
    ),
    Op::new("lseek", "lseek in an open file", || {
        with_file(|fd| sys::lseek(fd, 3), 3)
    }),
    Op::new("access", "access of a file of the root file system", || {
        let path = existing(SCRATCH)?;
        Ok(Box::new(move |n| {
            (0..n).try_for_each(|_| sys::access(&path))
        }))
    }),
    Op::new("getcwd", "getcwd", getcwd),
    Op::new("dup-close", "dup and close of a descriptor", || {
        with_file(|fd| sys::dup(fd).map(|_| 0), 0)
    }),
    Op::new(
        "readdir-64",
        "open, getdents64 to the end and close of a directory of 64 files",
        readdir,
    ),
    Op::new(
        "create-unlink",
        "creation, close and unlink of a file of the root file system",
        || create_unlink(scratch("new")?),
    ),
    Op::new(
        "create-unlink-bind",
        "creation, close and unlink of a file of a bind mount",
        || create_unlink(CString::new(format!("{BIND}/new"))?),
    ),
    Op::new(
        "create-unlink-tmpfs",
        "creation, close and unlink of a file of a tmpfs",
        || create_unlink(c"/tmp/new".to_owned()),
    ),
    Op::new(
        "mkdir-rmdir",
        "mkdir and rmdir in the root file system",
        || {
            let path = scratch("dir")?;
            Ok(Box::new(move |n| {
                (0..n).try_for_each(|_| {
                    sys::mkdir(&path)?;
                    sys::rmdir(&path)
                })
            }))
        },
    ),
    Op::new(
        "rename",
        "rename of a file of the root file system to another name and back, by two",
        rename,
    ),
];

/// A file of five bytes.
fn existing(dir: &str) -> Result<CString> {
    let path = format!("{dir}/existing");
    std::fs::write(&path, "hello").with_context(|| path.clone())?;
    Ok(CString::new(path)?)
}

fn with_file(op: fn(i32) -> Result<i64>, wanted: i64) -> Result<Body> {
    let file = sys::open(&existing(SCRATCH)?, libc::O_RDONLY)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let got = op(file.as_raw_fd())?;
            if got != wanted {
                bail!("got {got}, not {wanted}");
            }
        }
        Ok(())
    }))
}

fn open_close(path: CString) -> Result<Body> {
    let mut buf = [0; 6];
    let fd = sys::open(&path, libc::O_RDONLY)?;
    if sys::read(fd.as_raw_fd(), &mut buf)? != 5 || &buf[..5] != b"hello" {
        bail!("{path:?} holds something else");
    }
    Ok(Box::new(move |n| {
        (0..n).try_for_each(|_| sys::open(&path, libc::O_RDONLY).map(drop))
    }))
}

fn stat(path: CString) -> Result<Body> {
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let size = sys::stat(&path)?;
            if size != 5 {
                bail!("stat says {size} bytes, not 5");
            }
        }
        Ok(())
    }))
}

fn getcwd() -> Result<Body> {
    std::env::set_current_dir(SCRATCH)?;
    let wanted = CString::new(SCRATCH)?.into_bytes_with_nul();
    let mut buf = [0; 256];
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let length = sys::getcwd(&mut buf)?;
            if usize::try_from(length)? != wanted.len() || buf[..wanted.len()] != *wanted {
                bail!("getcwd gave {length} bytes, {:?}", &buf[..16]);
            }
        }
        Ok(())
    }))
}

fn readdir() -> Result<Body> {
    let dir = scratch("many")?;
    sys::mkdir(&dir)?;
    for i in 0..64 {
        std::fs::write(format!("{SCRATCH}/many/file-{i}"), "")?;
    }
    let mut buf = vec![0; 32 << 10];
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let fd = sys::open(&dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
            let entries = sys::count_entries(fd.as_raw_fd(), &mut buf)?;
            if entries != 66 {
                bail!("{entries} entries, not 66");
            }
        }
        Ok(())
    }))
}

fn create_unlink(path: CString) -> Result<Body> {
    Ok(Box::new(move |n| {
        for _ in 0..n {
            drop(sys::open(
                &path,
                libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
            )?);
            sys::unlink(&path)?;
        }
        sys::stat_missing(&path)
    }))
}

fn rename() -> Result<Body> {
    let a = existing(SCRATCH)?;
    let b = scratch("renamed")?;
    Ok(Box::new(move |n| {
        for i in 0..n {
            if i % 2 == 0 {
                sys::rename(&a, &b)?;
            } else {
                sys::rename(&b, &a)?;
            }
        }
        if n % 2 == 1 {
            sys::rename(&b, &a)?;
        }
        sys::stat_missing(&b)
    }))
}
