//! Names: open, stat, directories, creation and removal.

use super::{Body, Op, sys};
use anyhow::{Context, Result, bail};
use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

pub const OPS: &[Op] = &[
    Op {
        name: "open-close",
        what: "open and close of a file of the root file system",
        setup: || open_close(existing("/bench/work")?),
    },
    Op {
        name: "open-close-bind",
        what: "open and close of a file of a bind mount",
        setup: || open_close(existing("/bench/bind")?),
    },
    Op {
        name: "open-missing",
        what: "open of a name that is not there",
        setup: || {
            Ok(Box::new(|n| {
                (0..n).try_for_each(|_| sys::open_missing(c"/bench/work/missing"))
            }))
        },
    },
    Op {
        name: "stat",
        what: "stat of a file of the root file system",
        setup: || stat(existing("/bench/work")?),
    },
    Op {
        name: "stat-deep",
        what: "stat of a file ten directories down",
        setup: || {
            let dir = format!("/bench/work{}", "/d".repeat(10));
            std::fs::create_dir_all(&dir)?;
            stat(existing(&dir)?)
        },
    },
    Op {
        name: "stat-bind",
        what: "stat of a file of a bind mount",
        setup: || stat(existing("/bench/bind")?),
    },
    Op {
        name: "stat-missing",
        what: "stat of a name that is not there",
        setup: || {
            Ok(Box::new(|n| {
                (0..n).try_for_each(|_| sys::stat_missing(c"/bench/work/missing"))
            }))
        },
    },
    Op {
        name: "fstat",
        what: "fstat of an open file of the root file system",
        setup: || with_file(sys::fstat, 5),
    },
    Op {
        name: "lseek",
        what: "lseek in an open file",
        setup: || with_file(|fd| sys::lseek(fd, 3), 3),
    },
    Op {
        name: "access",
        what: "access of a file of the root file system",
        setup: || {
            let path = existing("/bench/work")?;
            Ok(Box::new(move |n| {
                (0..n).try_for_each(|_| sys::access(&path))
            }))
        },
    },
    Op {
        name: "getcwd",
        what: "getcwd",
        setup: getcwd,
    },
    Op {
        name: "dup-close",
        what: "dup and close of a descriptor",
        setup: || with_file(|fd| sys::dup(fd).map(|_| 0), 0),
    },
    Op {
        name: "readdir-64",
        what: "open, getdents64 to the end and close of a directory of 64 files",
        setup: readdir,
    },
    Op {
        name: "create-unlink",
        what: "creation, close and unlink of a file of the root file system",
        setup: || create_unlink(c"/bench/work/new"),
    },
    Op {
        name: "create-unlink-bind",
        what: "creation, close and unlink of a file of a bind mount",
        setup: || create_unlink(c"/bench/bind/new"),
    },
    Op {
        name: "create-unlink-tmpfs",
        what: "creation, close and unlink of a file of a tmpfs",
        setup: || create_unlink(c"/tmp/new"),
    },
    Op {
        name: "mkdir-rmdir",
        what: "mkdir and rmdir in the root file system",
        setup: || {
            Ok(Box::new(|n| {
                (0..n).try_for_each(|_| {
                    sys::mkdir(c"/bench/work/dir")?;
                    sys::rmdir(c"/bench/work/dir")
                })
            }))
        },
    },
    Op {
        name: "rename",
        what: "rename of a file of the root file system to another name and back, by two",
        setup: rename,
    },
];

/// A file of five bytes.
fn existing(dir: &str) -> Result<CString> {
    let path = format!("{dir}/existing");
    std::fs::write(&path, "hello").with_context(|| path.clone())?;
    Ok(CString::new(path)?)
}

fn with_file(op: fn(i32) -> Result<i64>, wanted: i64) -> Result<Body> {
    let file = sys::open(&existing("/bench/work")?, libc::O_RDONLY)?;
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
    std::env::set_current_dir("/bench/work")?;
    let wanted = b"/bench/work\0";
    let mut buf = [0; 256];
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let length = sys::getcwd(&mut buf)?;
            if usize::try_from(length)? != wanted.len() || &buf[..wanted.len()] != wanted {
                bail!("getcwd gave {length} bytes, {:?}", &buf[..16]);
            }
        }
        Ok(())
    }))
}

fn readdir() -> Result<Body> {
    let dir = c"/bench/work/many";
    sys::mkdir(dir)?;
    for i in 0..64 {
        std::fs::write(format!("/bench/work/many/file-{i}"), "")?;
    }
    let mut buf = vec![0; 32 << 10];
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let fd = sys::open(dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
            let entries = sys::count_entries(fd.as_raw_fd(), &mut buf)?;
            if entries != 66 {
                bail!("{entries} entries, not 66");
            }
        }
        Ok(())
    }))
}

fn create_unlink(path: &'static CStr) -> Result<Body> {
    Ok(Box::new(move |n| {
        for _ in 0..n {
            drop(sys::open(
                path,
                libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
            )?);
            sys::unlink(path)?;
        }
        sys::stat_missing(path)
    }))
}

fn rename() -> Result<Body> {
    let a = existing("/bench/work")?;
    let b = c"/bench/work/renamed";
    Ok(Box::new(move |n| {
        for i in 0..n {
            if i % 2 == 0 {
                sys::rename(&a, b)?;
            } else {
                sys::rename(b, &a)?;
            }
        }
        if n % 2 == 1 {
            sys::rename(b, &a)?;
        }
        sys::stat_missing(b)
    }))
}
