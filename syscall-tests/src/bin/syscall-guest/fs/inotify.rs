//! inotify(7).

use std::ffi::CStr;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn new() -> i32 {
    must!(sys!(SYS_inotify_init1, IN_NONBLOCK | IN_CLOEXEC)) as i32
}
fn watch(fd: i32, path: &CStr, mask: u32) -> Sys<i32> {
    sys!(SYS_inotify_add_watch, fd, path, mask).map(|wd| wd as i32)
}
/// The queued events as `(wd, mask, cookie, name)`.
fn events(fd: i32) -> Vec<(i32, u32, u32, String)> {
    let mut all = Vec::new();
    loop {
        let data = match read_vec(fd, 8192) {
            Err(EAGAIN) => return all,
            other => must!(other),
        };
        let mut rest = &data[..];
        while rest.len() >= 16 {
            let word = |i: usize| -> u32 {
                u32::from_ne_bytes(rest[4 * i..4 * i + 4].try_into().unwrap_or_default())
            };
            let len = word(3) as usize;
            let name = rest[16..16 + len].iter().take_while(|b| **b != 0);
            let name = String::from_utf8_lossy(&name.copied().collect::<Vec<u8>>()).into_owned();
            all.push((word(0) as i32, word(1), word(2), name));
            rest = &rest[16 + len..];
        }
    }
}
fn masks(fd: i32) -> Vec<u32> {
    events(fd).into_iter().map(|e| e.1).collect()
}

fn init_flags() {
    let fd = new();
    check_eq!(fcntl(fd, F_GETFD, 0), Ok(1));
    check_eq!(must!(fcntl(fd, F_GETFL, 0)) as i32 & O_NONBLOCK, O_NONBLOCK);
    expect_errno!(sys!(SYS_inotify_init1, 1), EINVAL);
    expect_errno!(read_vec(fd, 100), EAGAIN);
}

fn create_write_close_delete() {
    tmp();
    let fd = new();
    let wd = must!(watch(fd, c".", IN_ALL_EVENTS));
    check!(wd >= 1);
    let f = must!(open(c"x", O_CREAT | O_WRONLY, 0o644));
    must!(write(f, b"1"));
    must!(close(f));
    must!(unlink(c"x"));
    let got = events(fd);
    check!(got.iter().all(|e| e.0 == wd && e.3 == "x"), "{got:?}");
    let masks: Vec<u32> = got.iter().map(|e| e.1).collect();
    check_eq!(
        masks,
        vec![IN_CREATE, IN_OPEN, IN_MODIFY, IN_CLOSE_WRITE, IN_DELETE]
    );
}

fn rename_events_share_a_cookie() {
    tmp();
    must!(write_file(c"a", b""));
    let fd = new();
    must!(watch(fd, c".", IN_MOVE));
    must!(rename(c"a", c"b"));
    let got = events(fd);
    check_eq!(got.len(), 2);
    check_eq!((got[0].1, got[0].3.as_str()), (IN_MOVED_FROM, "a"));
    check_eq!((got[1].1, got[1].3.as_str()), (IN_MOVED_TO, "b"));
    check!(got[0].2 != 0 && got[0].2 == got[1].2);
}

fn directory_events_have_isdir() {
    tmp();
    let fd = new();
    must!(watch(fd, c".", IN_CREATE | IN_DELETE));
    must!(mkdir(c"d", 0o755));
    must!(rmdir(c"d"));
    check_eq!(masks(fd), vec![IN_CREATE | IN_ISDIR, IN_DELETE | IN_ISDIR]);
}

fn watched_file_deleted() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = new();
    must!(watch(fd, c"f", IN_ALL_EVENTS));
    must!(unlink(c"f"));
    check_eq!(masks(fd), vec![IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED]);
}

fn file_watch_has_no_name() {
    tmp();
    must!(write_file(c"f", b"1"));
    let fd = new();
    must!(watch(fd, c"f", IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE));
    must!(read_file(c"f"));
    let got = events(fd);
    check!(got.iter().all(|e| e.3.is_empty()));
    let masks: Vec<u32> = got.iter().map(|e| e.1).collect();
    check_eq!(masks.first(), Some(&IN_OPEN));
    check_eq!(masks.last(), Some(&IN_CLOSE_NOWRITE));
    check!(masks.contains(&IN_ACCESS));
}

fn attrib_on_chmod() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = new();
    must!(watch(fd, c"f", IN_ATTRIB));
    must!(chmod(c"f", 0o600));
    check_eq!(masks(fd), vec![IN_ATTRIB]);
}

fn identical_events_merge() {
    tmp();
    must!(write_file(c"f", b""));
    let f = must!(open(c"f", O_WRONLY, 0));
    let fd = new();
    must!(watch(fd, c"f", IN_MODIFY));
    must!(write(f, b"1"));
    must!(write(f, b"2"));
    check_eq!(masks(fd), vec![IN_MODIFY]);
    must!(write(f, b"3"));
    check_eq!(masks(fd), vec![IN_MODIFY]);
}

