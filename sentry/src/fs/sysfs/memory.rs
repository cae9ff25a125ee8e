//! /sys/kernel/mm: huge pages.

use crate::fs::fixed::Tree;
use crate::kernel::Kernel;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Bytes of a transparent huge page (PMD_SIZE).
const HUGE: u64 = 2 << 20;

/// Explicit huge pages (hugetlbfs) of one size: there are none.
pub(super) fn no_huge_pages(tree: &mut Tree, dir: &str) {
    for name in ["nr_hugepages", "free_hugepages", "surplus_hugepages"] {
        tree.text(&format!("{dir}/hugepages-2048kB/{name}"), "0");
    }
}

pub(super) fn fill(tree: &mut Tree, kernel: &Arc<Kernel>) {
    const DIR: &str = "kernel/mm/hugepages";
    no_huge_pages(tree, DIR);
    for name in [
        "nr_hugepages_mempolicy",
        "nr_overcommit_hugepages",
        "resv_hugepages",
    ] {
        tree.text(&format!("{DIR}/hugepages-2048kB/{name}"), "0");
    }
    // The host manages the application's memory: what holds there holds here.
    if kernel.host.thp.is_some() {
        const THP: &str = "kernel/mm/transparent_hugepage";
        tree.made(&format!("{THP}/enabled"), |kernel| {
            let mut buf = [0; 128];
            let read = |fd: &std::os::fd::OwnedFd| {
                crate::host::io::read(fd.as_fd(), Some(0), &mut buf).unwrap_or(0)
            };
            let n = kernel.host.thp.as_ref().map_or(0, read);
            String::from_utf8_lossy(&buf[..n]).into_owned()
        });
        tree.text(&format!("{THP}/hpage_pmd_size"), HUGE.to_string());
    }
}
