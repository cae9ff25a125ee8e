//! `runsc`: runs programs and OCI containers in the sandbox.
//!
//! - [`args`]: the command line. [`commands`]: one file a command.
//! - [`oci`]: bundles. [`plan`]: what is to be run, checked, in host paths.
//! - [`sandbox`]: the process that holds the kernel: namespaces, empty root, descriptors; its parent's side of it.
//! - [`jail`]: what that process may ask of the host, each call with its reason.
//! - [`hostcheck`]: what the host must have.
#![deny(unsafe_code)]

mod args;
mod commands;
mod failure;
mod hostcheck;
mod jail;
mod log;
mod oci;
mod plan;
mod sandbox;
mod sys;
#[cfg(test)]
mod testing;

use args::{Cli, Command, Switch};
use clap::Parser;
use commands::{Common, Outcome};
use failure::Failure;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            let asked = !e.use_stderr();
            return ExitCode::from(if asked { 0 } else { failure::SELF });
        }
    };
    // Descriptors that happened to be open in the caller must not get into the sandbox, nor be held open by it.
    let preserve = match &cli.command {
        Command::Run(run) => run.preserve_fds,
        _ => 0,
    };
    sys::close_from(3 + preserve);
    let code = match execute(cli, preserve) {
        Ok(code) => code,
        Err(failure) => failure.code,
    };
    ExitCode::from(code)
}

fn execute(cli: Cli, preserve: i32) -> Outcome {
    let log = match log::init(&cli.global) {
        Ok(log) => log,
        Err(failure) => {
            eprintln!("runsc: {failure}");
            return Err(failure);
        }
    };
    let outcome = dispatch(&cli, preserve, log.as_ref());
    if let Err(failure) = &outcome {
        // With a log file, engines read it there; what a person reads comes on stderr in any case.
        if log.is_some() {
            tracing::error!("{failure}");
        }
        match &cli.command {
            Command::Run(_) if log.is_none() => eprint!("{}", log::error_line(&failure.message)),
            _ => eprintln!("runsc: {failure}"),
        }
    }
    outcome
}

fn dispatch(cli: &Cli, preserve: i32, log: Option<&Arc<File>>) -> Outcome {
    let common = || -> Result<_, Failure> {
        Ok(Common {
            debug: cli.global.debug,
            patching: cli.global.syscall_patching == Switch::On,
            strace: log::strace_output(&cli.global, log)?,
        })
    };
    match &cli.command {
        Command::Do(args) => commands::do_::execute(args, common()?),
        Command::Run(args) => {
            commands::run::execute(args, &cli.state, preserved(preserve)?, common()?)
        }
        Command::Spec(args) => commands::spec::execute(args),
        Command::Syscalls(args) => commands::syscalls::execute(args),
    }
}

/// The descriptors that `--preserve-fds` speaks of.
fn preserved(count: i32) -> Result<Vec<OwnedFd>, Failure> {
    let take = |fd| {
        sys::inherited(fd).ok_or_else(|| {
            Failure::new(format!(
                "--preserve-fds {count}: descriptor {fd} is not open"
            ))
        })
    };
    (3..3 + count).map(take).collect()
}
