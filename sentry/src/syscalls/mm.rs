//! mmap(2) and its kin.

use super::Fd;
use crate::mm::{
    MapCall, PAGE, Prot, SharedAnon, Source, Span, VmaFlags, Wish, check_wish, page_aligned,
    page_up,
};
use crate::task::{Cx, cap};
use crate::user::UserAddr;
use crate::user::memory::check_range;
use crate::vfs::{File, MapRequest, MapSource, MountFlags};
use arch::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The low bits of the flags that say what kind of mapping it is.
const MAP_TYPE: i32 = 0xf;
/// The shift of a huge page's size in the flags.
const MAP_HUGE_SHIFT: i32 = 26;
/// Flags that have a meaning for the map; others are ignored, as Linux ignores them.
const KNOWN: i32 = libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_32BIT
    | libc::MAP_GROWSDOWN
    | libc::MAP_LOCKED
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_STACK;
/// What MAP_SHARED_VALIDATE accepts (LEGACY_MAP_MASK).
const LEGACY: i32 = KNOWN & !libc::MAP_FIXED_NOREPLACE
    | libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_ANONYMOUS
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_NONBLOCK
    | libc::MAP_HUGETLB
    | 0x3f << MAP_HUGE_SHIFT;
/// READ_IMPLIES_EXEC of personality(2).
const READ_IMPLIES_EXEC: u64 = 0x040_0000;

/// mmap(2). The offset is in bytes.
pub async fn mmap(
    cx: &Cx,
    addr: u64,
    len: u64,
    prot: u64,
    flags: u64,
    fd: Fd,
    offset: u64,
) -> Result<u64> {
    if !page_aligned(offset) {
        return Err(Errno::EINVAL);
    }
    let flags = flags as i32;
    let file = if flags & libc::MAP_ANONYMOUS != 0 {
        if flags & libc::MAP_HUGETLB != 0 {
            return Err(no_huge_pages(flags));
        }
        None
    } else {
        let file = cx.task.files().get(fd)?;
        if flags & libc::MAP_HUGETLB != 0 {
            return Err(Errno::EINVAL);
        }
        Some(file)
    };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let len = page_up(len);
    if len == 0 {
        return Err(Errno::ENOMEM);
    }
    if offset.checked_add(len).is_none() {
        return Err(Errno::EOVERFLOW);
    }
    let mut call = MapCall {
        addr,
        len,
        prot: Prot::from_arg(prot),
        flags: flags & KNOWN,
        may: VmaFlags::MAY_ALL,
        source: Source::Anon,
    };
    if flags & libc::MAP_NONBLOCK != 0 {
        call.flags &= !libc::MAP_POPULATE;
    }
    let wish: Wish = call.wish();
    check_wish(&wish)?;
    let mm = cx.task.mm();
    if flags & libc::MAP_FIXED_NOREPLACE != 0 && !mm.with(|s| s.map.is_free(Span::at(addr, len))) {
        return Err(Errno::EEXIST);
    }
    let implies_exec = cx.task.group.personality.load(Ordering::Relaxed) & READ_IMPLIES_EXEC != 0;
    if implies_exec && call.prot.contains(Prot::READ) && !file.as_ref().is_some_and(|f| no_exec(f))
    {
        call.prot |= Prot::EXEC;
    }
    match file {
        None => anonymous(&mut call, flags)?,
        Some(file) => of_file(cx, &mut call, flags, file, offset)?,
    }
    mm.change(cx, |state, who| state.mmap(who, &call)).await
}

/// A host without huge pages set aside: ENOMEM for sizes that exist, EINVAL for others.
fn no_huge_pages(flags: i32) -> Errno {
    match flags >> MAP_HUGE_SHIFT & 0x3f {
        0 | 21 | 30 => Errno::ENOMEM,
        _ => Errno::EINVAL,
    }
}

fn no_exec(file: &File) -> bool {
    file.path()
        .is_some_and(|p| p.mount.flags().contains(MountFlags::NOEXEC))
}

fn anonymous(call: &mut MapCall, flags: i32) -> Result<()> {
    match flags & MAP_TYPE {
        libc::MAP_PRIVATE => Ok(()),
        libc::MAP_SHARED if flags & libc::MAP_GROWSDOWN == 0 => shared_anonymous(call),
        _ => Err(Errno::EINVAL),
    }
}

