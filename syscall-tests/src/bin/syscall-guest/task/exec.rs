//! execve(2), execveat(2).

use std::ffi::CStr;
use syscall_tests::cases;
use syscall_tests::prelude::*;

fn script(name: &CStr, text: &[u8]) {
    must!(write_file(name, text));
    must!(chmod(name, 0o755));
}
/// A copy of this program under a name.
fn copy(name: &CStr) {
    let exe = must!(read_file(&self_exe()));
    script(name, &exe);
}
/// Errno of an execve of a path in this directory.
fn failing(path: &CStr) -> Sys {
    execve(path, &[c"x"], &[])
}
/// Runs and gives what it wrote to its standard output.
fn output(path: &CStr, argv: &[&CStr], envp: &[&CStr]) -> Vec<u8> {
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let _ = dup2(w, 1);
        let _ = execve(path, argv, envp);
        66
    });
    must!(close(w));
    let all = must!(read_all(r));
    check_eq!(wait_exit(pid), 0);
    all
}

fn replaces_program() {
    check_eq!(run_helper(c"exit", &[c"23"]), 23);
}

fn keeps_pid_and_parent() {
    let pid = child(|| {
        let _ = exec_helper(c"pid-is", &[&cpath(&getpid().to_string())]);
        1
    });
    wait_ok(pid);
}

fn errors() {
    tmp();
    must!(write_file(c"noexec", b"#!/bin/sh\n"));
    must!(mkdir(c"d", 0o755));
    script(c"garbage", b"this is not a program");
    script(c"empty", b"");
    must!(symlink(c"loop", c"loop"));
    expect_errno!(failing(c"missing"), ENOENT);
    expect_errno!(failing(c""), ENOENT);
    expect_errno!(failing(c"noexec"), EACCES);
    expect_errno!(failing(c"d"), EACCES);
    expect_errno!(failing(c"noexec/x"), ENOTDIR);
    expect_errno!(failing(c"garbage"), ENOEXEC);
    expect_errno!(failing(c"empty"), ENOEXEC);
    expect_errno!(failing(c"loop"), ELOOP);
    expect_errno!(failing(&cpath(&"n".repeat(256))), ENAMETOOLONG);
    expect_errno!(failing(c"/dev/null"), EACCES);
}

fn bad_pointers_are_efault() {
    expect_errno!(sys!(SYS_execve, bad::<u8>(), 0, 0), EFAULT);
    expect_errno!(
        sys!(SYS_execve, self_exe().as_c_str(), bad::<u8>(), 0),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_execve, self_exe().as_c_str(), &[BAD, 0], 0),
        EFAULT
    );
    expect_errno!(
        sys!(SYS_execve, self_exe().as_c_str(), 0, &[BAD, 0]),
        EFAULT
    );
}

fn truncated_elf_is_enoexec() {
    tmp();
    let exe = must!(read_file(&self_exe()));
    script(c"t16", &exe[..16]);
    expect_errno!(failing(c"t16"), ENOEXEC);
    script(c"t64", &exe[..63]);
    expect_errno!(failing(c"t64"), ENOEXEC);
    let mut wrong = exe[..4096].to_vec();
    wrong[18] = 0xb7;
    script(c"arch", &wrong);
    expect_errno!(failing(c"arch"), ENOEXEC);
    let mut wrong = exe[..4096].to_vec();
    wrong[16] = 1;
    script(c"relocatable", &wrong);
    expect_errno!(failing(c"relocatable"), ENOEXEC);
}

fn arguments_and_environment_arrive() {
    let out = output(
        &self_exe(),
        &[c"name", c"--helper", c"args", c"", c"two words", c"\xff"],
        &[c"A=1", c"EMPTY=", c"nonsense"],
    );
    check_eq!(
        String::from_utf8_lossy(&out),
        "name|--helper|args||two words|\u{fffd}|#A=1|EMPTY=|nonsense|"
    );
}

/// Pointers and strings end where their mapping does, and go over the ends of pages.
fn arguments_at_the_end_of_their_mapping_arrive() {
    let pages = anon(3);
    must!(munmap(unsafe { pages.add(2 * PAGE) }, PAGE));
    let put = |at: usize, bytes: &[u8]| unsafe {
        let to = pages.add(at);
        to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        to as usize
    };
    let last = put(2 * PAGE - 5, b"last\0");
    let over = put(PAGE - 3, b"over the end\0");
    let words = [c"name", c"--helper", c"args"].map(|s| s.as_ptr() as usize);
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let argv = [words[0], words[1], words[2], over, last, 0];
        // The array goes over the end of a page inside of a pointer.
        let array = unsafe { anon(2).add(PAGE - 20) };
        unsafe { array.cast::<[usize; 6]>().write_unaligned(argv) };
        let _ = dup2(w, 1);
        let _ = sys!(SYS_execve, self_exe().as_c_str(), array, 0);
        66
    });
    must!(close(w));
    let all = must!(read_all(r));
    check_eq!(wait_exit(pid), 0);
    check_eq!(
        String::from_utf8_lossy(&all),
        "name|--helper|args|over the end|last|#"
    );
    let exe = self_exe();
    // No NUL before the end.
    put(2 * PAGE - 1, b"x");
    let argv = [words[0], last, 0];
    expect_errno!(sys!(SYS_execve, exe.as_c_str(), &argv, 0), EFAULT);
    // No null pointer before the end.
    let array = unsafe { pages.add(2 * PAGE - 16) };
    unsafe { array.cast::<[usize; 2]>().write([words[0]; 2]) };
    expect_errno!(sys!(SYS_execve, exe.as_c_str(), array, 0), EFAULT);
}

