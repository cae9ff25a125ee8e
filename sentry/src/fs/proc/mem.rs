//! /proc/PID/mem and /proc/PID/pagemap (proc_pid_mem(5), proc_pid_pagemap(5)).

use super::task::{may_access, owner_of};
use crate::fs::pseudo::{Owner, Raw, seek_simple};
use crate::mm::{Mm, PAGE};
use crate::task::Task;
use crate::user::{Sink, Source};
use crate::vfs::walk::Env;
use crate::vfs::{File, FileOps, SeekFrom};
use arch::{Errno, Result};
use std::any::Any;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

/// Bytes copied at once.
const CHUNK: usize = 64 << 10;

/// Which of the two.
#[derive(Clone, Copy)]
pub(super) enum Which {
    Mem,
    Pagemap,
}

/// A file that opens on the address space which the task has then.
pub(super) struct MemFile {
    pub task: Weak<Task>,
    pub which: Which,
}

impl Raw for MemFile {
    fn open(&self, env: &Env<'_>, _flags: u32) -> Result<Box<dyn FileOps>> {
        let task = self.task.upgrade().ok_or(Errno::ESRCH)?;
        if !may_access(env, &task) {
            return Err(Errno::EACCES);
        }
        let mm = task
            .try_mm()
            .map_or_else(Weak::new, |mm| Arc::downgrade(&mm));
        Ok(match self.which {
            Which::Mem => Box::new(Mem(mm)),
            Which::Pagemap => Box::new(Pagemap(mm)),
        })
    }

    fn owner(&self) -> Owner {
        owner_of(&self.task)
    }
}

struct Mem(Weak<Mm>);

impl Mem {
    /// How many bytes of the wanted ones from `addr` on lie in mappings.
    fn mapped(mm: &Mm, addr: u64, want: usize) -> usize {
        let end = addr.saturating_add(want as u64);
        let mut at = addr;
        mm.with(|state| {
            for vma in state.map.iter_from(addr) {
                if at >= end || vma.span.start > at {
                    break;
                }
                at = vma.span.end;
            }
        });
        usize::try_from(at.min(end) - addr).unwrap_or(0)
    }
}

impl FileOps for Mem {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// Up to the first page that can't be read; EIO if that is the first. Nothing once the process has gone.
    fn read(&self, _file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        let Some(mm) = self.0.upgrade() else {
            return Ok(0);
        };
        let mut done = 0;
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        while dst.remaining() > 0 {
            let at = offset.checked_add(done as u64).ok_or(Errno::EIO)?;
            let want = Self::mapped(&mm, at, dst.remaining().min(CHUNK));
            let got = mm.read_as_loaded(at, &mut buf[..want]);
            let n = match got {
                0 => Err(Errno::EIO),
                _ => dst.write(&buf[..got]),
            };
            match n {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write(&self, _file: &File, offset: u64, src: &mut dyn Source) -> Result<usize> {
        let Some(mm) = self.0.upgrade() else {
            return Ok(0);
        };
        let mut done = 0;
        let mut buf = vec![0; src.remaining().min(CHUNK)];
        while src.remaining() > 0 {
            let at = offset.checked_add(done as u64).ok_or(Errno::EIO)?;
            let result = src.peek(&mut buf).and_then(|n| {
                let want = Self::mapped(&mm, at, n);
                match mm.space.write(at, &buf[..want]) {
                    0 => Err(Errno::EIO),
                    n => Ok(n),
                }
            });
            match result {
                Ok(n) => {
                    src.advance(n);
                    done += n;
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_simple(pos, to)
    }
}

struct Pagemap(Weak<Mm>);

/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Frame numbers are for CAP_SYS_ADMIN of the host; what is left says present, swapped, of a file, soft-dirty.
const SHOWN: u64 = 0xff80_0000_0000_0000;

impl FileOps for Pagemap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// EINVAL for what isn't whole entries.
    fn read(&self, _file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        if !offset.is_multiple_of(ENTRY) || !(dst.remaining() as u64).is_multiple_of(ENTRY) {
            return Err(Errno::EINVAL);
        }
        let Some(mm) = self.0.upgrade() else {
            return Ok(0);
        };
        let last = crate::mm::TASK_SIZE / PAGE * ENTRY;
        if offset >= last {
            return Ok(0);
        }
        let left = usize::try_from(last - offset).unwrap_or(CHUNK);
        let mut buf = vec![0; dst.remaining().min(CHUNK).min(left)];
        let pid = mm.space.host_pid().ok_or(Errno::ESRCH)?;
        let fd = crate::host::fs::open_proc(pid, "pagemap")?;
        let got = crate::host::io::read(fd.as_fd(), Some(offset), &mut buf)?;
        buf.truncate(got);
        let first = offset / ENTRY;
        mm.with(|state| {
            let mut vmas = state.map.iter_from(first * PAGE).peekable();
            for (n, entry) in buf.chunks_exact_mut(8).enumerate() {
                let addr = (first + n as u64) * PAGE;
                while vmas.next_if(|v| v.span.end <= addr).is_some() {}
                let ours = vmas.peek().is_some_and(|v| v.span.start <= addr);
                let word = u64::from_ne_bytes(std::array::from_fn(|i| entry[i]));
                let shown = if ours { word & SHOWN } else { 0 };
                entry.copy_from_slice(&shown.to_ne_bytes());
            }
        });
        dst.write(&buf)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_simple(pos, to)
    }
}
