//! prctl(2), arch_prctl(2), personality(2), uname(2).

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn name() -> String {
    let mut buf = [0xffu8; 16];
    must!(prctl(PR_GET_NAME, &mut buf, 0, 0, 0));
    let end = buf.iter().position(|b| *b == 0).unwrap_or(16);
    String::from_utf8_lossy(&buf[..end]).into_owned()
}

fn name_is_truncated_to_15_bytes() {
    must!(prctl(PR_SET_NAME, c"0123456789abcdefghi", 0, 0, 0));
    check_eq!(name(), "0123456789abcde");
    let comm = must!(read_file(c"/proc/self/comm"));
    check_eq!(comm, b"0123456789abcde\n".to_vec());
}

fn name_is_per_thread() {
    must!(prctl(PR_SET_NAME, c"leader", 0, 0, 0));
    let other = std::thread::spawn(|| {
        let _ = prctl(PR_SET_NAME, c"other", 0, 0, 0);
        name()
    });
    check_eq!(other.join().unwrap_or_default(), "other");
    check_eq!(name(), "leader");
}

fn name_is_inherited_by_fork() {
    must!(prctl(PR_SET_NAME, c"inherited", 0, 0, 0));
    in_child(|| check_eq!(name(), "inherited"));
}

fn name_by_writing_comm() {
    let fd = must!(open(c"/proc/self/comm", O_WRONLY, 0));
    must!(write(fd, b"written"));
    check_eq!(name(), "written");
}

fn bad_pointers_are_efault() {
    expect_errno!(prctl(PR_SET_NAME, bad::<u8>(), 0, 0, 0), EFAULT);
    expect_errno!(prctl(PR_GET_NAME, bad::<u8>(), 0, 0, 0), EFAULT);
    expect_errno!(prctl(PR_GET_PDEATHSIG, bad::<u8>(), 0, 0, 0), EFAULT);
}

fn unknown_option_is_einval() {
    expect_errno!(prctl(12345, 0, 0, 0, 0), EINVAL);
    expect_errno!(prctl(-1, 0, 0, 0, 0), EINVAL);
}

fn dumpable_values() {
    must!(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    check_eq!(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), Ok(0));
    must!(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    check_eq!(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), Ok(1));
    expect_errno!(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0), EINVAL);
}

fn parent_death_signal_arrives() {
    let (r, w) = must!(pipe());
    let ready = Gate::new();
    let middle = child(|| {
        orphan(|| {
            record_on(SIGUSR1);
            must!(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
            ready.open();
            wait_until("parent's death", || seen() == 1);
            must!(write(w, &[LAST_SIGNAL.load(SeqCst) as u8]));
            0
        });
        ready.wait();
        0
    });
    wait_ok(middle);
    must!(close(w));
    check_eq!(read_vec(r, 1), Ok(vec![SIGUSR1 as u8]));
}

fn parent_death_signal_values() {
    in_child(|| {
        must!(prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0));
        let mut signal = 0i32;
        must!(prctl(PR_GET_PDEATHSIG, &mut signal, 0, 0, 0));
        check_eq!(signal, SIGTERM);
        expect_errno!(prctl(PR_SET_PDEATHSIG, 65, 0, 0, 0), EINVAL);
        in_child_plain(|| {
            let mut signal = 7i32;
            must!(prctl(PR_GET_PDEATHSIG, &mut signal, 0, 0, 0));
            check_eq!(signal, 0);
        });
    });
}
fn in_child_plain(f: impl FnOnce()) {
    wait_ok(orphan(|| {
        f();
        0
    }));
}

fn no_new_privs_is_sticky_and_inherited() {
    check_eq!(
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0).map(|v| v <= 1),
        Ok(true)
    );
    must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    check_eq!(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), Ok(1));
    expect_errno!(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    expect_errno!(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
    in_child(|| check_eq!(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), Ok(1)));
}

fn keepcaps_values() {
    check_eq!(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0), Ok(0));
    must!(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    check_eq!(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0), Ok(1));
    expect_errno!(prctl(PR_SET_KEEPCAPS, 2, 0, 0, 0), EINVAL);
}

fn timer_slack() {
    check!(must!(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)) > 0);
    must!(prctl(PR_SET_TIMERSLACK, 12345, 0, 0, 0));
    check_eq!(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), Ok(12345));
    must!(prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0));
    check!(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) != Ok(12345));
}

fn seccomp_mode_is_zero() {
    check_eq!(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), Ok(0));
}

fn tsc_can_be_read() {
    let mut mode = 0i32;
    must!(prctl(PR_GET_TSC, &mut mode, 0, 0, 0));
    check_eq!(mode, PR_TSC_ENABLE);
}

fn set_name_of_vma_or_einval() {
    let p = anon(1);
    let result = prctl(0x5356_4d41, 0, p, PAGE, c"my memory");
    check!(matches!(result, Ok(0) | Err(EINVAL)), "{result:?}");
}

