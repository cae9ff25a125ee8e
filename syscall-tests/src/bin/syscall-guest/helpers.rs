//! What the program does when a case executes it again: `--helper NAME ARG…`.
//! Helpers report by their exit status.

use syscall_tests::prelude::*;

/// Runs a helper; 251 for an unknown one.
pub fn main(args: &[String]) -> i32 {
    let Some((name, args)) = args.split_first() else {
        return 251;
    };
    let number = |i: usize| -> i32 { args.get(i).and_then(|s| s.parse().ok()).unwrap_or(-1) };
    match name.as_str() {
        // exit STATUS
        "exit" => number(0),
        // argc: number of further arguments
        "argc" => args.len() as i32,
        // fd-open N: 1 when descriptor N is open
        "fd-open" => i32::from(fcntl(number(0), F_GETFD, 0).is_ok()),
        // ignored SIGNAL: 1 ignored, 0 default, 2 a handler
        "disposition" => match get_action(number(0)) {
            Ok(action) => action.handler.min(2) as i32,
            Err(_) => 252,
        },
        // blocked SIGNAL: 1 when blocked
        "blocked" => i32::from(current_mask() & mask_of(&[number(0)]) != 0),
        // pending SIGNAL: 1 when pending
        // (see `open`): sleeps until it is killed
        "sleep" => loop {
            sleep_ms(1000);
        },
        "pending" => i32::from(is_pending(number(0))),
        "pid-is" => i32::from(number(0) != getpid()),
        // args: writes argv and environment, each item with a bar
        "args" => {
            let mut text = Vec::new();
            for file in [c"/proc/self/cmdline", c"/proc/self/environ"] {
                let data = read_file(file).unwrap_or_default();
                text.extend(data.iter().map(|b| if *b == 0 { b'|' } else { *b }));
                if file == c"/proc/self/cmdline" {
                    text.push(b'#');
                }
            }
            let _ = write(1, &text);
            0
        }
        // threads: their number
        "threads" => std::fs::read_dir("/proc/self/task").map_or(-1, |d| d.count() as i32),
        "comm-is" => {
            let comm = read_file(c"/proc/self/comm").unwrap_or_default();
            i32::from(String::from_utf8_lossy(&comm).trim_end() != args[0])
        }
        "exe-is" => i32::from(self_exe().to_bytes() != args[0].as_bytes()),
        // ids-are "RUID EUID SUID RGID EGID SGID"
        "ids-are" => {
            let (mut u, mut g) = ([0u32; 3], [0u32; 3]);
            let [a, b, c] = &mut u;
            let _ = sys!(SYS_getresuid, a, b, c);
            let [a, b, c] = &mut g;
            let _ = sys!(SYS_getresgid, a, b, c);
            let ids: Vec<String> = u.iter().chain(&g).map(ToString::to_string).collect();
            i32::from(ids.join(" ") != args[0])
        }
        "has-cap" => (capabilities().0 >> number(0) & 1) as i32,
        "nofile" => getrlimit(RLIMIT_NOFILE).map_or(-1, |l| l.rlim_cur as i32),
        // alarm: seconds left
        "alarm" => sys!(SYS_alarm, 0).unwrap_or(249) as i32,
        // nap: sleeps 100 ms
        "nap" => {
            sleep_ms(100);
            0
        }
        "at-secure" => unsafe { getauxval(AT_SECURE) as i32 },
        // chain N: executes itself N times, then exits with 77
        "chain" => match number(0) {
            0 => 77,
            n => {
                let _ = exec_helper(c"chain", &[&cpath(&(n - 1).to_string())]);
                250
            }
        },
        _ => 251,
    }
}
