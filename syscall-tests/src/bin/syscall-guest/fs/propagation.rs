//! Mounts that spread: peers, slaves, namespaces of mounts.

use super::mount::{bind, change, dirs, info, mount, private, tmpfs, umount};
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn propagation_flags() {
    private();
    dirs(&[c"d", c"e"]);
    must!(tmpfs(c"d"));
    for kind in [MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, MS_SHARED] {
        must!(change(c"d", kind));
        must!(change(c"d", kind | MS_REC));
        expect_errno!(change(c"e", kind), EINVAL);
    }
    expect_errno!(change(c"d", MS_PRIVATE | MS_SHARED), EINVAL);
    expect_errno!(change(c"d", MS_PRIVATE | MS_RDONLY), EINVAL);
    check!(info("d").is_some_and(|l| l.contains(" shared:")));
    must!(change(c"d", MS_UNBINDABLE));
    check!(info("d").is_some_and(|l| l.contains(" unbindable")));
    expect_errno!(bind(c"d", c"e"), EINVAL);
    must!(change(c"d", MS_PRIVATE));
    must!(bind(c"d", c"e"));
}

fn mounts_spread_among_peers() {
    private();
    dirs(&[c"a", c"b"]);
    must!(tmpfs(c"a"));
    dirs(&[c"a/x", c"a/y"]);
    must!(change(c"a", MS_SHARED));
    must!(bind(c"a", c"b"));
    must!(tmpfs(c"a/x"));
    must!(write_file(c"a/x/f", b""));
    check!(exists(c"b/x/f"));
    must!(tmpfs(c"b/y"));
    check_eq!(must!(stat(c"a/y")).st_dev, must!(stat(c"b/y")).st_dev);
    must!(umount(c"b/x", 0));
    check!(!exists(c"a/x/f"));
    must!(change(c"b", MS_PRIVATE));
    must!(tmpfs(c"a/x"));
    check!(must!(stat(c"a/x")).st_dev != must!(stat(c"b/x")).st_dev);
}

fn a_slave_gets_and_does_not_give() {
    private();
    dirs(&[c"a", c"b"]);
    must!(tmpfs(c"a"));
    dirs(&[c"a/x", c"a/y"]);
    must!(change(c"a", MS_SHARED));
    must!(bind(c"a", c"b"));
    must!(change(c"b", MS_SLAVE));
    check!(info("b").is_some_and(|l| l.contains(" master:")));
    must!(tmpfs(c"a/x"));
    check_eq!(must!(stat(c"a/x")).st_dev, must!(stat(c"b/x")).st_dev);
    must!(tmpfs(c"b/y"));
    check!(must!(stat(c"a/y")).st_dev != must!(stat(c"b/y")).st_dev);
    must!(umount(c"a/x", 0));
    check!(must!(stat(c"a/x")).st_dev == must!(stat(c"b/x")).st_dev);
}

/// `a` shared, `b` its slave and shared itself, `c` a peer of `b`.
fn chain() {
    dirs(&[c"a", c"b", c"c"]);
    must!(tmpfs(c"a"));
    dirs(&[c"a/x", c"a/y"]);
    must!(change(c"a", MS_SHARED));
    must!(bind(c"a", c"b"));
    must!(change(c"b", MS_SLAVE));
    must!(change(c"b", MS_SHARED));
    must!(bind(c"b", c"c"));
}

fn a_shared_slave_passes_on() {
    private();
    chain();
    let line = info("c").unwrap_or_default();
    check!(line.contains(" shared:") && line.contains(" master:"));
    must!(tmpfs(c"a/x"));
    let device = must!(stat(c"a/x")).st_dev;
    check_eq!(must!(stat(c"b/x")).st_dev, device);
    check_eq!(must!(stat(c"c/x")).st_dev, device);
    must!(tmpfs(c"c/y"));
    check_eq!(must!(stat(c"b/y")).st_dev, must!(stat(c"c/y")).st_dev);
    check!(must!(stat(c"a/y")).st_dev != must!(stat(c"b/y")).st_dev);
    must!(umount(c"a/x", 0));
    check!(info("b/x").is_none() && info("c/x").is_none());
    check!(info("b/y").is_some());
}

fn a_copy_in_use_keeps_all_mounted() {
    private();
    chain();
    must!(tmpfs(c"a/x"));
    let fd = must!(open(c"c/x/f", O_CREAT | O_RDWR, 0o644));
    expect_errno!(umount(c"a/x", 0), EBUSY);
    must!(umount(c"a/x", MNT_DETACH));
    check!(info("c/x").is_none());
    check_eq!(write(fd, b"alive"), Ok(5));
}

fn what_spreads_goes_beneath() {
    private();
    chain();
    must!(tmpfs(c"b/x"));
    must!(write_file(c"b/x/own", b""));
    must!(tmpfs(c"a/x"));
    must!(write_file(c"a/x/spread", b""));
    check!(exists(c"b/x/own"));
    must!(umount(c"b/x", 0));
    check!(exists(c"b/x/spread"));
}