fn same_path_gives_same_descriptor_and_replaces_mask() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = new();
    let a = must!(watch(fd, c"f", IN_OPEN));
    let b = must!(watch(fd, c"f", IN_ATTRIB));
    check_eq!(a, b);
    must!(read_file(c"f"));
    check_eq!(masks(fd), vec![]);
    check_eq!(watch(fd, c"f", IN_OPEN | IN_MASK_ADD), Ok(a));
    must!(chmod(c"f", 0o600));
    must!(close(must!(open(c"f", O_RDONLY, 0))));
    check_eq!(masks(fd), vec![IN_ATTRIB, IN_OPEN]);
    expect_errno!(watch(fd, c"f", IN_OPEN | IN_MASK_CREATE), EEXIST);
}

fn rm_watch_queues_ignored() {
    tmp();
    let fd = new();
    let wd = must!(watch(fd, c".", IN_CREATE));
    must!(sys!(SYS_inotify_rm_watch, fd, wd));
    check_eq!(events(fd), vec![(wd, IN_IGNORED, 0, String::new())]);
    expect_errno!(sys!(SYS_inotify_rm_watch, fd, wd), EINVAL);
    check!(must!(watch(fd, c".", IN_CREATE)) != wd);
}

fn oneshot_ends_after_one() {
    tmp();
    let fd = new();
    must!(watch(fd, c".", IN_CREATE | IN_ONESHOT));
    must!(write_file(c"a", b""));
    must!(write_file(c"b", b""));
    check_eq!(masks(fd), vec![IN_CREATE, IN_IGNORED]);
}

fn onlydir_and_dont_follow() {
    tmp();
    must!(write_file(c"f", b""));
    must!(symlink(c"f", c"l"));
    let fd = new();
    expect_errno!(watch(fd, c"f", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    let a = must!(watch(fd, c"f", IN_OPEN));
    check_eq!(watch(fd, c"l", IN_OPEN), Ok(a));
    check!(must!(watch(fd, c"l", IN_OPEN | IN_DONT_FOLLOW)) != a);
}

fn errors() {
    tmp();
    let fd = new();
    expect_errno!(watch(fd, c"missing", IN_OPEN), ENOENT);
    expect_errno!(watch(fd, c".", 0), EINVAL);
    expect_errno!(watch(-1, c".", IN_OPEN), EBADF);
    let (r, _w) = must!(pipe());
    expect_errno!(watch(r, c".", IN_OPEN), EINVAL);
    expect_errno!(
        sys!(SYS_inotify_add_watch, fd, bad::<u8>(), IN_OPEN),
        EFAULT
    );
    expect_errno!(sys!(SYS_inotify_rm_watch, r, 1), EINVAL);
}

fn small_buffer_is_einval() {
    tmp();
    let fd = new();
    must!(watch(fd, c".", IN_CREATE));
    must!(write_file(c"name", b""));
    expect_errno!(read_vec(fd, 16), EINVAL);
    check_eq!(events(fd).len(), 1);
}

fn fionread_and_poll() {
    tmp();
    let fd = new();
    must!(watch(fd, c".", IN_CREATE));
    check_eq!(ready(fd, POLLIN), 0);
    must!(write_file(c"abc", b""));
    check_eq!(ready(fd, POLLIN), POLLIN);
    let mut n = 0i32;
    must!(ioctl(fd, FIONREAD, &mut n));
    check_eq!(n, 32);
}

fn blocking_read_wakes() {
    tmp();
    let fd = must!(sys!(SYS_inotify_init1, 0)) as i32;
    must!(watch(fd, c".", IN_CREATE));
    let me = getpid();
    let pid = child(|| {
        wait_asleep(me);
        must!(write_file(c"x", b""));
        0
    });
    check!(must!(read_vec(fd, 1000)).len() >= 16);
    wait_ok(pid);
}

fn directory_of_watched_directory_removed() {
    tmp();
    must!(mkdir(c"d", 0o755));
    let fd = new();
    must!(watch(fd, c"d", IN_DELETE_SELF));
    must!(rmdir(c"d"));
    check_eq!(masks(fd), vec![IN_DELETE_SELF, IN_IGNORED]);
}

fn move_self() {
    tmp();
    must!(write_file(c"f", b""));
    let fd = new();
    must!(watch(fd, c"f", IN_MOVE_SELF));
    must!(rename(c"f", c"g"));
    check_eq!(masks(fd), vec![IN_MOVE_SELF]);
}

cases![
    init_flags,
    create_write_close_delete,
    rename_events_share_a_cookie,
    directory_events_have_isdir,
    watched_file_deleted,
    file_watch_has_no_name,
    attrib_on_chmod,
    identical_events_merge,
    same_path_gives_same_descriptor_and_replaces_mask,
    rm_watch_queues_ignored,
    oneshot_ends_after_one,
    onlydir_and_dont_follow,
    errors,
    small_buffer_is_einval,
    fionread_and_poll,
    blocking_read_wakes,
    directory_of_watched_directory_removed,
    move_self,
];
