//! /sys, /sys/fs/cgroup: what programs read there about the machine.

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn text(path: &str) -> String {
    let data = must!(read_file(&cpath(path)));
    String::from_utf8_lossy(&data).trim_end().to_string()
}
fn number(path: &str) -> i64 {
    match text(path).parse() {
        Ok(n) => n,
        Err(_) => fail!("{path} is no number: {}", text(path)),
    }
}
/// A list such as `0-3,5`.
fn list(path: &str) -> Vec<usize> {
    let text = text(path);
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        match (a.parse::<usize>(), b.parse::<usize>()) {
            (Ok(a), Ok(b)) => out.extend(a..=b),
            _ => fail!("{path} is no list: {text}"),
        }
    }
    out
}
fn cpu(rest: &str) -> String {
    format!("/sys/devices/system/cpu/{rest}")
}

fn cpu_lists_agree() {
    let (online, present, possible) = (
        list(&cpu("online")),
        list(&cpu("present")),
        list(&cpu("possible")),
    );
    check!(!online.is_empty());
    check!(online.iter().all(|n| present.contains(n)));
    check!(present.iter().all(|n| possible.contains(n)));
    let mut mask = [0u64; 16];
    must!(sys!(SYS_sched_getaffinity, 0, 128, mask.as_mut_ptr()));
    for n in 0..1024 {
        if mask[n / 64] >> (n % 64) & 1 == 1 {
            check!(online.contains(&n), "{n} in {online:?}");
        }
    }
    for n in &present {
        check!(exists(&cpath(&cpu(&format!("cpu{n}")))));
    }
    let listed = std::fs::read_dir(cpu("")).map_or(0, |d| {
        d.flatten()
            .filter(|e| {
                let name = e.file_name().to_string_lossy().into_owned();
                name.strip_prefix("cpu")
                    .is_some_and(|n| n.parse::<u32>().is_ok())
            })
            .count()
    });
    check_eq!(listed, present.len());
}

fn cpu_topology() {
    for n in list(&cpu("online")) {
        let at = |name: &str| cpu(&format!("cpu{n}/topology/{name}"));
        check!(number(&at("physical_package_id")) >= 0);
        check!(number(&at("core_id")) >= 0);
        for name in ["thread_siblings_list", "core_siblings_list"] {
            check!(list(&at(name)).contains(&n), "{name}");
        }
        let mask = text(&at("thread_siblings")).replace(',', "");
        let mask = u128::from_str_radix(&mask, 16).unwrap_or(0);
        check!(mask >> n & 1 == 1, "{mask:x}");
    }
}

fn cpu_caches() {
    let at = |rest: &str| {
        cpu(&format!(
            "cpu{}/cache/index0/{rest}",
            list(&cpu("online"))[0]
        ))
    };
    if !exists(&cpath(&at("size"))) {
        skip!("no caches");
    }
    check_eq!(number(&at("level")), 1);
    check!(["Data", "Instruction", "Unified"].contains(&text(&at("type")).as_str()));
    let size: i64 = text(&at("size")).trim_end_matches('K').parse().unwrap_or(0);
    let product = number(&at("coherency_line_size"))
        * number(&at("ways_of_associativity"))
        * number(&at("number_of_sets"))
        * number(&at("physical_line_partition"));
    check_eq!(product, size * 1024);
    check!(!list(&at("shared_cpu_list")).is_empty());
}

fn memory_node() {
    if !exists(c"/sys/devices/system/node") {
        skip!("no nodes");
    }
    check!(list("/sys/devices/system/node/online").contains(&0));
    check!(!list("/sys/devices/system/node/node0/cpulist").is_empty());
    check!(text("/sys/devices/system/node/node0/meminfo").contains("MemTotal:"));
    check!(exists(c"/sys/devices/system/node/node0/cpu0/topology"));
}

fn transparent_huge_pages() {
    let path = c"/sys/kernel/mm/transparent_hugepage/enabled";
    if !exists(path) {
        skip!("none");
    }
    let enabled = String::from_utf8_lossy(&must!(read_file(path))).into_owned();
    check!(
        enabled.contains('[') && enabled.contains("never"),
        "{enabled}"
    );
}

