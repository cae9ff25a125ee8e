//! /proc about the whole system, /sys, and /dev.

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn text(path: &str) -> String {
    let data = must!(read_file(&cpath(path)));
    String::from_utf8_lossy(&data).into_owned()
}

fn meminfo_lines() {
    let info = text("/proc/meminfo");
    let kib = |name: &str| -> u64 {
        let line = info.lines().find(|l| l.starts_with(&format!("{name}:")));
        line.and_then(|l| l.split_whitespace().nth(1))
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    };
    check!(kib("MemTotal") > 1024);
    check!(kib("MemTotal") >= kib("MemFree"));
    check!(kib("MemAvailable") > 0);
    check!(info.lines().all(|l| l.contains(':')));
}

fn cpuinfo_lists_processors() {
    let info = text("/proc/cpuinfo");
    let count = info.lines().filter(|l| l.starts_with("processor")).count();
    check!(count >= 1);
    check!(info.contains("flags") || info.contains("Features"));
}

fn stat_has_cpu_and_boot_time() {
    let stat = text("/proc/stat");
    check!(stat.starts_with("cpu "));
    check!(stat.lines().any(|l| l.starts_with("cpu0 ")));
    let btime = stat.lines().find(|l| l.starts_with("btime "));
    check!(btime.and_then(|l| l[6..].parse::<i64>().ok()) > Some(1_000_000_000));
    check!(stat.contains("\nprocesses ") && stat.contains("\nctxt "));
}

fn loadavg_and_uptime_and_version() {
    check_eq!(text("/proc/loadavg").split_whitespace().count(), 5);
    let uptime = text("/proc/uptime");
    check!(uptime.split_whitespace().all(|v| v.parse::<f64>().is_ok()));
    check!(text("/proc/version").starts_with("Linux version "));
}

fn filesystems_lists_proc_and_tmpfs() {
    let list = text("/proc/filesystems");
    for name in ["nodev\tproc", "nodev\ttmpfs", "nodev\tsysfs"] {
        check!(list.lines().any(|l| l == name), "{name} in {list}");
    }
}

fn sys_kernel_values() {
    check_eq!(text("/proc/sys/kernel/ostype"), "Linux\n");
    check!(
        text("/proc/sys/kernel/pid_max")
            .trim()
            .parse::<u32>()
            .is_ok()
    );
    check!(text("/proc/sys/kernel/osrelease").contains('.'));
    check!(text("/proc/sys/fs/nr_open").trim().parse::<u64>().is_ok());
    check!(
        text("/proc/sys/vm/overcommit_memory")
            .trim()
            .parse::<u32>()
            .is_ok()
    );
    check!(
        text("/proc/sys/net/core/somaxconn")
            .trim()
            .parse::<u32>()
            .is_ok()
    );
    check!(
        text("/proc/sys/vm/max_map_count")
            .trim()
            .parse::<u32>()
            .is_ok()
    );
}

fn random_uuid_changes_and_boot_id_stays() {
    let a = text("/proc/sys/kernel/random/uuid");
    check_eq!(a.len(), 37);
    check!(a != text("/proc/sys/kernel/random/uuid"));
    let b = text("/proc/sys/kernel/random/boot_id");
    check_eq!(b, text("/proc/sys/kernel/random/boot_id"));
}

fn net_files_exist() {
    for file in [
        "/proc/net/dev",
        "/proc/net/unix",
        "/proc/net/tcp",
        "/proc/net/route",
    ] {
        must!(read_file(&cpath(file)));
    }
    check!(text("/proc/net/dev").contains("lo:"));
}

fn sys_cpu_online() {
    let online = text("/sys/devices/system/cpu/online");
    check!(online.starts_with(|c: char| c.is_ascii_digit()));
    must!(read_file(c"/sys/devices/system/cpu/possible"));
}