fn moving_shared_mounts() {
    private();
    chain();
    dirs(&[c"d", c"m"]);
    must!(tmpfs(c"a/x"));
    // Not from where others see it go.
    expect_errno!(mount(Some(c"a/x"), c"d", None, MS_MOVE, None), EINVAL);
    must!(tmpfs(c"m"));
    must!(change(c"m", MS_UNBINDABLE));
    expect_errno!(mount(Some(c"m"), c"a/y", None, MS_MOVE, None), EINVAL);
    must!(change(c"m", MS_PRIVATE));
    must!(mount(Some(c"m"), c"a/y", None, MS_MOVE, None));
    check_eq!(must!(stat(c"c/y")).st_dev, must!(stat(c"a/y")).st_dev);
    check!(info("a/y").is_some_and(|l| l.contains(" shared:")));
}

fn the_last_peer_leaves_its_slaves_to_its_master() {
    private();
    chain();
    must!(umount(c"c", 0));
    dirs(&[c"s"]);
    must!(bind(c"b", c"s"));
    must!(change(c"s", MS_SLAVE));
    let master = |line: Option<String>| {
        let line = line.unwrap_or_default();
        line.split(' ')
            .find(|w| w.starts_with("master:"))
            .map(str::to_string)
    };
    let of_b = master(info("b"));
    check!(master(info("s")) != of_b);
    must!(umount(c"b", 0));
    check_eq!(master(info("s")), of_b);
    must!(tmpfs(c"a/x"));
    check_eq!(must!(stat(c"s/x")).st_dev, must!(stat(c"a/x")).st_dev);
}

fn namespaces_are_apart() {
    private();
    dirs(&[c"d", c"e"]);
    must!(tmpfs(c"d"));
    in_child(|| {
        must!(sys!(SYS_unshare, CLONE_NEWNS));
        must!(write_file(c"d/f", b""));
        must!(umount(c"d", 0));
        must!(tmpfs(c"e"));
        must!(write_file(c"e/g", b""));
    });
    check!(exists(c"d/f") && !exists(c"e/g"));
    must!(umount(c"d", 0));
}

fn shared_mounts_spread_between_namespaces() {
    private();
    dirs(&[c"d", c"p"]);
    must!(tmpfs(c"p"));
    must!(mkdir(c"p/x", 0o755));
    must!(change(c"p", MS_SHARED));
    in_child(|| {
        must!(sys!(SYS_unshare, CLONE_NEWNS));
        must!(tmpfs(c"p/x"));
        must!(write_file(c"p/x/f", b""));
        must!(tmpfs(c"d"));
        must!(write_file(c"d/f", b""));
    });
    check!(exists(c"p/x/f") && !exists(c"d/f"));
}

fn a_mountpoint_of_another_namespace_can_be_removed() {
    private();
    dirs(&[c"d"]);
    let (seen, done) = (Gate::new(), Gate::new());
    let pid = child(|| {
        must!(sys!(SYS_unshare, CLONE_NEWNS));
        must!(tmpfs(c"d"));
        seen.open();
        done.wait();
        check!(!exists(c"d"));
        0
    });
    seen.wait();
    must!(rmdir(c"d"));
    done.open();
    wait_ok(pid);
}

fn clone_and_unshare_flags() {
    private();
    expect_errno!(sys!(SYS_unshare, 0x40), EINVAL);
    let result = clone_child(CLONE_NEWNS | CLONE_FS, || 0);
    expect_errno!(result, EINVAL);
    dirs(&[c"d"]);
    let pid = must!(clone_child(CLONE_NEWNS, || {
        must!(tmpfs(c"d"));
        must!(write_file(c"d/f", b""));
        0
    }));
    wait_ok(pid);
    check!(!exists(c"d/f"));
    // Namespaces have numbers of their own.
    let before = must!(readlink(c"/proc/self/ns/mnt"));
    in_child(|| check_eq!(must!(readlink(c"/proc/self/ns/mnt")), before));
    in_child(|| {
        must!(sys!(SYS_unshare, CLONE_NEWNS));
        check!(must!(readlink(c"/proc/self/ns/mnt")) != before);
    });
}

cases![
    propagation_flags,
    mounts_spread_among_peers,
    a_slave_gets_and_does_not_give,
    a_shared_slave_passes_on,
    a_copy_in_use_keeps_all_mounted,
    what_spreads_goes_beneath,
    moving_shared_mounts,
    the_last_peer_leaves_its_slaves_to_its_master,
    namespaces_are_apart,
    shared_mounts_spread_between_namespaces,
    a_mountpoint_of_another_namespace_can_be_removed,
    clone_and_unshare_flags,
];