fn shared_anonymous(call: &mut MapCall) -> Result<()> {
    let fd = crate::host::mm::memfd("zero", call.len)?;
    call.may |= VmaFlags::SHARED;
    call.source = Source::SharedAnon(Arc::new(SharedAnon {
        ino: crate::vfs::next_ino(),
        fd: Arc::new(fd),
    }));
    Ok(())
}

fn of_file(cx: &Cx, call: &mut MapCall, flags: i32, file: Arc<File>, offset: u64) -> Result<()> {
    let shared = match flags & MAP_TYPE {
        libc::MAP_SHARED => true,
        libc::MAP_SHARED_VALIDATE if flags & !(LEGACY | MAP_TYPE) != 0 => {
            return Err(Errno::EOPNOTSUPP);
        }
        libc::MAP_SHARED_VALIDATE => true,
        libc::MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL),
    };
    if i64::try_from(offset + call.len).is_err() {
        return Err(Errno::EOVERFLOW);
    }
    if shared {
        if call.prot.contains(Prot::WRITE) && !file.writable() {
            return Err(Errno::EACCES);
        }
        call.may |= VmaFlags::SHARED;
        if !file.writable() {
            call.may -= VmaFlags::MAY_WRITE;
        }
    }
    if !file.readable() {
        return Err(Errno::EACCES);
    }
    if no_exec(&file) {
        if call.prot.contains(Prot::EXEC) {
            return Err(Errno::EPERM);
        }
        call.may -= VmaFlags::MAY_EXEC;
    }
    let source = map(call, &file, offset, shared)?;
    if flags & libc::MAP_GROWSDOWN != 0 {
        return Err(Errno::EINVAL);
    }
    match source {
        MapSource::Host {
            fd,
            offset: host_offset,
        } => {
            let (mut text, mut room) = (None, 0);
            if !shared && host_offset == offset {
                let texts = &cx.kernel().texts;
                if call.prot == Prot::READ | Prot::EXEC && flags & libc::MAP_FIXED != 0 {
                    let rip = cx.thread.lock().regs().rip;
                    let span = Span::at(call.addr, call.len);
                    let lead = cx.task.mm().with(|s| s.lead(rip, span, &file));
                    text = lead.and_then(|lead| texts.get(&file, &fd, offset, call.len, lead));
                } else if call.prot == Prot::READ && offset == 0 && flags & libc::MAP_FIXED == 0 {
                    room = texts.room(&file, &fd);
                }
            }
            call.source = Source::File {
                file,
                offset,
                fd,
                host_offset,
                text,
                room,
            };
            Ok(())
        }
        MapSource::Anonymous if shared => shared_anonymous(call),
        MapSource::Anonymous => Ok(()),
    }
}

/// What a stub maps of a file. A shared mapping that may be made writable later gets a descriptor that allows it.
fn map(call: &mut MapCall, file: &Arc<File>, offset: u64, shared: bool) -> Result<MapSource> {
    let request = |prot: Prot| MapRequest {
        offset,
        len: call.len,
        shared,
        prot: i32::from(prot.bits()),
    };
    let wanted = call.prot;
    if shared && file.writable() && !wanted.contains(Prot::WRITE) {
        match file.ops.map(file, &request(wanted | Prot::WRITE)) {
            // Sealed against writing: it stays as it is.
            Err(Errno::EPERM) => call.may -= VmaFlags::MAY_WRITE,
            other => return other,
        }
        return file.ops.map(
            file,
            &MapRequest {
                offset,
                len: call.len,
                shared,
                prot: i32::from(wanted.bits()),
            },
        );
    }
    file.ops.map(file, &request(wanted))
}

/// munmap(2).
pub async fn munmap(cx: &Cx, addr: u64, len: u64) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.munmap(who, addr, len))
        .await
}

/// mprotect(2).
pub async fn mprotect(cx: &Cx, addr: u64, len: u64, prot: u64) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.mprotect(who, addr, len, prot))
        .await
}

/// pkey_mprotect(2) on a CPU without protection keys: only the key −1 exists.
pub async fn pkey_mprotect(cx: &Cx, addr: u64, len: u64, prot: u64, pkey: i32) -> Result<u64> {
    if pkey != -1 {
        return Err(Errno::EINVAL);
    }
    mprotect(cx, addr, len, prot).await
}

/// pkey_alloc(2): there is no key to give.
pub fn pkey_alloc(_cx: &Cx, flags: u64, rights: u64) -> Result<u64> {
    Err(if flags != 0 || rights & !3 != 0 {
        Errno::EINVAL
    } else {
        Errno::ENOSPC
    })
}