fn proc_root_listing() {
    let names: Vec<String> = std::fs::read_dir("/proc")
        .map(|d| {
            d.flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    for want in [
        "self",
        "thread-self",
        "meminfo",
        "stat",
        "sys",
        "mounts",
        "net",
    ] {
        check!(names.iter().any(|n| n == want), "{want} in {names:?}");
    }
}

fn missing_entries_are_enoent() {
    expect_errno!(open(c"/proc/999999999", O_RDONLY, 0), ENOENT);
    expect_errno!(open(c"/proc/self/nothing", O_RDONLY, 0), ENOENT);
    expect_errno!(open(c"/proc/01", O_RDONLY, 0), ENOENT);
    expect_errno!(open(c"/proc/-1", O_RDONLY, 0), ENOENT);
}

fn dev_null() {
    let fd = must!(open(c"/dev/null", O_RDWR, 0));
    check_eq!(write(fd, b"gone"), Ok(4));
    check_eq!(read_vec(fd, 10), Ok(vec![]));
    check_eq!(sys!(SYS_write, fd, bad::<u8>(), 10), Ok(10));
}

fn dev_zero() {
    let fd = must!(open(c"/dev/zero", O_RDWR, 0));
    check_eq!(read_vec(fd, 10_000), Ok(vec![0; 10_000]));
    check_eq!(write(fd, b"gone"), Ok(4));
    expect_errno!(sys!(SYS_read, fd, bad::<u8>(), 10), EFAULT);
}

fn dev_full() {
    let fd = must!(open(c"/dev/full", O_RDWR, 0));
    check_eq!(read_vec(fd, 10), Ok(vec![0; 10]));
    expect_errno!(write(fd, b"x"), ENOSPC);
}

fn dev_random_and_urandom() {
    for path in [c"/dev/urandom", c"/dev/random"] {
        let fd = must!(open(path, O_RDWR, 0));
        let (a, b) = (must!(read_vec(fd, 32)), must!(read_vec(fd, 32)));
        check!(a.len() == 32 && a != b);
        check_eq!(write(fd, b"entropy"), Ok(7));
    }
}

fn dev_links() {
    check_eq!(readlink(c"/dev/fd"), Ok(b"/proc/self/fd".to_vec()));
    check_eq!(readlink(c"/dev/stdin"), Ok(b"/proc/self/fd/0".to_vec()));
    check_eq!(readlink(c"/dev/stdout"), Ok(b"/proc/self/fd/1".to_vec()));
    check_eq!(readlink(c"/dev/stderr"), Ok(b"/proc/self/fd/2".to_vec()));
}

fn dev_numbers() {
    for (path, want) in [
        (c"/dev/null", (1, 3)),
        (c"/dev/zero", (1, 5)),
        (c"/dev/full", (1, 7)),
        (c"/dev/random", (1, 8)),
        (c"/dev/urandom", (1, 9)),
        (c"/dev/tty", (5, 0)),
    ] {
        let st = must!(stat(path));
        check_eq!((major(st.st_rdev), minor(st.st_rdev)), want, "{path:?}");
        check_eq!(st.st_mode, S_IFCHR | 0o666);
    }
}

fn dev_tty_without_terminal_is_enxio() {
    in_child(|| {
        must!(setsid());
        expect_errno!(open(c"/dev/tty", O_RDWR, 0), ENXIO);
    });
}

fn dev_shm_is_a_sticky_directory() {
    check_eq!(must!(stat(c"/dev/shm")).st_mode, S_IFDIR | 0o1777);
}

fn dev_fd_opens_anew() {
    tmp();
    must!(write_file(c"f", b"abc"));
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(read_vec(fd, 2));
    let again = must!(open(&cpath(&format!("/dev/fd/{fd}")), O_RDONLY, 0));
    check_eq!(read_vec(again, 10), Ok(b"abc".to_vec()));
}

fn ioctls_of_null_are_enotty() {
    let fd = must!(open(c"/dev/null", O_RDWR, 0));
    expect_errno!(ioctl(fd, TCGETS, anon(1)), ENOTTY);
}

cases![
    meminfo_lines,
    cpuinfo_lists_processors,
    stat_has_cpu_and_boot_time,
    loadavg_and_uptime_and_version,
    filesystems_lists_proc_and_tmpfs,
    sys_kernel_values,
    random_uuid_changes_and_boot_id_stays,
    net_files_exist,
    sys_cpu_online,
    proc_root_listing,
    missing_entries_are_enoent,
    dev_null,
    dev_zero,
    dev_full,
    dev_random_and_urandom,
    dev_links,
    dev_numbers,
    dev_tty_without_terminal_is_enxio,
    dev_shm_is_a_sticky_directory,
    dev_fd_opens_anew,
    ioctls_of_null_are_enotty,
];
