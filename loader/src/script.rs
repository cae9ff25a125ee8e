//! `#!` lines, execve(2) *Interpreter scripts*, `fs/binfmt_script.c`.

use crate::HEAD_LEN;
use arch::{Errno, Result};

/// What a script's first line asks for: run `interpreter [arg] script …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Path of the interpreter. Empty for a file of `#!` alone, where Linux then "opens" the
    /// working directory: EACCES.
    pub interpreter: Vec<u8>,
    /// The rest of the line as one argument, blanks within it kept.
    pub arg: Option<Vec<u8>>,
}

impl Script {
    /// The arguments for the interpreter: its path, the line's argument, the path `script` that
    /// was executed, and the caller's arguments without the first.
    pub fn argv(&self, script: &[u8], argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::with_capacity(argv.len() + 2);
        out.push(self.interpreter.clone());
        out.extend(self.arg.clone());
        out.push(script.to_vec());
        out.extend(argv.iter().skip(1).cloned());
        out
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Index of the first byte in `head[from..=last]` that is no blank.
fn next_nonblank(head: &[u8], from: usize, last: usize) -> Option<usize> {
    (from..=last).find(|at| !is_blank(head[*at]))
}

/// Index of the first blank or NUL in `head[from..=last]`.
fn next_terminator(head: &[u8], from: usize, last: usize) -> Option<usize> {
    (from..=last).find(|at| is_blank(head[*at]) || head[*at] == 0)
}

/// The bytes up to a NUL.
fn c_string(bytes: &[u8]) -> Vec<u8> {
    bytes
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// Parses the first bytes of a file, padded with NULs, that begin with `#!`.
///
/// # Errors
/// ENOEXEC when the line names no interpreter, or when its name may be cut by the buffer's end.
pub fn parse(head: &[u8; HEAD_LEN]) -> Result<Script> {
    const LAST: usize = HEAD_LEN - 1;
    if !head.starts_with(b"#!") {
        return Err(Errno::ENOEXEC);
    }
    // A newline behind a NUL doesn't count.
    let newline = head
        .iter()
        .position(|byte| *byte == b'\n' || *byte == 0)
        .filter(|at| head[*at] == b'\n');
    let mut end = match newline {
        Some(at) => at,
        None => {
            // Without a newline an argument may be cut, the interpreter's name may not.
            let name = next_nonblank(head, 2, LAST).ok_or(Errno::ENOEXEC)?;
            next_terminator(head, name, LAST).ok_or(Errno::ENOEXEC)?;
            LAST
        }
    };
    // Stops at the '!' at the latest.
    while is_blank(head[end - 1]) {
        end -= 1;
    }
    let name = next_nonblank(head, 2, end)
        .filter(|at| *at != end)
        .ok_or(Errno::ENOEXEC)?;
    let separator = next_terminator(head, name, end);
    let arg = separator
        .filter(|at| head[*at] != 0)
        .and_then(|at| next_nonblank(head, at, end));
    Ok(Script {
        interpreter: c_string(&head[name..separator.unwrap_or(end)]),
        arg: arg.map(|at| c_string(&head[at..end])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expect: Option<(&str, Option<&str>)>) {
        let mut head = [0; HEAD_LEN];
        let len = line.len().min(HEAD_LEN);
        head[..len].copy_from_slice(&line[..len]);
        let expect = expect
            .map(|(name, arg)| Script {
                interpreter: name.into(),
                arg: arg.map(Into::into),
            })
            .ok_or(Errno::ENOEXEC);
        assert_eq!(
            parse(&head),
            expect,
            "{:?}",
            line.escape_ascii().to_string()
        );
    }

    #[test]
    fn lines_parse_as_in_linux() {
        check(b"#!/bin/sh\n", Some(("/bin/sh", None)));
        check(b"#! \t/bin/sh\n", Some(("/bin/sh", None)));
        check(b"#!/bin/sh  \t\n", Some(("/bin/sh", None)));
        check(b"#!/bin/sh -e\n", Some(("/bin/sh", Some("-e"))));
        check(b"#!/bin/sh  -e  -x \n", Some(("/bin/sh", Some("-e  -x"))));
        check(b"#!/bin/sh -e\r\n", Some(("/bin/sh", Some("-e\r"))));
        check(b"#!sh\nmore", Some(("sh", None)));
        check(b"#!/bin/sh", Some(("/bin/sh", None)));
        // Nothing trims a line that the end of the file ends.
        check(b"#!/bin/sh -x ", Some(("/bin/sh", Some("-x "))));
        check(b"#!/bin/sh \0-x\n", Some(("/bin/sh", Some(""))));
        check(b"#!/bin/sh\0 -x\n", Some(("/bin/sh", None)));
        check(b"#!/bin/sh a\0b\n", Some(("/bin/sh", Some("a"))));
        check(b"#!", Some(("", None)));
        check(b"#! ", Some(("", None)));
    }

    #[test]
    fn lines_without_interpreter_are_refused() {
        check(b"#!\n", None);
        check(b"#!  \t \n/bin/sh\n", None);
        check(b"#/bin/sh\n", None);
        check(&[b"#!", &[b' '; 300][..]].concat(), None);
    }

    #[test]
    fn a_name_that_may_be_cut_is_refused() {
        let long = |len| [b"#!/", &vec![b'x'; len][..]].concat();
        check(&long(400), None);
        // 256 bytes in all: the last one is the terminator's place.
        check(&long(253), None);
        let name = format!("/{}", "x".repeat(252));
        check(&[long(252), b"\n".to_vec()].concat(), Some((&name, None)));
        let arg = [&b"#!/bin/sh "[..], &[b'y'; 400][..]].concat();
        check(&arg, Some(("/bin/sh", Some(&"y".repeat(245)))));
    }

    #[test]
    fn arguments_are_rearranged() {
        let script = Script {
            interpreter: b"/bin/sh".to_vec(),
            arg: Some(b"-e".to_vec()),
        };
        let argv = script.argv(b"./run", &[b"zero".to_vec(), b"one".to_vec()]);
        assert_eq!(argv, [&b"/bin/sh"[..], b"-e", b"./run", b"one"]);
        let argv = script.argv(b"./run", &[]);
        assert_eq!(argv, [&b"/bin/sh"[..], b"-e", b"./run"]);
    }
}
