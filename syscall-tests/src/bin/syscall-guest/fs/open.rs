//! open(2), openat(2), creat(2).

use syscall_tests::cases;
use syscall_tests::prelude::*;

fn setup() {
    tmp();
    must!(write_file(c"f", b"content"));
    must!(mkdir(c"d", 0o755));
    must!(symlink(c"f", c"to_f"));
    must!(symlink(c"d", c"to_d"));
    must!(symlink(c"nothing", c"dangling"));
    must!(symlink(c"loop2", c"loop1"));
    must!(symlink(c"loop1", c"loop2"));
}

fn missing_is_enoent() {
    setup();
    expect_errno!(open(c"x", O_RDONLY, 0), ENOENT);
    expect_errno!(open(c"x/y", O_RDONLY | O_CREAT, 0o644), ENOENT);
    expect_errno!(open(c"dangling", O_RDONLY, 0), ENOENT);
}

fn empty_path_is_enoent() {
    setup();
    expect_errno!(open(c"", O_RDONLY, 0), ENOENT);
    expect_errno!(openat(-1, c"", O_RDONLY, 0), ENOENT);
}

fn bad_path_pointer_is_efault() {
    expect_errno!(sys!(SYS_openat, AT_FDCWD, bad::<u8>(), O_RDONLY, 0), EFAULT);
    expect_errno!(sys!(SYS_openat, -1, 0, O_RDONLY, 0), EFAULT);
    expect_errno!(sys!(SYS_open, usize::MAX, O_RDONLY, 0), EFAULT);
}

fn path_running_into_unmapped_page_is_efault() {
    let edge = page_edge();
    put_bytes(edge.wrapping_sub(4), b"/tmp");
    expect_errno!(
        sys!(SYS_openat, AT_FDCWD, edge.wrapping_sub(4), O_RDONLY, 0),
        EFAULT
    );
}

fn path_ending_at_page_edge_works() {
    let edge = page_edge();
    put_bytes(edge.wrapping_sub(2), b"/\0");
    must!(sys!(
        SYS_openat,
        AT_FDCWD,
        edge.wrapping_sub(2),
        O_RDONLY,
        0
    ));
}

fn name_too_long_is_enametoolong() {
    setup();
    let name = cpath(&"n".repeat(256));
    expect_errno!(open(&name, O_RDONLY, 0), ENAMETOOLONG);
    expect_errno!(open(&name, O_WRONLY | O_CREAT, 0o644), ENAMETOOLONG);
    let name = cpath(&"n".repeat(255));
    must!(open(&name, O_WRONLY | O_CREAT, 0o644));
}

fn path_of_4096_bytes_is_enametoolong() {
    setup();
    let long = cpath(&"./".repeat(2047));
    must!(open(&long, O_RDONLY, 0));
    let long = cpath(&"./".repeat(2048));
    expect_errno!(open(&long, O_RDONLY, 0), ENAMETOOLONG);
}

fn component_not_directory_is_enotdir() {
    setup();
    expect_errno!(open(c"f/x", O_RDONLY, 0), ENOTDIR);
    expect_errno!(open(c"f/x", O_CREAT | O_WRONLY, 0o644), ENOTDIR);
    expect_errno!(open(c"f/.", O_RDONLY, 0), ENOTDIR);
    expect_errno!(open(c"f/", O_RDONLY, 0), ENOTDIR);
}

fn trailing_slash_on_missing_with_creat_is_eisdir() {
    setup();
    expect_errno!(open(c"new/", O_CREAT | O_WRONLY, 0o644), EISDIR);
    expect_errno!(open(c"d/", O_CREAT | O_WRONLY, 0o644), EISDIR);
}

fn symlink_loop_is_eloop() {
    setup();
    expect_errno!(open(c"loop1", O_RDONLY, 0), ELOOP);
    expect_errno!(open(c"loop1/x", O_RDONLY, 0), ELOOP);
    expect_errno!(stat(c"loop2"), ELOOP);
}

fn forty_symlinks_follow_forty_one_loop() {
    tmp();
    must!(write_file(c"l0", b"end"));
    for i in 1..=41 {
        must!(symlink(
            &cpath(&format!("l{}", i - 1)),
            &cpath(&format!("l{i}"))
        ));
    }
    // A walk that Linux has to begin anew, since something changed beside it, counts the links twice.
    let opened = (0..20).any(|_| open(c"l40", O_RDONLY, 0).is_ok());
    check!(opened);
    expect_errno!(open(c"l41", O_RDONLY, 0), ELOOP);
}

