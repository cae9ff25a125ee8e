//! chroot(2), pivot_root(2): where `/` is, and that it can't be left.

use super::mount::{bind, mount, private, tmpfs, umount};
use std::ffi::CStr;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn chroot(path: &CStr) -> Sys {
    sys!(SYS_chroot, path)
}
fn pivot_root(new: &CStr, old: &CStr) -> Sys {
    sys!(SYS_pivot_root, new, old)
}

fn chroot_errors() {
    private();
    must!(write_file(c"f", b""));
    expect_errno!(chroot(c"missing"), ENOENT);
    expect_errno!(chroot(c"f"), ENOTDIR);
    expect_errno!(sys!(SYS_chroot, bad::<u8>()), EFAULT);
}

fn chroot_is_the_top() {
    private();
    must!(mkdir(c"r", 0o755));
    must!(mkdir(c"r/d", 0o755));
    must!(write_file(c"r/f", b"inside"));
    must!(write_file(c"f", b"outside"));
    must!(symlink(c"/f", c"r/abs"));
    must!(symlink(c"../../../../f", c"r/up"));
    must!(chroot(c"r"));
    must!(chdir(c"/"));
    for path in [c"/f", c"/../../f", c"abs", c"up", c"d/../../../f"] {
        check_eq!(read_file(path), Ok(b"inside".to_vec()));
    }
    let mut buf = [0u8; 100];
    let n = must!(sys!(SYS_getcwd, buf.as_mut_ptr(), 100)) as usize;
    check_eq!(&buf[..n], b"/\0");
}

fn a_directory_outside_stays_outside() {
    private();
    must!(mkdir(c"r", 0o755));
    let out = must!(open(c".", O_RDONLY | O_DIRECTORY, 0));
    must!(write_file(c"f", b"outside"));
    // The working directory does not follow: as on Linux.
    must!(chroot(c"r"));
    check_eq!(read_file(c"f"), Ok(b"outside".to_vec()));
    let mut buf = [0u8; 100];
    let n = must!(sys!(SYS_getcwd, buf.as_mut_ptr(), 100)) as usize;
    check!(buf[..n].starts_with(b"(unreachable)"));
    check_eq!(
        openat(out, c"f", O_RDONLY, 0).and_then(read_all),
        Ok(b"outside".to_vec())
    );
    expect_errno!(open(c"/f", O_RDONLY, 0), ENOENT);
}

fn a_directory_moved_out_of_the_root_leads_out() {
    private();
    must!(mkdir(c"r", 0o755));
    must!(mkdir(c"r/a", 0o755));
    must!(mkdir(c"r/a/b", 0o755));
    let pid = child(|| {
        must!(chroot(c"r"));
        must!(chdir(c"/a/b"));
        must!(kill(getpid(), SIGSTOP));
        // What was moved out of the root is not stopped by it any more.
        i32::from(!exists(c"../outside"))
    });
    let (_, status) = must!(wait4(pid, WUNTRACED));
    check!(WIFSTOPPED(status));
    must!(write_file(c"outside", b""));
    must!(rename(c"r/a/b", c"b"));
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn chroot_needs_a_capability_and_stays_after_fork() {
    private();
    must!(mkdir(c"r", 0o755));
    in_child(|| {
        must!(chroot(c"r"));
        must!(chdir(c"/"));
        in_child(|| {
            expect_errno!(open(c"/proc", O_RDONLY, 0), ENOENT);
            must!(set_capabilities(0, 0, 0));
            expect_errno!(chroot(c"/"), EPERM);
        });
    });
    check!(exists(c"/proc"));
}

fn setup() {
    private();
    must!(mkdir(c"n", 0o755));
    must!(tmpfs(c"n"));
    must!(mkdir(c"n/old", 0o755));
    must!(write_file(c"n/here", b""));
}

fn pivot_exchanges_roots() {
    setup();
    let scratch = tmp_path();
    must!(pivot_root(c"n", c"n/old"));
    check!(exists(c"/here"));
    check!(exists(&cpath(&format!("/old{scratch}/n"))));
    must!(chdir(c"/"));
    must!(mkdir(c"/proc", 0o755));
    must!(mount(Some(c"proc"), c"/proc", Some(c"proc"), 0, None));
    let mounts = String::from_utf8(must!(read_file(c"/proc/self/mounts"))).unwrap_or_default();
    check!(mounts.lines().any(|l| l.starts_with("t / tmpfs ")));
    must!(umount(c"/old", MNT_DETACH));
    check!(!exists(&cpath(&format!("/old{scratch}"))));
    must!(write_file(c"/new", b""));
}

fn pivot_onto_itself() {
    setup();
    must!(chdir(c"n"));
    must!(pivot_root(c".", c"."));
    must!(umount(c".", MNT_DETACH));
    must!(chdir(c"/"));
    check!(exists(c"/here") && !exists(c"/proc"));
}

fn pivot_moves_everybody_at_the_root() {
    setup();
    let (ready, go) = (Gate::new(), Gate::new());
    let pid = child(|| {
        must!(chdir(c"/"));
        ready.open();
        go.wait();
        i32::from(!(exists(c"/here") && exists(c"here")))
    });
    ready.wait();
    must!(pivot_root(c"n", c"n/old"));
    go.open();
    wait_ok(pid);
}

fn pivot_errors() {
    setup();
    must!(mkdir(c"plain", 0o755));
    must!(write_file(c"f", b""));
    must!(mkdir(c"m", 0o755));
    must!(tmpfs(c"m"));
    expect_errno!(pivot_root(c"missing", c"n/old"), ENOENT);
    expect_errno!(pivot_root(c"n", c"n/missing"), ENOENT);
    expect_errno!(pivot_root(c"f", c"n/old"), ENOTDIR);
    expect_errno!(pivot_root(c"n", c"n/here"), ENOTDIR);
    // put_old is not below the new root.
    expect_errno!(pivot_root(c"n", c"m"), EINVAL);
    // Not a mount.
    expect_errno!(pivot_root(c"n/old", c"n/old"), EINVAL);
    // The present root's own mount.
    expect_errno!(pivot_root(c"/", c"/"), EBUSY);
    expect_errno!(sys!(SYS_pivot_root, bad::<u8>(), c"n/old"), EFAULT);
    expect_errno!(sys!(SYS_pivot_root, c"n", bad::<u8>()), EFAULT);
    // A root that is no mount.
    in_child(|| {
        must!(bind(c"plain", c"plain"));
        must!(mkdir(c"plain/in", 0o755));
        must!(mkdir(c"plain/in/n", 0o755));
        must!(tmpfs(c"plain/in/n"));
        must!(chroot(c"plain/in"));
        must!(chdir(c"/"));
        expect_errno!(pivot_root(c"n", c"n"), EINVAL);
    });
}

cases![
    chroot_errors,
    chroot_is_the_top,
    a_directory_outside_stays_outside,
    a_directory_moved_out_of_the_root_leads_out,
    chroot_needs_a_capability_and_stays_after_fork,
    pivot_exchanges_roots,
    pivot_onto_itself,
    pivot_moves_everybody_at_the_root,
    pivot_errors,
];
