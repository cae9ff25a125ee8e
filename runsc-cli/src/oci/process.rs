//! `process` of config.json.

use super::{absolute, capability, wrong};
use crate::failure::Result;
use crate::plan::{Process, TerminalWish, inherited_rlimits};
use oci_spec::runtime::PosixRlimit;
use sentry::config::{User, WindowSize};

/// Checks and converts it.
pub fn convert(process: &oci_spec::runtime::Process) -> Result<Process> {
    let args = strings("process.args", process.args().as_deref())?;
    match args.first() {
        None => {
            return Err(wrong(
                "process.args is empty: it must name the program to run",
            ));
        }
        Some(program) if program.is_empty() => {
            return Err(wrong(
                "process.args[0] is empty: it must name the program to run",
            ));
        }
        Some(_) => {}
    }
    let user = process.user();
    Ok(Process {
        args,
        env: strings("process.env", process.env().as_deref())?,
        cwd: absolute("process.cwd", process.cwd().as_os_str())?,
        user: User {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().map(|m| m & 0o777),
        },
        caps: capability::convert(process.capabilities().as_ref()),
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: oom_score_adj(process.oom_score_adj())?,
        terminal: if process.terminal().unwrap_or(false) {
            let size = process.console_size().unwrap_or_default();
            let cells = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            TerminalWish::Yes(WindowSize {
                rows: cells(size.height()),
                cols: cells(size.width()),
                xpixel: 0,
                ypixel: 0,
            })
        } else {
            TerminalWish::No
        },
    })
}

fn strings(field: &str, values: Option<&[String]>) -> Result<Vec<Vec<u8>>> {
    let check = |value: &String| match value.contains('\0') {
        true => Err(wrong(format!("{field}: {value:?} has a NUL in it"))),
        false => Ok(value.clone().into_bytes()),
    };
    values.unwrap_or_default().iter().map(check).collect()
}

fn oom_score_adj(value: Option<i32>) -> Result<Option<i32>> {
    match value {
        Some(n) if !(-1000..=1000).contains(&n) => Err(wrong(format!(
            "process.oomScoreAdj is {n}; it must be -1000 to 1000"
        ))),
        other => Ok(other),
    }
}

/// The caller's limits, with those that are given put in.
fn rlimits(given: &[PosixRlimit]) -> Result<[(u64, u64); 16]> {
    let mut all = inherited_rlimits();
    let mut seen = [false; 16];
    for limit in given {
        let name = limit.typ().to_string();
        let number = NUMBERS
            .iter()
            .position(|n| *n == name)
            .ok_or_else(|| wrong(format!("process.rlimits: {name} is unknown")))?;
        if std::mem::replace(&mut seen[number], true) {
            return Err(wrong(format!("process.rlimits: {name} is given twice")));
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        if soft > hard {
            return Err(wrong(format!(
                "process.rlimits: {name} has soft limit {soft} above hard limit {hard}"
            )));
        }
        all[number] = (soft, hard);
    }
    Ok(all)
}

/// Names by number (asm-generic/resource.h).
const NUMBERS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rlimit_numbers_are_those_of_the_kernel() {
        let number = |name| NUMBERS.iter().position(|n| *n == name).unwrap();
        assert_eq!(number("RLIMIT_NOFILE"), libc::RLIMIT_NOFILE as usize);
        assert_eq!(number("RLIMIT_RTTIME"), libc::RLIMIT_RTTIME as usize);
        assert_eq!(number("RLIMIT_AS"), libc::RLIMIT_AS as usize);
    }

    #[test]
    fn a_limit_may_be_given_once() {
        let limit: PosixRlimit =
            serde_json::from_str(r#"{"type":"RLIMIT_NOFILE","soft":10,"hard":20}"#).unwrap();
        assert_eq!(
            rlimits(&[limit]).unwrap()[libc::RLIMIT_NOFILE as usize],
            (10, 20)
        );
        assert!(
            rlimits(&[limit, limit])
                .unwrap_err()
                .message
                .contains("twice")
        );
    }
}
