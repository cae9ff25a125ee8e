//! set*uid(2), set*gid(2), setgroups(2), capabilities(7).

use syscall_tests::cases;
use syscall_tests::prelude::*;

const KEEP: u32 = u32::MAX;

fn resuid() -> (u32, u32, u32) {
    let (mut r, mut e, mut s) = (0u32, 0u32, 0u32);
    must!(sys!(SYS_getresuid, &mut r, &mut e, &mut s));
    (r, e, s)
}
fn resgid() -> (u32, u32, u32) {
    let (mut r, mut e, mut s) = (0u32, 0u32, 0u32);
    must!(sys!(SYS_getresgid, &mut r, &mut e, &mut s));
    (r, e, s)
}
fn setresuid(r: u32, e: u32, s: u32) -> Sys {
    sys!(SYS_setresuid, r, e, s)
}
fn setreuid(r: u32, e: u32) -> Sys {
    sys!(SYS_setreuid, r, e)
}
fn setuid(u: u32) -> Sys {
    sys!(SYS_setuid, u)
}
fn fsuid() -> u32 {
    must!(sys!(SYS_setfsuid, KEEP)) as u32
}
fn groups() -> Vec<u32> {
    let mut buf = [0u32; 64];
    let n = must!(sys!(SYS_getgroups, 64, &mut buf)) as usize;
    buf[..n].to_vec()
}
/// Runs as root in a child, which may drop what it likes.
fn as_root(f: impl FnOnce()) {
    need_root();
    in_child(f);
}

fn getters_agree() {
    let (r, e, _) = resuid();
    check_eq!((getuid(), geteuid()), (r, e));
    let (r, e, _) = resgid();
    check_eq!(sys!(SYS_getgid), Ok(i64::from(r)));
    check_eq!(sys!(SYS_getegid), Ok(i64::from(e)));
}

fn setuid_of_root_sets_all() {
    as_root(|| {
        must!(setuid(1000));
        check_eq!(resuid(), (1000, 1000, 1000));
        expect_errno!(setuid(0), EPERM);
        check_eq!(fsuid(), 1000);
    });
}

fn setuid_of_user_sets_effective_only() {
    as_root(|| {
        must!(setresuid(1000, 1001, 1002));
        must!(setuid(1002));
        check_eq!(resuid(), (1000, 1002, 1002));
        must!(setuid(1000));
        check_eq!(resuid(), (1000, 1000, 1002));
        expect_errno!(setuid(1001), EPERM);
    });
}

fn setreuid_saved_follows_rules() {
    as_root(|| {
        must!(setreuid(1000, KEEP));
        check_eq!(resuid(), (1000, 0, 0));
    });
    as_root(|| {
        must!(setreuid(KEEP, 1000));
        check_eq!(resuid(), (0, 1000, 1000));
        // The saved id changes only with the real id, or when the new
        // effective id is not the real one.
        must!(setreuid(KEEP, 0));
        check_eq!(resuid(), (0, 0, 1000));
    });
    as_root(|| {
        must!(setreuid(1000, 1001));
        check_eq!(resuid(), (1000, 1001, 1001));
        must!(setreuid(1001, 1000));
        check_eq!(resuid(), (1001, 1000, 1000));
        expect_errno!(setreuid(KEEP, 0), EPERM);
        expect_errno!(setreuid(5, KEEP), EPERM);
    });
}

fn setresuid_matrix() {
    as_root(|| {
        must!(setresuid(1, 2, 3));
        check_eq!(resuid(), (1, 2, 3));
        must!(setresuid(3, 1, 2));
        check_eq!(resuid(), (3, 1, 2));
        must!(setresuid(KEEP, 3, KEEP));
        check_eq!(resuid(), (3, 3, 2));
        expect_errno!(setresuid(4, KEEP, KEEP), EPERM);
        expect_errno!(setresuid(KEEP, 4, KEEP), EPERM);
        expect_errno!(setresuid(KEEP, KEEP, 1), EPERM);
        must!(setresuid(KEEP, KEEP, KEEP));
    });
}

fn setgid_family() {
    as_root(|| {
        must!(sys!(SYS_setgid, 50));
        check_eq!(resgid(), (50, 50, 50));
        must!(sys!(SYS_setresgid, 1, 2, 3));
        check_eq!(resgid(), (1, 2, 3));
        must!(setuid(1000));
        must!(sys!(SYS_setgid, 3));
        check_eq!(resgid(), (1, 3, 3));
        expect_errno!(sys!(SYS_setgid, 2), EPERM);
        expect_errno!(sys!(SYS_setregid, 9, 9), EPERM);
        must!(sys!(SYS_setregid, 3, 1));
        check_eq!(resgid(), (3, 1, 1));
    });
}

