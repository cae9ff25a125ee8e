//! Mappings, protections, page faults.

use super::{Body, Op, sys};
use crate::place::SCRATCH;
use anyhow::{Result, bail};
use std::os::fd::AsRawFd;

pub const OPS: &[Op] = &[
    Op::new(
        "mmap-munmap",
        "mmap and munmap of 64 KiB of anonymous memory, untouched",
        || {
            Ok(Box::new(|n| {
                (0..n).try_for_each(|_| sys::Mapping::new(64 << 10, None).map(drop))
            }))
        },
    ),
    Op::new(
        "mmap-file",
        "mmap of 64 KiB of a file, a read of its first page, munmap",
        map_file,
    ),
    Op::new(
        "mprotect",
        "mprotect of a page from writable to read-only or back",
        mprotect,
    ),
    Op::new("brk", "brk up by 64 KiB and down again", || {
        Ok(Box::new(|n| {
            (0..n).try_for_each(|_| sys::grow_and_shrink_heap(64 << 10))
        }))
    }),
    Op::new(
        "madvise",
        "a page touched and given back by madvise(MADV_DONTNEED)",
        madvise,
    ),
    Op::new(
        "page-touch",
        "first write to a page of anonymous memory (mapped and unmapped 1024 at a time)",
        touch,
    ),
    Op::new(
        "page-touch-file",
        "first read of a page of a mapped file (mapped and unmapped 255 at a time)",
        touch_file,
    ),
];

fn map_file() -> Result<Body> {
    let file = file_of_pages(16)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let map = sys::Mapping::new(64 << 10, Some(file.as_raw_fd()))?;
            if map.load(0) != 1 {
                bail!("the mapped file begins with {}", map.load(0));
            }
        }
        Ok(())
    }))
}

/// A file each of whose pages begins with its number + 1.
fn file_of_pages(pages: u8) -> Result<std::fs::File> {
    let path = format!("{SCRATCH}/pages");
    let mut data = vec![0; usize::from(pages) * 4096];
    for page in 0..pages {
        data[usize::from(page) * 4096] = page.wrapping_add(1);
    }
    std::fs::write(&path, data)?;
    Ok(std::fs::File::open(path)?)
}

fn mprotect() -> Result<Body> {
    let map = sys::Mapping::new(4096, None)?;
    map.store(0, 7);
    Ok(Box::new(move |n| {
        for i in 0..n {
            map.protect(i % 2 == 1)?;
        }
        map.protect(true)?;
        map.store(0, 8);
        Ok(())
    }))
}

fn madvise() -> Result<Body> {
    let map = sys::Mapping::new(4096, None)?.small_pages()?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            map.store(0, 1);
            map.drop_pages()?;
        }
        if map.load(0) != 0 {
            bail!("a page that was given back kept its contents");
        }
        Ok(())
    }))
}

fn touch() -> Result<Body> {
    Ok(Box::new(|n| {
        let mut left = usize::try_from(n)?;
        while left > 0 {
            let pages = left.min(1024);
            let map = sys::Mapping::new(pages * 4096, None)?.small_pages()?;
            for page in 0..pages {
                map.store(page, 1);
            }
            if map.load(pages - 1) != 1 {
                bail!("a page forgot what was written");
            }
            left -= pages;
        }
        Ok(())
    }))
}

fn touch_file() -> Result<Body> {
    let file = file_of_pages(255)?;
    Ok(Box::new(move |n| {
        let mut left = usize::try_from(n)?;
        while left > 0 {
            let pages = left.min(255);
            let map = sys::Mapping::new(pages * 4096, Some(file.as_raw_fd()))?;
            for page in 0..pages {
                if usize::from(map.load(page)) != page + 1 {
                    bail!("page {page} begins with {}", map.load(page));
                }
            }
            left -= pages;
        }
        Ok(())
    }))
}