/// pkey_free(2): no key was given.
pub fn pkey_free(_cx: &Cx, _key: i32) -> Result<u64> {
    Err(Errno::EINVAL)
}

/// mremap(2).
pub async fn mremap(
    cx: &Cx,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u64,
    new: u64,
) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| {
            state.mremap(who, old, old_len, new_len, flags, new)
        })
        .await
}

/// brk(2).
pub async fn brk(cx: &Cx, wanted: u64) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.brk(who, wanted))
        .await
}

/// madvise(2).
pub async fn madvise(cx: &Cx, addr: u64, len: u64, advice: i32) -> Result<u64> {
    let mm = cx.task.mm();
    if advice == libc::MADV_REMOVE {
        return remove(cx, addr, len);
    }
    let admin = cx.task.creds().has_cap(cap::SYS_ADMIN);
    mm.change(cx, |state, who| {
        state.madvise(who, addr, len, advice, admin)
    })
    .await
}

/// MADV_REMOVE: a hole in the object behind a shared mapping.
fn remove(cx: &Cx, addr: u64, len: u64) -> Result<u64> {
    let len_up = page_up(len);
    if !page_aligned(addr) || len != 0 && len_up == 0 {
        return Err(Errno::EINVAL);
    }
    let end = addr.checked_add(len_up).ok_or(Errno::EINVAL)?;
    let (holes, refused) = cx
        .task
        .mm()
        .with(|state| state.removable(Span::new(addr, end)));
    for hole in holes {
        hole.punch()?;
    }
    refused.map_or(Ok(0), Err)
}

/// msync(2).
pub async fn msync(cx: &Cx, addr: u64, len: u64, flags: i32) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, _| state.msync(addr, len, flags))
        .await
}

/// mlock(2).
pub async fn mlock(cx: &Cx, addr: u64, len: u64) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.mlock(who, addr, len, false))
        .await
}

/// mlock2(2).
pub async fn mlock2(cx: &Cx, addr: u64, len: u64, flags: i32) -> Result<u64> {
    const MLOCK_ONFAULT: i32 = 1;
    if flags & !MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL);
    }
    cx.task
        .mm()
        .change(cx, |state, who| state.mlock(who, addr, len, flags != 0))
        .await
}

/// munlock(2).
pub async fn munlock(cx: &Cx, addr: u64, len: u64) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.munlock(who, addr, len))
        .await
}

/// mlockall(2).
pub async fn mlockall(cx: &Cx, flags: i32) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.mlockall(who, flags))
        .await
}

/// munlockall(2).
pub async fn munlockall(cx: &Cx) -> Result<u64> {
    cx.task
        .mm()
        .change(cx, |state, who| state.munlockall(who))
        .await
}

/// Pages of one host mincore(2).
const MINCORE_PAGES: u64 = 16384;

/// mincore(2): what the host says of the very pages.
pub async fn mincore(cx: &Cx, addr: u64, len: u64, vec: UserAddr) -> Result<u64> {
    if !page_aligned(addr) {
        return Err(Errno::EINVAL);
    }
    check_range(UserAddr(addr), len).map_err(|_| Errno::ENOMEM)?;
    let span = Span::at(addr, page_up(len));
    let pages = span.len() / PAGE;
    check_range(vec, pages)?;
    let mut done = 0;
    while done < pages {
        let n = (pages - done).min(MINCORE_PAGES);
        let part = Span::at(addr + done * PAGE, n * PAGE);
        if !cx.task.mm().with(|s| s.map.covers(part)) {
            return Err(Errno::ENOMEM);
        }
        if !cx.thread.lock().actions().mincore(part.start, part.len()) {
            return Err(Errno::EAGAIN);
        }
        match crate::task::run::perform(cx).await {
            systrap::Event::Parked => {}
            systrap::Event::ActionFailed { errno, .. } => {
                return Err(Errno::from_raw(errno).unwrap_or(Errno::ENOMEM));
            }
            _ => return Err(Errno::EAGAIN),
        }
        let bytes = cx.thread.lock().mincore_result(n as usize);
        cx.write_bytes(vec.add(done), &bytes)?;
        done += n;
    }
    Ok(0)
}

/// membarrier(2): none of the commands is offered.
pub fn membarrier(_cx: &Cx, cmd: i32, flags: u32, _cpu: i32) -> Result<u64> {
    const MEMBARRIER_CMD_QUERY: i32 = 0;
    if cmd == MEMBARRIER_CMD_QUERY && flags == 0 {
        Ok(0)
    } else {
        Err(Errno::EINVAL)
    }
}