fn loopback_interface() {
    let at = |name: &str| format!("/sys/class/net/lo/{name}");
    let link = must!(readlink(c"/sys/class/net/lo"));
    check!(link.ends_with(b"devices/virtual/net/lo"));
    check_eq!(text(&at("address")), "00:00:00:00:00:00");
    check_eq!(number(&at("type")), 772);
    check_eq!(number(&at("ifindex")), 1);
    check!(number(&at("mtu")) > 0);
    check!(text(&at("flags")).starts_with("0x"));
    check!(number(&at("statistics/rx_bytes")) >= 0);
    expect_errno!(read_file(&cpath(&at("speed"))), EINVAL);
}

fn files_are_a_page_long_and_are_not_written() {
    let path = c"/sys/devices/system/cpu/online";
    let st = must!(stat(path));
    check_eq!((st.st_size, st.st_mode & 0o7777), (4096, 0o444));
    let result = open(path, O_WRONLY, 0);
    check!(matches!(result, Err(EACCES | EROFS)), "{result:?}");
    let result = open(c"/sys/new", O_CREAT | O_WRONLY, 0o644);
    check!(matches!(result, Err(EACCES | EROFS)), "{result:?}");
    let result = mkdir(c"/sys/new", 0o755);
    check!(matches!(result, Err(EPERM | EACCES | EROFS)), "{result:?}");
    let result = unlink(path);
    check!(matches!(result, Err(EPERM | EACCES | EROFS)), "{result:?}");
    expect_errno!(open(c"/sys/new", O_RDONLY, 0), ENOENT);
    let fd = must!(open(path, O_RDONLY, 0));
    must!(read_all(fd));
    check_eq!(read_vec(fd, 10), Ok(vec![]));
    must!(lseek(fd, 0, SEEK_SET));
    check!(!must!(read_vec(fd, 1)).is_empty());
}

fn directories_are_there() {
    for dir in [
        c"/sys/block",
        c"/sys/bus",
        c"/sys/class",
        c"/sys/dev",
        c"/sys/devices",
        c"/sys/fs",
        c"/sys/fs/cgroup",
        c"/sys/kernel",
        c"/sys/module",
    ] {
        check!(must!(stat(dir)).st_mode & S_IFMT == S_IFDIR, "{dir:?}");
    }
}

fn cgroup_files() {
    let mut fs: libc::statfs = zeroed();
    must!(sys!(SYS_statfs, c"/sys/fs/cgroup", &mut fs));
    if fs.f_type != 0x6367_7270 {
        skip!("no cgroup2 there");
    }
    let own = text("/proc/self/cgroup");
    check!(own.lines().any(|l| l.starts_with("0::/")), "{own}");
    let controllers = text("/sys/fs/cgroup/cgroup.controllers");
    check!(
        controllers.split(' ').any(|c| c == "memory"),
        "{controllers}"
    );
    must!(read_file(c"/sys/fs/cgroup/cgroup.procs"));
    check!(text("/sys/fs/cgroup/cpu.stat").starts_with("usage_usec "));
    let mounts = text("/proc/self/mountinfo");
    check!(mounts.lines().any(|l| l.contains(" - cgroup2 ")));
}

fn cgroup_limits() {
    // Only a group below the root has limits.
    if !exists(c"/sys/fs/cgroup/memory.max") {
        skip!("the root group");
    }
    for name in ["memory.max", "pids.max"] {
        let limit = text(&format!("/sys/fs/cgroup/{name}"));
        check!(limit == "max" || limit.parse::<u64>().is_ok(), "{limit}");
    }
    let cpu = text("/sys/fs/cgroup/cpu.max");
    check_eq!(cpu.split(' ').count(), 2);
    check!(number("/sys/fs/cgroup/memory.current") > 0);
    check!(number("/sys/fs/cgroup/pids.current") > 0);
    let procs = text("/sys/fs/cgroup/cgroup.procs");
    check!(procs.lines().any(|l| l == getpid().to_string()), "{procs}");
}

cases![
    cpu_lists_agree,
    cpu_topology,
    cpu_caches,
    memory_node,
    transparent_huge_pages,
    loopback_interface,
    files_are_a_page_long_and_are_not_written,
    directories_are_there,
    cgroup_files,
    cgroup_limits,
];
