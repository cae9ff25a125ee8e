//! What proc tells about an address space.

use crate::mm::PAGE;
use crate::task::Task;
use crate::vfs::Path;

/// Numbers of /proc/PID/stat.
#[derive(Default)]
pub(super) struct Facts {
    pub vsize: u64,
    pub rss_pages: u64,
    pub start_code: u64,
    pub end_code: u64,
    pub start_stack: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

pub(super) fn facts(task: &Task) -> Facts {
    let Some(mm) = task.try_mm() else {
        return Facts::default();
    };
    let info = mm.info();
    let rss_pages = mm.resident().total / (PAGE / 1024);
    let (vsize, start_brk) = mm.with(|s| (s.usage.total * PAGE, s.heap.start));
    Facts {
        vsize,
        rss_pages,
        start_code: info.start_code,
        end_code: info.end_code,
        start_stack: info.start_stack,
        start_data: info.start_data,
        end_data: info.end_data,
        start_brk,
        arg_start: info.arg_start,
        arg_end: info.arg_end,
        env_start: info.env_start,
        env_end: info.env_end,
    }
}

pub(super) fn status_lines(task: &Task) -> String {
    task.try_mm().map(|mm| mm.status_text()).unwrap_or_default()
}

pub(super) fn auxv(task: &Task) -> Vec<u8> {
    task.try_mm()
        .map(|mm| mm.info().auxv.clone())
        .unwrap_or_default()
}

pub(super) fn maps(task: &Task, root: &Path) -> Vec<u8> {
    task.try_mm()
        .map(|mm| mm.maps_text(root))
        .unwrap_or_default()
}

pub(super) fn smaps(task: &Task, root: &Path) -> Vec<u8> {
    task.try_mm()
        .map(|mm| mm.smaps_text(root))
        .unwrap_or_default()
}

pub(super) fn smaps_rollup(task: &Task) -> Vec<u8> {
    task.try_mm()
        .map(|mm| mm.smaps_rollup_text())
        .unwrap_or_default()
}

pub(super) fn statm(task: &Task) -> Vec<u8> {
    match task.try_mm() {
        Some(mm) => mm.statm_text().into_bytes(),
        None => b"0 0 0 0 0 0 0\n".to_vec(),
    }
}