fn directory_for_writing_is_eisdir() {
    setup();
    expect_errno!(open(c"d", O_WRONLY, 0), EISDIR);
    expect_errno!(open(c"d", O_RDWR, 0), EISDIR);
    expect_errno!(open(c"d", O_RDONLY | O_CREAT, 0o644), EISDIR);
    expect_errno!(open(c"d", O_RDONLY | O_TRUNC, 0), EISDIR);
    must!(open(c"d", O_RDONLY, 0));
}

fn creat_excl_existing_is_eexist() {
    setup();
    expect_errno!(open(c"f", O_CREAT | O_EXCL | O_RDWR, 0o644), EEXIST);
    expect_errno!(open(c"d", O_CREAT | O_EXCL | O_RDWR, 0o644), EEXIST);
    must!(open(c"g", O_CREAT | O_EXCL | O_RDWR, 0o644));
}

fn creat_excl_does_not_follow_symlink() {
    setup();
    expect_errno!(open(c"dangling", O_CREAT | O_EXCL | O_RDWR, 0o644), EEXIST);
    expect_errno!(open(c"to_f", O_CREAT | O_EXCL | O_RDWR, 0o644), EEXIST);
}

fn creat_through_dangling_symlink_makes_target() {
    setup();
    let fd = must!(open(c"dangling", O_CREAT | O_WRONLY, 0o644));
    must!(write(fd, b"x"));
    check_eq!(read_file(c"nothing"), Ok(b"x".to_vec()));
}

fn creat_applies_umask() {
    tmp();
    umask(0o027);
    must!(open(c"a", O_CREAT | O_WRONLY, 0o777));
    check_eq!(must!(stat(c"a")).st_mode & 0o7777, 0o750);
    umask(0);
    must!(open(c"b", O_CREAT | O_WRONLY, 0o6644));
    check_eq!(must!(stat(c"b")).st_mode & 0o7777, 0o6644);
}

fn creat_mode_does_not_limit_this_descriptor() {
    tmp();
    let fd = must!(open(c"a", O_CREAT | O_RDWR, 0));
    check_eq!(write(fd, b"x"), Ok(1));
    check_eq!(must!(fstat(fd)).st_mode & 0o777, 0);
}

fn creat_call_truncates_write_only() {
    setup();
    let fd = must!(sys!(SYS_creat, c"f", 0o600)) as i32;
    check_eq!(size_of_file(fd), 0);
    expect_errno!(read_vec(fd, 1), EBADF);
    check_eq!(
        fcntl(fd, F_GETFL, 0).map(|f| f as i32 & O_ACCMODE),
        Ok(O_WRONLY)
    );
}

fn trunc_empties_file() {
    setup();
    must!(open(c"f", O_WRONLY | O_TRUNC, 0));
    check_eq!(must!(stat(c"f")).st_size, 0);
}

fn trunc_with_read_only_still_truncates() {
    setup();
    must!(open(c"f", O_RDONLY | O_TRUNC, 0));
    check_eq!(must!(stat(c"f")).st_size, 0);
}

fn directory_flag_on_file_is_enotdir() {
    setup();
    expect_errno!(open(c"f", O_RDONLY | O_DIRECTORY, 0), ENOTDIR);
    expect_errno!(open(c"to_f", O_RDONLY | O_DIRECTORY, 0), ENOTDIR);
    must!(open(c"d", O_RDONLY | O_DIRECTORY, 0));
    must!(open(c"to_d", O_RDONLY | O_DIRECTORY, 0));
}

fn nofollow_on_symlink_is_eloop() {
    setup();
    expect_errno!(open(c"to_f", O_RDONLY | O_NOFOLLOW, 0), ELOOP);
    expect_errno!(open(c"dangling", O_RDONLY | O_NOFOLLOW, 0), ELOOP);
    must!(open(c"f", O_RDONLY | O_NOFOLLOW, 0));
}

fn nofollow_directory_on_symlink_is_enotdir() {
    setup();
    expect_errno!(
        open(c"to_d", O_RDONLY | O_NOFOLLOW | O_DIRECTORY, 0),
        ENOTDIR
    );
}

fn nofollow_with_trailing_slash_follows() {
    setup();
    must!(open(c"to_d/", O_RDONLY | O_NOFOLLOW, 0));
    must!(open(c"to_d/.", O_RDONLY | O_NOFOLLOW, 0));
}

fn o_path_nofollow_opens_the_link() {
    setup();
    let fd = must!(open(c"to_f", O_PATH | O_NOFOLLOW, 0));
    check_eq!(must!(fstat(fd)).st_mode & S_IFMT, S_IFLNK);
    let mut buf = [0u8; 16];
    check_eq!(sys!(SYS_readlinkat, fd, c"", &mut buf, 16), Ok(1));
    check_eq!(buf[0], b'f');
}