fn null_argv_becomes_empty_string() {
    tmp();
    // Since Linux 5.18 argc is at least 1.
    let (r, w) = must!(pipe());
    let pid = child(|| {
        let _ = dup2(w, 1);
        let _ = sys!(SYS_execve, c"/bin/cat", 0, 0);
        66
    });
    let _ = close(w);
    let _ = must!(read_all(r));
    check!(WIFEXITED(wait_status(pid)));
}

fn too_long_argument_is_e2big() {
    let long = cpath(&"x".repeat(32 * PAGE));
    expect_errno!(execve(&self_exe(), &[c"a", &long], &[]), E2BIG);
    let fits = cpath(&"x".repeat(32 * PAGE - 1));
    let pid = child(|| {
        let _ = execve(&self_exe(), &[c"a", c"--helper", c"argc", &fits], &[]);
        66
    });
    check_eq!(wait_exit(pid), 1);
}

fn too_many_arguments_is_e2big() {
    let one = cpath(&"y".repeat(100_000));
    let mut argv: Vec<&CStr> = vec![c"a"];
    argv.extend(std::iter::repeat_n(one.as_c_str(), 80));
    expect_errno!(execve(&self_exe(), &argv, &[]), E2BIG);
}

fn two_thousand_arguments() {
    let mut argv: Vec<&CStr> = vec![c"a", c"--helper", c"argc"];
    argv.extend(std::iter::repeat_n(c"x", 2000));
    let pid = child(|| {
        let _ = execve(&self_exe(), &argv, &[]);
        66
    });
    check_eq!(wait_exit(pid), 2000 & 0xff);
}

fn close_on_exec_closes() {
    let keep = must!(open(c"/dev/null", O_RDONLY, 0));
    let lose = must!(open(c"/dev/null", O_RDONLY | O_CLOEXEC, 0));
    let text = |fd: i32| cpath(&fd.to_string());
    check_eq!(run_helper(c"fd-open", &[&text(keep)]), 1);
    check_eq!(run_helper(c"fd-open", &[&text(lose)]), 0);
    check!(fcntl(lose, F_GETFD, 0).is_ok());
}

fn failed_exec_keeps_cloexec_descriptors() {
    let fd = must!(open(c"/dev/null", O_RDONLY | O_CLOEXEC, 0));
    expect_errno!(failing(c"/nonexistent"), ENOENT);
    check!(fcntl(fd, F_GETFD, 0).is_ok());
}

fn handlers_reset_ignored_stay() {
    handle(SIGUSR1, record, 0);
    disposition(SIGUSR2, SIG_IGN);
    let text = |s: i32| cpath(&s.to_string());
    check_eq!(run_helper(c"disposition", &[&text(SIGUSR1)]), 0);
    check_eq!(run_helper(c"disposition", &[&text(SIGUSR2)]), 1);
}

fn mask_and_pending_stay() {
    block(&[SIGUSR1]);
    let text = |s: i32| cpath(&s.to_string());
    check_eq!(run_helper(c"blocked", &[&text(SIGUSR1)]), 1);
    check_eq!(run_helper(c"blocked", &[&text(SIGUSR2)]), 0);
    let pid = child(|| {
        raise(SIGUSR1);
        let _ = exec_helper(c"pending", &[&text(SIGUSR1)]);
        66
    });
    check_eq!(wait_exit(pid), 1);
}

fn other_threads_end() {
    let pid = child(|| {
        for _ in 0..3 {
            std::thread::spawn(|| {
                loop {
                    sleep_ms(1000);
                }
            });
        }
        let _ = exec_helper(c"threads", &[]);
        66
    });
    check_eq!(wait_exit(pid), 1);
}

fn from_other_thread_takes_over_the_pid() {
    let pid = child(|| {
        let me = cpath(&getpid().to_string());
        let t = std::thread::spawn(move || {
            let _ = exec_helper(c"pid-is", &[&me]);
        });
        let _ = t.join();
        66
    });
    wait_ok(pid);
}