fn thp_disable_flag() {
    check_eq!(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), Ok(0));
    must!(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    check_eq!(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), Ok(1));
}

fn arch_prctl_fs_base() {
    let mut fs = 0u64;
    must!(sys!(SYS_arch_prctl, 0x1003, &mut fs));
    let own: u64;
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) own) };
    check_eq!(fs, own);
    must!(sys!(SYS_arch_prctl, 0x1002, fs));
    expect_errno!(sys!(SYS_arch_prctl, 0x1002, 1u64 << 63), EPERM);
    expect_errno!(sys!(SYS_arch_prctl, 0x9999, 0), EINVAL);
    expect_errno!(sys!(SYS_arch_prctl, 0x1003, bad::<u8>()), EFAULT);
}

fn arch_prctl_gs_base() {
    let value = 0x1234_5678u64;
    must!(sys!(SYS_arch_prctl, 0x1001, value));
    let mut gs = 0u64;
    must!(sys!(SYS_arch_prctl, 0x1004, &mut gs));
    check_eq!(gs, value);
    let memory = anon(1);
    poke(memory.cast::<u64>(), 0xabcdu64);
    must!(sys!(SYS_arch_prctl, 0x1001, memory));
    let got: u64;
    unsafe { std::arch::asm!("mov {}, gs:0", out(reg) got) };
    check_eq!(got, 0xabcd);
    in_child(|| {
        let got: u64;
        unsafe { std::arch::asm!("mov {}, gs:0", out(reg) got) };
        check_eq!(got, 0xabcd);
    });
}

fn personality_reads_and_sets() {
    let old = must!(sys!(SYS_personality, 0xffff_ffffu32));
    check_eq!(sys!(SYS_personality, ADDR_NO_RANDOMIZE), Ok(old));
    check_eq!(
        sys!(SYS_personality, 0xffff_ffffu32),
        Ok(i64::from(ADDR_NO_RANDOMIZE))
    );
    in_child(|| {
        check_eq!(
            sys!(SYS_personality, 0xffff_ffffu32),
            Ok(i64::from(ADDR_NO_RANDOMIZE))
        );
    });
}

fn uname_fields() {
    let mut u: utsname = zeroed();
    must!(sys!(SYS_uname, &mut u));
    let text = |f: &[c_char]| -> String {
        f.iter()
            .take_while(|c| **c != 0)
            .map(|c| *c as u8 as char)
            .collect()
    };
    check_eq!(text(&u.sysname), "Linux");
    check_eq!(text(&u.machine), std::env::consts::ARCH);
    check!(
        text(&u.release)
            .split('.')
            .next()
            .and_then(|v| v.parse().ok())
            >= Some(3)
    );
    expect_errno!(sys!(SYS_uname, bad::<u8>()), EFAULT);
}

fn hostname_is_node_name() {
    let mut u: utsname = zeroed();
    must!(sys!(SYS_uname, &mut u));
    let node: Vec<u8> = u
        .nodename
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| *c as u8)
        .collect();
    let proc = must!(read_file(c"/proc/sys/kernel/hostname"));
    check_eq!(proc.trim_ascii_end(), node.as_slice());
}

fn sethostname_needs_capability() {
    need_root();
    in_child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(sys!(SYS_sethostname, c"x", 1), EPERM);
        expect_errno!(sys!(SYS_setdomainname, c"x", 1), EPERM);
    });
    expect_errno!(sys!(SYS_sethostname, c"x", -1), EINVAL);
    expect_errno!(sys!(SYS_sethostname, c"x", 65), EINVAL);
}

fn death_of_the_thread_that_made_a_child_signals_it() {
    let (answer, ask) = must!(pipe());
    let maker = std::thread::spawn(move || {
        let pid = child(|| {
            record_on(SIGUSR1);
            must!(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0));
            must!(write(ask, b"x"));
            wait_until("signal", || seen() == 1);
            7
        });
        must!(read_vec(answer, 1));
        pid
    });
    let pid = maker.join().unwrap_or(0);
    check_eq!(wait_exit(pid), 7);
}

cases![
    name_is_truncated_to_15_bytes,
    name_is_per_thread,
    name_is_inherited_by_fork,
    name_by_writing_comm,
    bad_pointers_are_efault,
    unknown_option_is_einval,
    dumpable_values,
    parent_death_signal_arrives,
    parent_death_signal_values,
    no_new_privs_is_sticky_and_inherited,
    keepcaps_values,
    timer_slack,
    seccomp_mode_is_zero,
    tsc_can_be_read,
    death_of_the_thread_that_made_a_child_signals_it,
    set_name_of_vma_or_einval,
    thp_disable_flag,
    arch_prctl_fs_base,
    arch_prctl_gs_base,
    personality_reads_and_sets,
    uname_fields,
    hostname_is_node_name,
    sethostname_needs_capability,
];
