//! /proc/PID: what it says about a process, proc(5).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn text(path: &str) -> String {
    let data = must!(read_file(&cpath(path)));
    String::from_utf8_lossy(&data).into_owned()
}
/// The value of a `Name:` line of a status-like file.
fn field(file: &str, name: &str) -> String {
    let prefix = format!("{name}:");
    let line = file.lines().find(|l| l.starts_with(&prefix));
    match line {
        Some(l) => l[prefix.len()..].trim().to_string(),
        None => fail!("no {name} in {file}"),
    }
}
fn status(name: &str) -> String {
    field(&text("/proc/self/status"), name)
}
/// The lines of maps as `(start, end, permissions, offset, name)`.
fn maps() -> Vec<(usize, usize, String, u64, String)> {
    let hex = |s: &str| usize::from_str_radix(s, 16).unwrap_or(0);
    text("/proc/self/maps")
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap_or(("", ""));
            (
                hex(start),
                hex(end),
                words[1].to_string(),
                hex(words[2]) as u64,
                words.get(5).copied().unwrap_or("").to_string(),
            )
        })
        .collect()
}
fn map_at(p: *mut u8) -> (usize, usize, String, u64, String) {
    let found = maps()
        .into_iter()
        .find(|m| m.0 <= p as usize && (p as usize) < m.1);
    match found {
        Some(m) => m,
        None => fail!("{p:?} is not in maps"),
    }
}

fn self_is_the_reader() {
    check_eq!(
        readlink(c"/proc/self"),
        Ok(getpid().to_string().into_bytes())
    );
    let want = format!("{}/task/{}", getpid(), gettid());
    check_eq!(readlink(c"/proc/thread-self"), Ok(want.into_bytes()));
    in_child(|| {
        check_eq!(
            readlink(c"/proc/self"),
            Ok(getpid().to_string().into_bytes())
        )
    });
}

fn status_identity() {
    check_eq!(status("Pid"), getpid().to_string());
    check_eq!(status("Tgid"), getpid().to_string());
    check_eq!(status("PPid"), getppid().to_string());
    check_eq!(
        status("Uid").split('\t').next(),
        Some(getuid().to_string().as_str())
    );
    check_eq!(status("Threads"), "1");
    check_eq!(status("Umask").len(), 4);
    check!(status("State").starts_with('R'));
}

fn status_signal_masks() {
    block(&[SIGUSR1]);
    disposition(SIGUSR2, SIG_IGN);
    record_on(SIGHUP);
    raise(SIGUSR1);
    let hex = |name: &str| u64::from_str_radix(&status(name), 16).unwrap_or(0);
    check_eq!(hex("SigBlk"), mask_of(&[SIGUSR1]));
    check_eq!(hex("SigPnd"), mask_of(&[SIGUSR1]));
    check_eq!(hex("SigIgn") & mask_of(&[SIGUSR2]), mask_of(&[SIGUSR2]));
    check_eq!(hex("SigCgt") & mask_of(&[SIGHUP]), mask_of(&[SIGHUP]));
}

fn status_capabilities() {
    let hex = |name: &str| u64::from_str_radix(&status(name), 16).unwrap_or(0);
    let (effective, permitted, inheritable) = capabilities();
    check_eq!(
        (hex("CapEff"), hex("CapPrm"), hex("CapInh")),
        (effective, permitted, inheritable)
    );
    check_eq!(status("NoNewPrivs"), "0");
}

fn status_memory_grows() {
    let kib = |name: &str| -> u64 {
        status(name)
            .split(' ')
            .next()
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    };
    let before = kib("VmSize");
    let p = anon(4096);
    check!(kib("VmSize") >= before + 16 * 1024);
    put_bytes(p, &vec![1; 4096 * PAGE]);
    check!(kib("VmRSS") >= 16 * 1024 / 2);
}

fn stat_fields() {
    let stat = text("/proc/self/stat");
    let (head, rest) = stat.rsplit_once(") ").unwrap_or(("", ""));
    check!(head.starts_with(&format!("{} (", getpid())));
    let fields: Vec<&str> = rest.trim_end().split(' ').collect();
    check_eq!(fields.len(), 50);
    check_eq!(fields[0], "R");
    check_eq!(fields[1], getppid().to_string());
    check_eq!(fields[2], must!(getpgid(0)).to_string());
    check_eq!(fields[3], must!(getsid(0)).to_string());
    check_eq!(fields[17], "1");
}