fn minus_one_is_einval_for_setuid() {
    expect_errno!(setuid(KEEP), EINVAL);
    expect_errno!(sys!(SYS_setgid, KEEP), EINVAL);
}

fn fsuid_follows_and_changes() {
    as_root(|| {
        check_eq!(sys!(SYS_setfsuid, 77), Ok(0));
        check_eq!(fsuid(), 77);
        must!(setresuid(KEEP, 5, KEEP));
        check_eq!(fsuid(), 5);
        check_eq!(sys!(SYS_setfsuid, 99), Ok(5));
        check_eq!(fsuid(), 5);
    });
}

fn fsuid_decides_on_files() {
    need_root();
    tmp();
    must!(write_file(c"f", b""));
    must!(chmod(c"f", 0o600));
    must!(chmod(c".", 0o777));
    in_child(|| {
        must!(sys!(SYS_setfsuid, 1000));
        expect_errno!(open(c"f", O_RDONLY, 0), EACCES);
        must!(open(c"mine", O_CREAT | O_RDWR, 0o644));
        check_eq!(must!(stat(c"mine")).st_uid, 1000);
        must!(sys!(SYS_setfsuid, 0));
        must!(open(c"f", O_RDONLY, 0));
    });
}

fn setgroups_and_getgroups() {
    as_root(|| {
        must!(sys!(SYS_setgroups, 3, &[30u32, 10, 20]));
        let mut got = groups();
        got.sort_unstable();
        check_eq!(got, vec![10, 20, 30]);
        check_eq!(sys!(SYS_getgroups, 0, 0), Ok(3));
        expect_errno!(sys!(SYS_getgroups, 2, &mut [0u32; 2]), EINVAL);
        expect_errno!(sys!(SYS_getgroups, -1, 0), EINVAL);
        expect_errno!(sys!(SYS_getgroups, 3, bad::<u8>()), EFAULT);
        expect_errno!(sys!(SYS_setgroups, 3, bad::<u8>()), EFAULT);
        expect_errno!(sys!(SYS_setgroups, 65537, 0), EINVAL);
        must!(sys!(SYS_setgroups, 0, 0));
        check_eq!(groups(), vec![]);
        must!(setuid(1000));
        expect_errno!(sys!(SYS_setgroups, 0, 0), EPERM);
    });
}

fn supplementary_group_grants_access() {
    need_root();
    tmp();
    must!(write_file(c"f", b""));
    must!(chown(c"f", 0, 555));
    must!(chmod(c"f", 0o640));
    in_child(|| {
        must!(sys!(SYS_setgroups, 1, &[555u32]));
        must!(setuid(1000));
        must!(open(c"f", O_RDONLY, 0));
        expect_errno!(open(c"f", O_WRONLY, 0), EACCES);
    });
}

fn bad_pointers_are_efault() {
    let mut x = 0u32;
    expect_errno!(sys!(SYS_getresuid, bad::<u8>(), &mut x, &mut 0u32), EFAULT);
    expect_errno!(sys!(SYS_getresgid, &mut x, &mut 0u32, bad::<u8>()), EFAULT);
}

fn credentials_are_per_thread_in_the_kernel() {
    as_root(|| {
        let t = std::thread::spawn(|| setresuid(1000, 1000, 1000));
        check!(t.join().is_ok());
        check_eq!(resuid(), (0, 0, 0));
    });
}

fn leaving_root_clears_effective_capabilities() {
    as_root(|| {
        must!(setresuid(KEEP, 1000, KEEP));
        let (effective, permitted, _) = capabilities();
        check_eq!(effective, 0);
        check!(permitted != 0);
        must!(setresuid(KEEP, 0, KEEP));
        check_eq!(capabilities().0, permitted);
    });
}

fn leaving_root_wholly_clears_permitted() {
    as_root(|| {
        must!(setresuid(1000, 1000, 1000));
        let (effective, permitted, _) = capabilities();
        check_eq!((effective, permitted), (0, 0));
    });
}

