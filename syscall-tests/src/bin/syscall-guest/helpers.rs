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
        _ => 251,
    }
}
