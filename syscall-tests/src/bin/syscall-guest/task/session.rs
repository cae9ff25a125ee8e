//! setpgid(2), setsid(2), orphaned process groups.

use std::sync::atomic::Ordering::SeqCst;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn new_group_and_back() {
    in_child(|| {
        let parent_group = must!(getpgid(0));
        must!(setpgid(0, 0));
        check_eq!(getpgid(0), Ok(getpid()));
        must!(setpgid(0, parent_group));
        check_eq!(getpgid(0), Ok(parent_group));
    });
}

fn getpgrp_and_getpgid_agree() {
    check_eq!(sys!(SYS_getpgrp), Ok(i64::from(must!(getpgid(0)))));
    check_eq!(getpgid(getpid()), getpgid(0));
}

fn errors() {
    expect_errno!(setpgid(-1, 0), EINVAL);
    expect_errno!(setpgid(0, -1), EINVAL);
    expect_errno!(setpgid(0x3fff_fff0, 0), ESRCH);
    expect_errno!(setpgid(getppid(), 0), ESRCH);
    expect_errno!(getpgid(0x3fff_fff0), ESRCH);
    expect_errno!(getpgid(-1), ESRCH);
    expect_errno!(getsid(0x3fff_fff0), ESRCH);
    in_child(|| expect_errno!(setpgid(0, 0x3fff_fff0), EPERM));
}

fn parent_moves_child_before_exec() {
    let gate = Gate::new();
    let pid = child(|| {
        gate.wait();
        i32::from(must!(getpgid(0)) != getpid())
    });
    must!(setpgid(pid, pid));
    gate.open();
    wait_ok(pid);
}

fn parent_cannot_move_child_after_exec() {
    let pid = child(|| {
        let _ = exec_helper(c"sleep", &[]);
        1
    });
    wait_until("exec", || {
        read_file(&cpath(&format!("/proc/{pid}/cmdline"))).is_ok_and(|c| c.ends_with(b"sleep\0"))
    });
    expect_errno!(setpgid(pid, pid), EACCES);
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

fn setsid_makes_leader_of_all() {
    in_child(|| {
        let pid = getpid();
        check_eq!(setsid(), Ok(pid));
        check_eq!((getsid(0), getpgid(0)), (Ok(pid), Ok(pid)));
        expect_errno!(setsid(), EPERM);
        expect_errno!(setpgid(0, 0), EPERM);
    });
}

fn setsid_by_group_leader_is_eperm() {
    in_child(|| {
        must!(setpgid(0, 0));
        expect_errno!(setsid(), EPERM);
    });
}

fn other_session_is_out_of_reach() {
    let (ready, gate) = (Gate::new(), Gate::new());
    let pid = child(|| {
        must!(setsid());
        ready.open();
        gate.wait();
        0
    });
    ready.wait();
    expect_errno!(setpgid(pid, 0), EPERM);
    in_child(|| expect_errno!(setpgid(0, pid), EPERM));
    gate.open();
    wait_ok(pid);
}

fn kill_group_reaches_all_members() {
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let gate = Gate::new();
    let leader = child(|| {
        must!(setpgid(0, 0));
        for _ in 0..2 {
            orphan(|| {
                gate.open();
                loop {
                    sleep_ms(1000);
                }
            });
        }
        loop {
            sleep_ms(1000);
        }
    });
    gate.wait();
    gate.wait();
    must!(kill(-leader, SIGTERM));
    wait_killed(leader, SIGTERM);
    for _ in 0..2 {
        let (_, status) = must!(wait4(-leader, 0));
        check_eq!(WTERMSIG(status), SIGTERM);
    }
    expect_errno!(kill(-leader, 0), ESRCH);
}

fn group_survives_its_leader() {
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let (ready, gate) = (Gate::new(), Gate::new());
    let leader = child(|| {
        must!(setpgid(0, 0));
        let group = getpid();
        orphan(|| {
            // Wait until the leader is reaped.
            gate.wait();
            i32::from(must!(getpgid(0)) != group)
        });
        ready.open();
        0
    });
    ready.wait();
    wait_ok(leader);
    check_eq!(kill(-leader, 0), Ok(0));
    gate.open();
    let (_, status) = must!(wait4(-1, 0));
    check_eq!(WEXITSTATUS(status), 0);
}

fn orphaned_stopped_group_gets_hup_and_cont() {
    must!(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    // The middle process is the only link between the session and the group of
    // the stopped process; the new parent, this process, is outside.
    let session = child(|| {
        must!(setsid());
        let go = Gate::new();
        let answer = Gate::new();
        let middle = orphan(|| {
            must!(setpgid(0, 0));
            let stopped = orphan(|| {
                must!(setpgid(0, 0));
                record_on(SIGHUP);
                record_on(SIGCONT);
                answer.send(1);
                raise(SIGSTOP);
                wait_until("both signals", || seen() >= 2);
                answer.send(
                    if ORDER.load(SeqCst) == (SIGCONT as usize) << 8 | SIGHUP as usize
                        || ORDER.load(SeqCst) == (SIGHUP as usize) << 8 | SIGCONT as usize
                    {
                        2
                    } else {
                        3
                    },
                );
                0
            });
            check_eq!(answer.recv(), 1);
            wait_until("stopped", || task_state(stopped) == 'T');
            go.open();
            0
        });
        go.wait();
        wait_ok(middle);
        check_eq!(answer.recv(), 2);
        0
    });
    wait_ok(session);
}

fn stop_in_orphaned_group_is_ignored() {
    // SIGTSTP, SIGTTIN, SIGTTOU do not stop members of an orphaned group.
    let session = child(|| {
        must!(setsid());
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
        0
    });
    wait_ok(session);
}

fn stop_in_group_with_parent_outside_stops() {
    let pid = child(|| {
        must!(setpgid(0, 0));
        raise(SIGTSTP);
        0
    });
    let (_, status) = must!(wait4(pid, WUNTRACED));
    check!(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
    must!(kill(pid, SIGCONT));
    wait_ok(pid);
}

fn session_and_group_survive_exec() {
    let gate = Gate::new();
    let pid = child(|| {
        must!(setsid());
        gate.open();
        let _ = exec_helper(c"sleep", &[]);
        1
    });
    gate.wait();
    wait_until("exec", || {
        read_file(&cpath(&format!("/proc/{pid}/cmdline"))).is_ok_and(|c| c.ends_with(b"sleep\0"))
    });
    check_eq!((getsid(pid), getpgid(pid)), (Ok(pid), Ok(pid)));
    must!(kill(pid, SIGKILL));
    wait_killed(pid, SIGKILL);
}

cases![
    new_group_and_back,
    getpgrp_and_getpgid_agree,
    errors,
    parent_moves_child_before_exec,
    parent_cannot_move_child_after_exec,
    setsid_makes_leader_of_all,
    setsid_by_group_leader_is_eperm,
    other_session_is_out_of_reach,
    kill_group_reaches_all_members,
    group_survives_its_leader,
    orphaned_stopped_group_gets_hup_and_cont,
    stop_in_orphaned_group_is_ignored,
    stop_in_group_with_parent_outside_stops,
    session_and_group_survive_exec,
];