fn keepcaps_keeps_permitted() {
    as_root(|| {
        must!(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
        let before = capabilities().1;
        must!(setresuid(1000, 1000, 1000));
        let (effective, permitted, _) = capabilities();
        check_eq!((effective, permitted), (0, before));
        must!(set_capabilities(before, before, 0));
        check_eq!(capabilities().0, before);
    });
}

fn dropped_capability_stays_dropped() {
    as_root(|| {
        let (effective, permitted, inheritable) = capabilities();
        let without = permitted & !1;
        must!(set_capabilities(effective & !1, without, inheritable & !1));
        expect_errno!(set_capabilities(effective, permitted, inheritable), EPERM);
        expect_errno!(set_capabilities(effective | 1, without, 0), EPERM);
    });
}

fn capability_version_negotiation() {
    let mut header = [0u32, 0];
    check_eq!(sys!(SYS_capget, &mut header, 0), Ok(0));
    check_eq!(header[0], CAP_VERSION_3);
    let mut header = [0x1234u32, 0];
    let mut data = [0u32; 6];
    expect_errno!(sys!(SYS_capget, &mut header, &mut data), EINVAL);
    check_eq!(header[0], CAP_VERSION_3);
    expect_errno!(sys!(SYS_capget, bad::<u8>(), 0), EFAULT);
    let mut header = [CAP_VERSION_3, 0x3fff_fff0];
    expect_errno!(sys!(SYS_capget, &mut header, &mut data), ESRCH);
}

fn setting_capabilities_of_others_is_eperm() {
    let header = CapHeader {
        version: CAP_VERSION_3,
        pid: getppid(),
    };
    expect_errno!(sys!(SYS_capset, &header, &[CapData::default(); 2]), EPERM);
}

fn bounding_set_read_and_drop() {
    check!(matches!(prctl(PR_CAPBSET_READ, 0, 0, 0, 0), Ok(0 | 1)));
    expect_errno!(prctl(PR_CAPBSET_READ, 64, 0, 0, 0), EINVAL);
    as_root(|| {
        must!(prctl(PR_CAPBSET_DROP, 0, 0, 0, 0));
        check_eq!(prctl(PR_CAPBSET_READ, 0, 0, 0, 0), Ok(0));
        must!(setuid(1000));
        expect_errno!(prctl(PR_CAPBSET_DROP, 1, 0, 0, 0), EPERM);
    });
}

fn bounding_set_limits_exec_of_root() {
    as_root(|| {
        must!(prctl(PR_CAPBSET_DROP, 5, 0, 0, 0));
        check_eq!(run_helper(c"has-cap", &[c"5"]), 0);
        check_eq!(
            run_helper(c"has-cap", &[c"0"]),
            i32::from(capabilities().0 & 1 != 0)
        );
    });
}

fn exec_as_user_loses_capabilities() {
    as_root(|| {
        must!(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
        must!(setresuid(1000, 1000, 1000));
        check_eq!(run_helper(c"has-cap", &[c"0"]), 0);
    });
}

fn ambient_capability_survives_exec() {
    need_cap(5);
    as_root(|| {
        must!(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
        must!(setresuid(1000, 1000, 1000));
        let kill = 1 << 5;
        expect_errno!(prctl(PR_CAP_AMBIENT, 2, 5, 0, 0), EPERM);
        must!(set_capabilities(kill, kill, kill));
        must!(prctl(PR_CAP_AMBIENT, 2, 5, 0, 0));
        check_eq!(prctl(PR_CAP_AMBIENT, 1, 5, 0, 0), Ok(1));
        check_eq!(run_helper(c"has-cap", &[c"5"]), 1);
        must!(prctl(PR_CAP_AMBIENT, 4, 0, 0, 0));
        check_eq!(run_helper(c"has-cap", &[c"5"]), 0);
    });
}

fn securebits_noroot() {
    as_root(|| {
        check_eq!(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), Ok(0));
        must!(prctl(PR_SET_SECUREBITS, 1, 0, 0, 0));
        check_eq!(run_helper(c"has-cap", &[c"0"]), 0);
    });
}

fn change_clears_dumpable() {
    as_root(|| {
        must!(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
        must!(setresuid(1000, 1000, 1000));
        check!(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != Ok(1));
    });
}

fn change_clears_parent_death_signal() {
    as_root(|| {
        must!(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
        must!(setresuid(1000, 1000, 1000));
        let mut signal = 9i32;
        must!(prctl(PR_GET_PDEATHSIG, &mut signal, 0, 0, 0));
        check_eq!(signal, 0);
    });
}

cases![
    getters_agree,
    setuid_of_root_sets_all,
    setuid_of_user_sets_effective_only,
    setreuid_saved_follows_rules,
    setresuid_matrix,
    setgid_family,
    minus_one_is_einval_for_setuid,
    fsuid_follows_and_changes,
    fsuid_decides_on_files,
    setgroups_and_getgroups,
    supplementary_group_grants_access,
    bad_pointers_are_efault,
    credentials_are_per_thread_in_the_kernel,
    leaving_root_clears_effective_capabilities,
    leaving_root_wholly_clears_permitted,
    keepcaps_keeps_permitted,
    dropped_capability_stays_dropped,
    capability_version_negotiation,
    setting_capabilities_of_others_is_eperm,
    bounding_set_read_and_drop,
    bounding_set_limits_exec_of_root,
    exec_as_user_loses_capabilities,
    ambient_capability_survives_exec,
    securebits_noroot,
    change_clears_dumpable,
    change_clears_parent_death_signal,
];
