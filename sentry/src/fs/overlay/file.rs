//! Open files and directories.

use super::dir::Listed;
use super::inode::OverlayInode;
use crate::fs::host::file::HostFile;
use crate::fs::tmp::file::{TmpFile, seek_dir};
use crate::user::{Sink, Source};
use crate::vfs::{DirSink, File, FileOps, FileType, MapRequest, MapSource, SeekFrom};
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// An open regular file: the lower one until there is an upper one.
pub struct OverlayFile {
    inode: Arc<OverlayInode>,
    lower: Option<HostFile>,
    upper: OnceLock<TmpFile>,
}

impl OverlayFile {
    /// An open with open(2) flags `flags`. For writing, the contents are copied up; not with O_TRUNC, which needs none of them.
    pub fn open(inode: Arc<OverlayInode>, flags: u32) -> Result<Self> {
        if flags as i32 & libc::O_ACCMODE != libc::O_RDONLY {
            let keep = if flags & libc::O_TRUNC as u32 != 0 {
                0
            } else {
                u64::MAX
            };
            inode.data_up_to(keep)?;
        }
        let lower = match &inode.lower {
            Some(lower) if !inode.has_data() => {
                Some(HostFile::open(Arc::clone(lower), libc::O_RDONLY as u32)?)
            }
            _ => None,
        };
        Ok(Self {
            inode,
            lower,
            upper: OnceLock::new(),
        })
    }

    /// Who has the contents now.
    fn now(&self) -> Result<&dyn FileOps> {
        if !self.inode.has_data()
            && let Some(lower) = &self.lower
        {
            return Ok(lower);
        }
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let node = self.inode.data_up()?;
        Ok(self.upper.get_or_init(|| TmpFile::new(node)))
    }
}

impl FileOps for OverlayFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, offset: u64, dst: &mut dyn Sink) -> Result<usize> {
        self.now()?.read(file, offset, dst)
    }

    fn write(&self, file: &File, offset: u64, src: &mut dyn Source) -> Result<usize> {
        self.now()?.write(file, offset, src)
    }

    fn append_position(&self) -> Option<u64> {
        self.now().ok()?.append_position()
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        self.now()?.seek(file, pos, to)
    }

    fn map(&self, file: &File, req: &MapRequest) -> Result<MapSource> {
        self.now()?.map(file, req)
    }

    fn is_host_file(&self) -> bool {
        self.now().is_ok_and(FileOps::is_host_file)
    }

    fn truncate(&self, file: &File, len: u64) -> Result<()> {
        self.now()?.truncate(file, len)
    }

    fn fallocate(&self, file: &File, mode: i32, offset: u64, len: u64) -> Result<()> {
        self.now()?.fallocate(file, mode, offset, len)
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
}

/// An open directory.
pub struct OverlayDirFile {
    inode: Arc<OverlayInode>,
    /// What was in it when reading began; a position is an index. Made anew when reading begins again.
    list: Mutex<Option<Arc<[Listed]>>>,
}

impl OverlayDirFile {
    /// An open of a directory.
    pub fn new(inode: Arc<OverlayInode>) -> Self {
        Self {
            inode,
            list: Mutex::new(None),
        }
    }
}

impl FileOps for OverlayDirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, _offset: u64, _dst: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _file: &File, pos: u64, to: SeekFrom) -> Result<u64> {
        seek_dir(pos, to)
    }

    fn readdir(&self, file: &File, pos: &mut u64, sink: &mut dyn DirSink) -> Result<()> {
        let known = self.list.lock().clone();
        let list = match known {
            Some(list) if *pos != 0 => list,
            _ => {
                let list: Arc<[Listed]> = self.inode.list()?.into();
                *self.list.lock() = Some(Arc::clone(&list));
                list
            }
        };
        let dir = FileType::Directory.dtype();
        if *pos == 0 {
            if !sink.entry(self.inode.number(), 1, dir, b".") {
                return Ok(());
            }
            *pos = 1;
        }
        if *pos == 1 {
            let ino = match file.path().and_then(|p| p.dentry.parent()) {
                Some(parent) => parent.inode().attr()?.ino,
                None => self.inode.number(),
            };
            if !sink.entry(ino, 2, dir, b"..") {
                return Ok(());
            }
            *pos = 2;
        }
        let from = usize::try_from(*pos - 2).unwrap_or(usize::MAX);
        for entry in list.get(from..).unwrap_or_default() {
            if !sink.entry(entry.ino, *pos + 1, entry.kind, &entry.name) {
                return Ok(());
            }
            *pos += 1;
        }
        Ok(())
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        Ok(())
    }
}