fn script_with_interpreter() {
    tmp();
    script(c"s", b"#!/bin/sh\necho \"$0 $1 $2\"\n");
    check_eq!(
        output(c"./s", &[c"ignored", c"a", c"b"], &[]),
        b"./s a b\n".to_vec()
    );
}

fn script_with_one_argument() {
    tmp();
    let exe = self_exe();
    let mut text = b"#!".to_vec();
    text.extend(exe.to_bytes());
    text.extend(b"   --helper  \n");
    // The whole rest of the line is one argument, trimmed at both ends.
    must!(write_file(c"args", &text));
    must!(chmod(c"args", 0o755));
    let out = output(c"args", &[c"zero", c"one"], &[]);
    check_eq!(
        String::from_utf8_lossy(&out),
        format!("{}|--helper|args|one|#", exe.to_string_lossy())
    );
}

fn script_of_script() {
    tmp();
    script(c"inner", b"#!/bin/sh\necho inner \"$@\"\n");
    let here = tmp_path();
    script(c"outer", format!("#!{here}/inner\n").as_bytes());
    let out = output(c"outer", &[c"x", c"arg"], &[]);
    check_eq!(out, b"inner outer arg\n".to_vec());
}

fn script_nesting_limit_is_eloop() {
    tmp();
    let here = tmp_path();
    for i in 0..8 {
        let text = format!("#!{here}/s{}\n", i + 1);
        script(&cpath(&format!("s{i}")), text.as_bytes());
    }
    script(c"s8", b"#!/bin/true\n");
    expect_errno!(failing(c"s0"), ELOOP);
    let pid = child(|| {
        let _ = failing(c"s4");
        66
    });
    wait_ok(pid);
}

fn script_with_missing_interpreter_is_enoent() {
    tmp();
    script(c"s", b"#!/nonexistent/interpreter\n");
    expect_errno!(failing(c"s"), ENOENT);
    script(c"e", b"#!\n");
    expect_errno!(failing(c"e"), ENOEXEC);
}

fn script_line_without_newline() {
    tmp();
    script(c"s", b"#!/bin/true");
    let pid = child(|| {
        let _ = failing(c"s");
        66
    });
    wait_ok(pid);
}

fn name_of_process_is_file_name() {
    tmp();
    copy(c"a-long-program-name");
    let pid = child(|| {
        let _ = execve(
            c"a-long-program-name",
            &[c"other", c"--helper", c"comm-is", c"a-long-program-"],
            &[],
        );
        66
    });
    wait_ok(pid);
}

fn proc_self_exe_names_program() {
    tmp();
    copy(c"prog");
    let path = cpath(&format!("{}/prog", tmp_path()));
    let pid = child(|| {
        let _ = execve(c"prog", &[c"p", c"--helper", c"exe-is", &path], &[]);
        66
    });
    wait_ok(pid);
}

fn execveat_by_descriptor() {
    let fd = must!(open(&self_exe(), O_RDONLY | O_CLOEXEC, 0));
    let pid = child(|| {
        let argv = [c"p", c"--helper", c"exit", c"31"].map(|s| s.as_ptr());
        let argv = [argv[0], argv[1], argv[2], argv[3], std::ptr::null()];
        let env = [0usize];
        let _ = sys!(SYS_execveat, fd, c"", &argv, &env, AT_EMPTY_PATH);
        66
    });
    check_eq!(wait_exit(pid), 31);
}

fn execveat_relative_and_errors() {
    tmp();
    must!(mkdir(c"d", 0o755));
    copy(c"d/prog");
    must!(symlink(c"prog", c"d/link"));
    let dir = must!(open(c"d", O_PATH, 0));
    let at = |fd: i32, path: &CStr, flags: i32| {
        let argv = [c"p", c"--helper", c"exit", c"32"].map(|s| s.as_ptr());
        let argv = [argv[0], argv[1], argv[2], argv[3], std::ptr::null()];
        sys!(SYS_execveat, fd, path, &argv, &[0usize], flags)
    };
    let pid = child(|| {
        let _ = at(dir, c"prog", 0);
        66
    });
    check_eq!(wait_exit(pid), 32);
    expect_errno!(at(dir, c"link", AT_SYMLINK_NOFOLLOW), ELOOP);
    expect_errno!(at(dir, c"prog", 0x10), EINVAL);
    expect_errno!(at(-1, c"prog", 0), EBADF);
    expect_errno!(at(dir, c"", 0), ENOENT);
    expect_errno!(at(dir, c"", AT_EMPTY_PATH), EACCES);
}

fn script_through_cloexec_descriptor_is_enoent() {
    tmp();
    script(c"s", b"#!/bin/true\n");
    let fd = must!(open(c"s", O_RDONLY | O_CLOEXEC, 0));
    let argv = [c"p".as_ptr(), std::ptr::null()];
    expect_errno!(
        sys!(SYS_execveat, fd, c"", &argv, &[0usize], AT_EMPTY_PATH),
        ENOENT
    );
}