fn o_path_needs_no_permission_on_file() {
    setup();
    must!(chmod(c"f", 0));
    let fd = must!(open(c"f", O_PATH, 0));
    check_eq!(fcntl(fd, F_GETFL, 0).map(|f| f as i32 & O_PATH), Ok(O_PATH));
    must!(fstat(fd));
    expect_errno!(sys!(SYS_fchmod, fd, 0o600), EBADF);
    expect_errno!(sys!(SYS_ftruncate, fd, 0), EBADF);
    expect_errno!(ioctl(fd, FIONREAD, anon(1)), EBADF);
}

fn o_path_ignores_other_flags() {
    setup();
    let fd = must!(open(c"f", O_PATH | O_TRUNC | O_RDWR | O_APPEND, 0));
    check_eq!(must!(stat(c"f")).st_size, 7);
    let flags = must!(fcntl(fd, F_GETFL, 0)) as i32;
    check_eq!(flags & (O_APPEND | O_ACCMODE), 0);
    expect_errno!(open(c"missing", O_PATH | O_CREAT, 0o644), ENOENT);
}

fn o_path_directory_serves_as_dirfd() {
    setup();
    must!(write_file(c"d/x", b"in d"));
    let dir = must!(open(c"d", O_PATH, 0));
    let fd = must!(openat(dir, c"x", O_RDONLY, 0));
    check_eq!(read_all(fd), Ok(b"in d".to_vec()));
    must!(sys!(SYS_fchdir, dir));
    must!(open(c"x", O_RDONLY, 0));
}

fn o_path_reopen_through_proc() {
    setup();
    let fd = must!(open(c"f", O_PATH, 0));
    let again = must!(open(&cpath(&format!("/proc/self/fd/{fd}")), O_RDWR, 0));
    check_eq!(read_all(again), Ok(b"content".to_vec()));
}

fn proc_fd_reopens_unlinked_file() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    must!(unlink(c"f"));
    let again = must!(open(&cpath(&format!("/proc/self/fd/{fd}")), O_RDONLY, 0));
    check_eq!(read_all(again), Ok(b"content".to_vec()));
    check_eq!(tell(fd), Ok(0));
}

fn tmpfile_has_no_name_and_can_be_linked() {
    tmp();
    let fd = match open(c".", O_TMPFILE | O_RDWR, 0o640) {
        Err(EOPNOTSUPP | EISDIR) => skip!("O_TMPFILE not supported here"),
        other => must!(other),
    };
    must!(write(fd, b"secret"));
    let st = must!(fstat(fd));
    check_eq!((st.st_nlink, st.st_mode), (0, S_IFREG | 0o640));
    must!(sys!(
        SYS_linkat,
        AT_FDCWD,
        cpath(&format!("/proc/self/fd/{fd}")).as_c_str(),
        AT_FDCWD,
        c"named",
        AT_SYMLINK_FOLLOW
    ));
    check_eq!(read_file(c"named"), Ok(b"secret".to_vec()));
    check_eq!(must!(fstat(fd)).st_nlink, 1);
}

fn tmpfile_read_only_is_einval() {
    tmp();
    expect_errno!(open(c".", O_TMPFILE | O_RDONLY, 0o600), EINVAL);
}

fn tmpfile_on_file_is_enotdir() {
    setup();
    expect_errno!(open(c"f", O_TMPFILE | O_RDWR, 0o600), ENOTDIR);
}

fn tmpfile_excl_cannot_be_linked() {
    tmp();
    let fd = match open(c".", O_TMPFILE | O_RDWR | O_EXCL, 0o600) {
        Err(EOPNOTSUPP | EISDIR) => skip!("O_TMPFILE not supported here"),
        other => must!(other),
    };
    let path = cpath(&format!("/proc/self/fd/{fd}"));
    expect_errno!(
        sys!(
            SYS_linkat,
            AT_FDCWD,
            path.as_c_str(),
            AT_FDCWD,
            c"named",
            AT_SYMLINK_FOLLOW
        ),
        ENOENT
    );
}

fn cloexec_flag_sets_fd_cloexec() {
    setup();
    let a = must!(open(c"f", O_RDONLY | O_CLOEXEC, 0));
    let b = must!(open(c"f", O_RDONLY, 0));
    check_eq!(fcntl(a, F_GETFD, 0), Ok(FD_CLOEXEC as i64));
    check_eq!(fcntl(b, F_GETFD, 0), Ok(0));
    check_eq!(fcntl(a, F_GETFL, 0).map(|f| f as i32 & O_CLOEXEC), Ok(0));
}