fn stat_of_sleeping_and_dead_children() {
    let pid = child(|| {
        sleep_ms(60_000);
        0
    });
    wait_until("asleep", || task_state(pid) == 'S');
    must!(kill(pid, SIGKILL));
    wait_until("zombie", || task_state(pid) == 'Z');
    check_eq!(
        field(&text(&format!("/proc/{pid}/status")), "State"),
        "Z (zombie)"
    );
    wait_killed(pid, SIGKILL);
    expect_errno!(open(&cpath(&format!("/proc/{pid}")), O_RDONLY, 0), ENOENT);
}

fn stat_of_blocked_children_is_sleeping() {
    let word = shared(1).cast::<u32>();
    let (r, _w) = must!(pipe());
    let futex = child(|| {
        let _ = futex_wait(word, 0, None);
        0
    });
    let reader = child(|| {
        let _ = read_vec(r, 1);
        0
    });
    let poller = child(|| {
        poll1(r, POLLIN, -1);
        0
    });
    let waiter = child(|| {
        let pid = orphan(|| {
            sleep_ms(60_000);
            0
        });
        wait_status(pid)
    });
    let spinner = child(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    for (name, pid) in [
        ("futex", futex),
        ("read", reader),
        ("poll", poller),
        ("wait", waiter),
    ] {
        wait_until(name, || task_state(pid) == 'S');
    }
    check_eq!(task_state(spinner), 'R');
    for pid in [futex, reader, poller, waiter, spinner] {
        must!(kill(pid, SIGKILL));
        wait_killed(pid, SIGKILL);
    }
}

fn open_directory_of_reaped_process_is_esrch() {
    let pid = child(|| 0);
    let dir = must!(open(
        &cpath(&format!("/proc/{pid}")),
        O_RDONLY | O_DIRECTORY,
        0
    ));
    let status = must!(openat(dir, c"status", O_RDONLY, 0));
    wait_ok(pid);
    expect_errno!(read_vec(status, 100), ESRCH);
    let result = openat(dir, c"status", O_RDONLY, 0);
    check!(matches!(result, Err(ESRCH | ENOENT)), "{result:?}");
}

fn cmdline_and_environ() {
    let cmdline = must!(read_file(c"/proc/self/cmdline"));
    check!(cmdline.ends_with(b"\0"));
    let first: Vec<u8> = cmdline.iter().copied().take_while(|b| *b != 0).collect();
    let args: Vec<String> = std::env::args().collect();
    check_eq!(String::from_utf8_lossy(&first), args[0]);
    let environment = must!(read_file(c"/proc/self/environ"));
    check!(environment.is_empty() || environment.ends_with(b"\0"));
}

fn cmdline_of_zombie_is_empty() {
    let pid = child(|| 0);
    wait_until("zombie", || task_state(pid) == 'Z');
    check_eq!(
        read_file(&cpath(&format!("/proc/{pid}/cmdline"))),
        Ok(vec![])
    );
    wait_ok(pid);
}

fn exe_cwd_root_links() {
    tmp();
    check_eq!(readlink(c"/proc/self/cwd"), Ok(tmp_path().into_bytes()));
    check_eq!(readlink(c"/proc/self/root"), Ok(b"/".to_vec()));
    let exe = must!(readlink(c"/proc/self/exe"));
    check!(exe.starts_with(b"/"));
    let st = must!(stat(c"/proc/self/cwd"));
    check_eq!(st.st_ino, must!(stat(c".")).st_ino);
}

fn cwd_of_removed_directory_says_deleted() {
    tmp();
    must!(mkdir(c"d", 0o755));
    must!(chdir(c"d"));
    must!(rmdir(c"../d"));
    let want = format!("{}/d (deleted)", tmp_path());
    check_eq!(readlink(c"/proc/self/cwd"), Ok(want.into_bytes()));
}

fn fd_directory_lists_open_descriptors() {
    let fd = must!(open(c"/dev/null", O_RDONLY, 0));
    let names: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .map(|d| {
            d.flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    check!(
        names.contains(&fd.to_string()) && names.contains(&"1".to_string()),
        "{names:?}"
    );
    check_eq!(
        readlink(&cpath(&format!("/proc/self/fd/{fd}"))),
        Ok(b"/dev/null".to_vec())
    );
    must!(close(fd));
    expect_errno!(readlink(&cpath(&format!("/proc/self/fd/{fd}"))), ENOENT);
}

fn fd_link_of_unlinked_file_says_deleted() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    must!(unlink(c"f"));
    let want = format!("{}/f (deleted)", tmp_path());
    check_eq!(
        readlink(&cpath(&format!("/proc/self/fd/{fd}"))),
        Ok(want.into_bytes())
    );
}

fn fd_link_follows_rename() {
    tmp();
    let fd = must!(open(c"f", O_CREAT | O_RDWR, 0o644));
    must!(rename(c"f", c"g"));
    let want = format!("{}/g", tmp_path());
    check_eq!(
        readlink(&cpath(&format!("/proc/self/fd/{fd}"))),
        Ok(want.into_bytes())
    );
}

fn fd_link_mode_shows_access() {
    let r = must!(open(c"/dev/null", O_RDONLY, 0));
    let w = must!(open(c"/dev/null", O_WRONLY, 0));
    let mode = |fd: i32| must!(lstat(&cpath(&format!("/proc/self/fd/{fd}")))).st_mode & 0o777;
    check_eq!((mode(r), mode(w)), (0o500, 0o300));
}

fn fd_names_of_objects() {
    let name = |fd: i64| {
        let link = must!(readlink(&cpath(&format!("/proc/self/fd/{fd}"))));
        String::from_utf8_lossy(&link).into_owned()
    };
    check_eq!(
        name(must!(sys!(SYS_epoll_create1, 0))),
        "anon_inode:[eventpoll]"
    );
    check_eq!(
        name(must!(sys!(SYS_eventfd2, 0, 0))),
        "anon_inode:[eventfd]"
    );
    check_eq!(
        name(must!(sys!(SYS_timerfd_create, 1, 0))),
        "anon_inode:[timerfd]"
    );
    check_eq!(
        name(must!(sys!(SYS_inotify_init1, 0))),
        "anon_inode:inotify"
    );
    let (s, _t) = must!(socketpair(AF_UNIX, SOCK_STREAM));
    check_eq!(
        name(i64::from(s)),
        format!("socket:[{}]", must!(fstat(s)).st_ino)
    );
}

fn fdinfo_position_and_flags() {
    tmp();
    must!(write_file(c"f", b"0123456789"));
    let fd = must!(open(c"f", O_RDWR | O_APPEND | O_CLOEXEC, 0));
    must!(lseek(fd, 7, SEEK_SET));
    let info = text(&format!("/proc/self/fdinfo/{fd}"));
    check_eq!(field(&info, "pos"), "7");
    let flags = i32::from_str_radix(&field(&info, "flags"), 8).unwrap_or(0);
    let want = O_RDWR | O_APPEND | O_CLOEXEC;
    check_eq!(flags & (O_ACCMODE | O_APPEND | O_CLOEXEC), want);
}

fn maps_shows_mappings() {
    tmp();
    must!(write_file(c"f", &[0; 2 * PAGE]));
    let fd = must!(open(c"f", O_RDWR, 0));
    let rw = PROT_READ | PROT_WRITE;
    let shared_map = must!(mmap(0, PAGE, rw, MAP_SHARED, fd, PAGE as i64));
    let m = map_at(shared_map);
    check_eq!(m.2, "rw-s");
    check_eq!(m.3, PAGE as u64);
    check_eq!(m.4, format!("{}/f", tmp_path()));
    let private = must!(mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
    check_eq!(map_at(private).2, "r-xp");
    let none = must!(mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    check_eq!(map_at(none).2, "---p");
}

fn maps_names_stack_heap_vdso() {
    let names: Vec<String> = maps().into_iter().map(|m| m.4).collect();
    for want in ["[stack]", "[heap]", "[vdso]"] {
        check!(names.iter().any(|n| n == want), "{want} in {names:?}");
    }
    let local = 0u8;
    check_eq!(map_at((&raw const local).cast_mut()).4, "[stack]");
}

fn maps_is_sorted_without_overlap() {
    for pair in maps().windows(2) {
        check!(pair[0].1 <= pair[1].0, "{pair:?}");
    }
}

fn maps_hides_nothing_of_a_guess() {
    // Every page that can be read is in maps: probe around known mappings.
    for m in maps() {
        // The stack grows when touched.
        if m.4 == "[stack]" {
            continue;
        }
        for p in [m.0.wrapping_sub(PAGE), m.1] {
            let known = maps().iter().any(|k| k.0 <= p && p < k.1);
            let (_r, w) = must!(pipe());
            let readable = sys!(SYS_write, w, p, 1).is_ok();
            check!(known || !readable, "{p:x} is readable but not in maps");
        }
    }
}

fn smaps_has_entries() {
    let smaps = text("/proc/self/smaps");
    check!(smaps.contains("Rss:") && smaps.contains("VmFlags:"));
}

fn mem_reads_own_memory() {
    let data = *b"find me in memory";
    let fd = must!(open(c"/proc/self/mem", O_RDWR, 0));
    let mut buf = [0u8; 17];
    check_eq!(pread(fd, &mut buf, data.as_ptr() as i64), Ok(17));
    check_eq!(buf, data);
    let target = anon(1);
    check_eq!(pwrite(fd, b"poked", target as i64), Ok(5));
    check_eq!(bytes_at(target, 5), b"poked".to_vec());
    expect_errno!(pread(fd, &mut buf, BAD as i64), EIO);
}

fn mem_stops_at_a_hole() {
    let p = anon(2);
    must!(munmap(p.wrapping_add(PAGE), PAGE));
    let fd = must!(open(c"/proc/self/mem", O_RDWR, 0));
    let mut buf = [0u8; 2 * PAGE];
    check_eq!(pread(fd, &mut buf, p as i64), Ok(PAGE));
    check_eq!(pwrite(fd, &buf, p as i64), Ok(PAGE));
    expect_errno!(pread(fd, &mut buf, p as i64 + PAGE as i64), EIO);
    expect_errno!(pwrite(fd, &buf, p as i64 + PAGE as i64), EIO);
    must!(lseek(fd, p as i64 + 100, SEEK_SET));
    check_eq!(read_vec(fd, 50).map(|v| v.len()), Ok(50));
    check_eq!(tell(fd), Ok(p as i64 + 150));
    expect_errno!(lseek(fd, 0, SEEK_END), EINVAL);
}

fn mem_of_a_child() {
    let p = anon(1);
    put_bytes(p, b"parent");
    let gate = Gate::new();
    let pid = child(|| {
        put_bytes(p, b"child!");
        gate.open();
        wait_until("poked", || peek(p) == b'C');
        0
    });
    gate.wait();
    let fd = must!(open(&cpath(&format!("/proc/{pid}/mem")), O_RDWR, 0));
    let mut buf = [0u8; 6];
    check_eq!(pread(fd, &mut buf, p as i64), Ok(6));
    check_eq!(&buf, b"child!");
    check_eq!(pwrite(fd, b"C", p as i64), Ok(1));
    wait_ok(pid);
    check_eq!(bytes_at(p, 6), b"parent".to_vec());
    // Nothing is left to read.
    check_eq!(pread(fd, &mut buf, p as i64), Ok(0));
}

fn pagemap_exists() {
    must!(open(c"/proc/self/pagemap", O_RDONLY, 0));
}

fn pagemap_shows_what_is_present() {
    let fd = must!(open(c"/proc/self/pagemap", O_RDONLY, 0));
    let p = anon(2);
    put_bytes(p, b"x");
    let entries = |at: *mut u8, n: usize| -> Vec<u64> {
        let mut buf = vec![0u8; 8 * n];
        let at = (at as usize / PAGE * 8) as i64;
        check_eq!(pread(fd, &mut buf, at), Ok(8 * n));
        buf.chunks(8)
            .map(|c| u64::from_ne_bytes(std::array::from_fn(|i| c[i])))
            .collect()
    };
    let seen = entries(p, 2);
    check_eq!((seen[0] >> 63, seen[1] >> 63), (1, 0));
    must!(munmap(p, 2 * PAGE));
    check_eq!(entries(p, 1)[0] >> 62, 0);
    let mut buf = [0u8; 12];
    expect_errno!(pread(fd, &mut buf, 0), EINVAL);
    expect_errno!(pread(fd, &mut buf[..8], 4), EINVAL);
    check_eq!(pread(fd, &mut buf[..8], i64::MAX - 15), Ok(0));
}

fn limits_agree_with_getrlimit() {
    let limits = text("/proc/self/limits");
    let lim = must!(getrlimit(RLIMIT_NOFILE));
    let line = limits.lines().find(|l| l.starts_with("Max open files"));
    let words: Vec<&str> = line.unwrap_or("").split_whitespace().collect();
    check_eq!(
        words[3..],
        [
            lim.rlim_cur.to_string().as_str(),
            lim.rlim_max.to_string().as_str(),
            "files"
        ]
    );
}

fn task_directory_lists_threads() {
    let gate = Gate::new();
    let t = std::thread::spawn(move || {
        gate.wait();
        gettid()
    });
    let count = std::fs::read_dir("/proc/self/task")
        .map(|d| d.count())
        .unwrap_or(0);
    check_eq!(count, 2);
    check_eq!(status("Threads"), "2");
    gate.open();
    let tid = t.join().unwrap_or(0);
    wait_until("thread gone", || {
        !exists(&cpath(&format!("/proc/self/task/{tid}")))
    });
}

fn children_are_listed_in_proc() {
    let pid = child(|| {
        sleep_ms(60_000);
        0
    });
    let names: Vec<String> = std::fs::read_dir("/proc")
        .map(|d| {
            d.flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    check!(names.contains(&pid.to_string()));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn threads_are_reachable_but_not_listed() {
    let gate = Gate::new();
    let (tx, rx) = std::sync::mpsc::channel();
    let t = std::thread::spawn(move || {
        let _ = tx.send(gettid());
        gate.wait();
    });
    let tid = rx.recv().unwrap_or(0);
    check!(exists(&cpath(&format!("/proc/{tid}/status"))));
    let names: Vec<String> = std::fs::read_dir("/proc")
        .map(|d| {
            d.flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    check!(!names.contains(&tid.to_string()));
    gate.open();
    let _ = t.join();
}

fn a_threads_directory_tells_of_the_thread() {
    let group = getpid();
    let t = std::thread::spawn(move || {
        let tid = gettid();
        must!(prctl(PR_SET_NAME, c"the-thread".as_ptr() as usize, 0, 0, 0));
        for dir in [format!("/proc/{tid}"), format!("/proc/{group}/task/{tid}")] {
            let stat = text(&format!("{dir}/stat"));
            check!(
                stat.starts_with(&format!("{tid} (the-thread) R ")),
                "{stat}"
            );
            check_eq!(text(&format!("{dir}/comm")), "the-thread\n");
            let status = text(&format!("{dir}/status"));
            for line in [format!("\nPid:\t{tid}\n"), format!("\nTgid:\t{group}\n")] {
                check!(status.contains(&line), "{status}");
            }
        }
        check!(exists(&cpath(&format!("/proc/{tid}/task/{group}"))));
    });
    check!(t.join().is_ok());
}

fn oom_score_adj_round_trip() {
    let fd = must!(open(c"/proc/self/oom_score_adj", O_RDWR, 0));
    must!(write(fd, b"500"));
    check_eq!(text("/proc/self/oom_score_adj"), "500\n");
    expect_errno!(pwrite(fd, b"5000", 0), EINVAL);
}

fn mounts_name_the_root() {
    let mounts = text("/proc/self/mounts");
    check!(
        mounts.lines().any(|l| l.split(' ').nth(1) == Some("/")),
        "{mounts}"
    );
    check!(mounts.lines().all(|l| l.split(' ').count() == 6));
    let info = text("/proc/self/mountinfo");
    check!(info.lines().all(|l| l.contains(" - ")));
    check!(info.lines().any(|l| l.split(' ').nth(4) == Some("/proc")));
}

fn other_users_process_details_are_hidden() {
    need_root();
    let pid = child(|| {
        sleep_ms(60_000);
        0
    });
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(read_file(&cpath(&format!("/proc/{pid}/status"))));
        must!(read_file(&cpath(&format!("/proc/{pid}/cmdline"))));
        for name in ["environ", "maps", "mem"] {
            let result = read_file(&cpath(&format!("/proc/{pid}/{name}")));
            check!(matches!(result, Err(EACCES | EPERM)), "{name}: {result:?}");
        }
        let result = readlink(&cpath(&format!("/proc/{pid}/exe")));
        check!(matches!(result, Err(EACCES | EPERM)), "exe: {result:?}");
    });
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn directories_belong_to_the_owner() {
    need_root();
    let gate = Gate::new();
    let pid = child(|| {
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
        gate.open();
        sleep_ms(60_000);
        0
    });
    gate.wait();
    let st = must!(stat(&cpath(&format!("/proc/{pid}"))));
    check_eq!(
        (st.st_uid, st.st_gid, st.st_mode & S_IFMT),
        (1000, 1000, S_IFDIR)
    );
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn proc_cannot_be_written() {
    expect_errno!(open(c"/proc/newfile", O_CREAT | O_RDWR, 0o644), ENOENT);
    check!(mkdir(c"/proc/dir", 0o755).is_err());
    check!(unlink(c"/proc/self/status").is_err());
    check!(matches!(
        open(c"/proc/self/stat", O_WRONLY, 0),
        Err(EACCES) | Ok(_)
    ));
}

fn reading_in_small_pieces_is_consistent() {
    let fd = must!(open(c"/proc/self/limits", O_RDONLY, 0));
    let mut all = Vec::new();
    loop {
        let part = must!(read_vec(fd, 7));
        if part.is_empty() {
            break;
        }
        all.extend(part);
    }
    check_eq!(String::from_utf8_lossy(&all), text("/proc/self/limits"));
    must!(lseek(fd, 0, SEEK_SET));
    check_eq!(read_vec(fd, 5), Ok(b"Limit".to_vec()));
}

fn io_counts_bytes() {
    let read = |name: &str| -> u64 { field(&text("/proc/self/io"), name).parse().unwrap_or(0) };
    let before = read("wchar");
    let (_r, w) = must!(pipe());
    must!(write(w, &[0; 5000]));
    check!(read("wchar") >= before + 5000);
}

cases![
    self_is_the_reader,
    status_identity,
    status_signal_masks,
    status_capabilities,
    status_memory_grows,
    stat_fields,
    stat_of_sleeping_and_dead_children,
    stat_of_blocked_children_is_sleeping,
    open_directory_of_reaped_process_is_esrch,
    cmdline_and_environ,
    cmdline_of_zombie_is_empty,
    exe_cwd_root_links,
    cwd_of_removed_directory_says_deleted,
    fd_directory_lists_open_descriptors,
    fd_link_of_unlinked_file_says_deleted,
    fd_link_follows_rename,
    fd_link_mode_shows_access,
    fd_names_of_objects,
    fdinfo_position_and_flags,
    maps_shows_mappings,
    maps_names_stack_heap_vdso,
    maps_is_sorted_without_overlap,
    maps_hides_nothing_of_a_guess,
    smaps_has_entries,
    mem_reads_own_memory,
    mem_stops_at_a_hole,
    mem_of_a_child,
    pagemap_exists,
    pagemap_shows_what_is_present,
    limits_agree_with_getrlimit,
    task_directory_lists_threads,
    children_are_listed_in_proc,
    threads_are_reachable_but_not_listed,
    a_threads_directory_tells_of_the_thread,
    oom_score_adj_round_trip,
    mounts_name_the_root,
    other_users_process_details_are_hidden,
    directories_belong_to_the_owner,
    proc_cannot_be_written,
    reading_in_small_pieces_is_consistent,
    io_counts_bytes,
];