fn open_for_writing_is_etxtbsy() {
    tmp();
    copy(c"prog");
    let fd = must!(open(c"prog", O_WRONLY, 0));
    expect_errno!(failing(c"prog"), ETXTBSY);
    must!(close(fd));
    let pid = child(|| {
        let _ = execve(c"prog", &[c"p", c"--helper", c"exit", c"0"], &[]);
        66
    });
    wait_ok(pid);
}

fn set_user_id_program_changes_ids() {
    need_root();
    tmp();
    copy(c"prog");
    must!(chown(c"prog", 1234, 1235));
    must!(chmod(c"prog", 0o6755));
    let pid = child(|| {
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        let ids = c"1000 1234 1234 1000 1235 1235";
        let _ = execve(c"prog", &[c"p", c"--helper", c"ids-are", ids], &[]);
        66
    });
    check_eq!(wait_exit(pid), 0);
}

fn set_user_id_ignored_with_no_new_privs() {
    need_root();
    tmp();
    copy(c"prog");
    must!(chown(c"prog", 1234, 1235));
    must!(chmod(c"prog", 0o6755));
    let pid = child(|| {
        must!(sys!(SYS_setresgid, 1000, 1000, 1000));
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        must!(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        let ids = c"1000 1000 1000 1000 1000 1000";
        let _ = execve(c"prog", &[c"p", c"--helper", c"ids-are", ids], &[]);
        66
    });
    check_eq!(wait_exit(pid), 0);
}

fn set_user_id_sets_at_secure() {
    need_root();
    tmp();
    copy(c"prog");
    must!(chown(c"prog", 1234, 1234));
    let secure = || {
        wait_exit(child(|| {
            must!(sys!(SYS_setresgid, 1000, 1000, 1000));
            must!(sys!(SYS_setresuid, 1000, 1000, 1000));
            let _ = execve(c"prog", &[c"p", c"--helper", c"at-secure"], &[]);
            66
        }))
    };
    check_eq!(secure(), 0);
    must!(chmod(c"prog", 0o4755));
    check_eq!(secure(), 1);
}

fn unreadable_program_runs() {
    need_root();
    tmp();
    copy(c"prog");
    must!(chmod(c"prog", 0o711));
    let pid = child(|| {
        must!(sys!(SYS_setresuid, 1000, 1000, 1000));
        expect_errno!(open(c"prog", O_RDONLY, 0), EACCES);
        let _ = execve(c"prog", &[c"p", c"--helper", c"exit", c"0"], &[]);
        66
    });
    wait_ok(pid);
}

fn root_needs_an_execute_bit() {
    need_root();
    tmp();
    copy(c"prog");
    must!(chmod(c"prog", 0o644));
    expect_errno!(failing(c"prog"), EACCES);
}

fn auxv_is_sane() {
    let value = |kind: u64| unsafe { getauxval(kind) };
    check_eq!(value(AT_PAGESZ), PAGE as u64);
    check_eq!(value(AT_UID), u64::from(getuid()));
    check!(value(AT_RANDOM) != 0 && value(AT_PHDR) != 0 && value(AT_ENTRY) != 0);
    check!(value(AT_CLKTCK) == 100);
    check_eq!(value(AT_SECURE), 0);
}

fn exec_chain_of_ten() {
    check_eq!(run_helper(c"chain", &[c"10"]), 77);
}

cases![
    replaces_program,
    keeps_pid_and_parent,
    errors,
    bad_pointers_are_efault,
    truncated_elf_is_enoexec,
    arguments_and_environment_arrive,
    arguments_at_the_end_of_their_mapping_arrive,
    null_argv_becomes_empty_string,
    too_long_argument_is_e2big,
    too_many_arguments_is_e2big,
    two_thousand_arguments,
    close_on_exec_closes,
    failed_exec_keeps_cloexec_descriptors,
    handlers_reset_ignored_stay,
    mask_and_pending_stay,
    other_threads_end,
    from_other_thread_takes_over_the_pid,
    script_with_interpreter,
    script_with_one_argument,
    script_of_script,
    script_nesting_limit_is_eloop,
    script_with_missing_interpreter_is_enoent,
    script_line_without_newline,
    name_of_process_is_file_name,
    proc_self_exe_names_program,
    execveat_by_descriptor,
    execveat_relative_and_errors,
    script_through_cloexec_descriptor_is_enoent,
    open_for_writing_is_etxtbsy,
    set_user_id_program_changes_ids,
    set_user_id_ignored_with_no_new_privs,
    set_user_id_sets_at_secure,
    unreadable_program_runs,
    root_needs_an_execute_bit,
    auxv_is_sane,
    exec_chain_of_ten,
];