fn lowest_descriptor_is_used() {
    setup();
    let a = must!(open(c"f", O_RDONLY, 0));
    let b = must!(open(c"f", O_RDONLY, 0));
    check_eq!(b, a + 1);
    must!(close(a));
    check_eq!(open(c"f", O_RDONLY, 0), Ok(a));
}

fn unknown_flags_ignored_by_openat() {
    setup();
    must!(sys!(SYS_openat, AT_FDCWD, c"f", 0x4000_0000, 0));
}

fn access_mode_three_grants_nothing() {
    setup();
    let fd = must!(open(c"f", O_ACCMODE, 0));
    expect_errno!(read_vec(fd, 1), EBADF);
    expect_errno!(write(fd, b"x"), EBADF);
    must!(fstat(fd));
}

fn getfl_reports_status_flags_not_creation_flags() {
    setup();
    let fd = must!(open(
        c"f",
        O_RDWR | O_APPEND | O_NONBLOCK | O_CREAT | O_TRUNC,
        0o644
    ));
    let flags = must!(fcntl(fd, F_GETFL, 0)) as i32;
    check_eq!(
        flags & (O_ACCMODE | O_APPEND | O_NONBLOCK),
        O_RDWR | O_APPEND | O_NONBLOCK
    );
    check_eq!(flags & (O_CREAT | O_TRUNC | O_EXCL), 0);
}

fn openat_dirfd_not_directory_is_enotdir() {
    setup();
    let fd = must!(open(c"f", O_RDONLY, 0));
    expect_errno!(openat(fd, c"x", O_RDONLY, 0), ENOTDIR);
    let (r, _w) = must!(pipe());
    expect_errno!(openat(r, c"x", O_RDONLY, 0), ENOTDIR);
}

fn openat_bad_dirfd_is_ebadf_unless_absolute() {
    setup();
    expect_errno!(openat(-1, c"f", O_RDONLY, 0), EBADF);
    expect_errno!(openat(150, c"f", O_RDONLY, 0), EBADF);
    must!(openat(-1, c"/", O_RDONLY, 0));
}

fn openat_survives_rename_of_dirfd() {
    setup();
    must!(write_file(c"d/x", b"1"));
    let dir = must!(open(c"d", O_RDONLY, 0));
    must!(rename(c"d", c"e"));
    must!(openat(dir, c"x", O_RDONLY, 0));
    must!(openat(dir, c"../f", O_RDONLY, 0));
}

fn create_in_removed_directory_is_enoent() {
    setup();
    let dir = must!(open(c"d", O_RDONLY, 0));
    must!(rmdir(c"d"));
    expect_errno!(openat(dir, c"x", O_CREAT | O_RDWR, 0o644), ENOENT);
    check_eq!(must!(fstat(dir)).st_nlink, 0);
}

fn socket_file_is_enxio() {
    setup();
    must!(mknod(c"s", S_IFSOCK | 0o666, 0));
    expect_errno!(open(c"s", O_RDONLY, 0), ENXIO);
    must!(open(c"s", O_PATH, 0));
}

fn running_program_for_writing_is_etxtbsy() {
    tmp();
    let exe = must!(read_file(&self_exe()));
    must!(write_file(c"prog", &exe));
    must!(chmod(c"prog", 0o755));
    let gate = Gate::new();
    let pid = child(|| {
        let _ = dup2(1, 1);
        gate.open();
        let _ = execve(c"./prog", &[c"prog", c"--helper", c"sleep"], &[]);
        1
    });
    gate.wait();
    let want = cpath(&format!("{}/prog", tmp_path()));
    wait_until("the child runs prog", || {
        readlink(&cpath(&format!("/proc/{pid}/exe"))).is_ok_and(|p| p == want.to_bytes())
    });
    expect_errno!(open(c"prog", O_WRONLY, 0), ETXTBSY);
    expect_errno!(open(c"prog", O_RDWR, 0), ETXTBSY);
    expect_errno!(sys!(SYS_truncate, c"prog", 0), ETXTBSY);
    must!(open(c"prog", O_RDONLY, 0));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
    must!(open(c"prog", O_WRONLY, 0));
}

fn permission_of_directory_is_eacces() {
    need_root();
    setup();
    must!(write_file(c"d/x", b"1"));
    must!(chmod(c"d", 0o700));
    must!(write_file(c"secret", b""));
    must!(chmod(c"secret", 0o600));
    in_child(|| {
        must!(sys!(SYS_setresuid, 65534, 65534, 65534));
        expect_errno!(open(c"d/x", O_RDONLY, 0), EACCES);
        expect_errno!(open(c"d/missing", O_RDONLY, 0), EACCES);
        expect_errno!(open(c"secret", O_RDONLY, 0), EACCES);
        expect_errno!(open(c"secret", O_PATH | O_DIRECTORY, 0), ENOTDIR);
        expect_errno!(open(c"new", O_CREAT | O_RDWR, 0o644), EACCES);
        expect_errno!(open(c"f", O_RDWR, 0), EACCES);
        must!(open(c"f", O_RDONLY, 0));
    });
}

fn noatime_by_other_user_is_eperm() {
    need_root();
    setup();
    in_child(|| {
        must!(sys!(SYS_setresuid, 65534, 65534, 65534));
        expect_errno!(open(c"f", O_RDONLY | O_NOATIME, 0), EPERM);
    });
    must!(open(c"f", O_RDONLY | O_NOATIME, 0));
}

fn sgid_directory_gives_its_group() {
    need_root();
    tmp();
    must!(mkdir(c"g", 0o777));
    must!(chown(c"g", 0, 1234));
    must!(chmod(c"g", 0o2777));
    must!(open(c"g/f", O_CREAT | O_RDWR, 0o644));
    check_eq!(must!(stat(c"g/f")).st_gid, 1234);
    must!(mkdir(c"g/d", 0o755));
    let st = must!(stat(c"g/d"));
    check_eq!((st.st_gid, st.st_mode & S_ISGID), (1234, S_ISGID));
}

fn dot_dot_at_root_stays_at_root() {
    let a = must!(stat(c"/"));
    let b = must!(stat(c"/../../.."));
    check_eq!((a.st_dev, a.st_ino), (b.st_dev, b.st_ino));
}

fn slashes_and_dots_collapse() {
    setup();
    must!(write_file(c"d/x", b"1"));
    must!(open(c".//d///./x", O_RDONLY, 0));
    must!(open(c"d/../d/x", O_RDONLY, 0));
    must!(open(c"to_d/x", O_RDONLY, 0));
    expect_errno!(open(c"missing/../f", O_RDONLY, 0), ENOENT);
}

cases![
    setup,
    missing_is_enoent,
    empty_path_is_enoent,
    bad_path_pointer_is_efault,
    path_running_into_unmapped_page_is_efault,
    path_ending_at_page_edge_works,
    name_too_long_is_enametoolong,
    path_of_4096_bytes_is_enametoolong,
    component_not_directory_is_enotdir,
    trailing_slash_on_missing_with_creat_is_eisdir,
    symlink_loop_is_eloop,
    forty_symlinks_follow_forty_one_loop,
    directory_for_writing_is_eisdir,
    creat_excl_existing_is_eexist,
    creat_excl_does_not_follow_symlink,
    creat_through_dangling_symlink_makes_target,
    creat_applies_umask,
    creat_mode_does_not_limit_this_descriptor,
    creat_call_truncates_write_only,
    trunc_empties_file,
    trunc_with_read_only_still_truncates,
    directory_flag_on_file_is_enotdir,
    nofollow_on_symlink_is_eloop,
    nofollow_directory_on_symlink_is_enotdir,
    nofollow_with_trailing_slash_follows,
    o_path_nofollow_opens_the_link,
    o_path_needs_no_permission_on_file,
    o_path_ignores_other_flags,
    o_path_directory_serves_as_dirfd,
    o_path_reopen_through_proc,
    proc_fd_reopens_unlinked_file,
    tmpfile_has_no_name_and_can_be_linked,
    tmpfile_read_only_is_einval,
    tmpfile_on_file_is_enotdir,
    tmpfile_excl_cannot_be_linked,
    cloexec_flag_sets_fd_cloexec,
    lowest_descriptor_is_used,
    unknown_flags_ignored_by_openat,
    access_mode_three_grants_nothing,
    getfl_reports_status_flags_not_creation_flags,
    openat_dirfd_not_directory_is_enotdir,
    openat_bad_dirfd_is_ebadf_unless_absolute,
    openat_survives_rename_of_dirfd,
    create_in_removed_directory_is_enoent,
    socket_file_is_enxio,
    running_program_for_writing_is_etxtbsy,
    permission_of_directory_is_eacces,
    noatime_by_other_user_is_eperm,
    sgid_directory_gives_its_group,
    dot_dot_at_root_stays_at_root,
    slashes_and_dots_collapse,
];
