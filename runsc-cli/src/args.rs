//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

macro_rules! spec_version {
    () => {
        "1.1.0"
    };
}

/// Version of the OCI runtime specification that `spec` writes and `run` reads.
pub const SPEC_VERSION: &str = spec_version!();

/// runc's lines: version, then specification.
const VERSION: &str = concat!(
    "version ",
    env!("CARGO_PKG_VERSION"),
    "\nspec: ",
    spec_version!()
);

const EXAMPLES: &str = "\
Examples:
  runsc do -- bash                       a shell on the host's files; changes stay in memory
  runsc do --rw --cwd /src -- make       the same, but changes reach the host
  runsc --strace do -- ls /              show every system call
  mkdir b && runsc spec --bundle b       write b/config.json; put a root file system in b/rootfs
  runsc run --bundle b demo              run it as container `demo`

Exit status: that of the program; 128 + n if signal n killed it; 127 if it was not found, 126 if it could not
be executed, 125 if runsc itself failed.";

/// Runs programs and OCI containers on a Linux kernel in user space: none of their system calls reaches the host.
#[derive(Parser, Debug)]
#[command(name = "runsc", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub state: StateRoot,
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Where containers are kept track of.
#[derive(Args, Debug, Default, Clone)]
pub struct StateRoot {
    /// Directory for the state of containers [default: /run/runsc, or $XDG_RUNTIME_DIR/runsc for users]
    #[arg(long = "root", value_name = "DIR", id = "state-root")]
    pub dir: Option<PathBuf>,
}

/// Options that may stand before or after the command.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Append messages to FILE; errors go to stderr as well
    #[arg(long, value_name = "FILE", global = true)]
    pub log: Option<PathBuf>,
    /// Form of the messages
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    pub log_format: LogFormat,
    /// Log what happens in detail, and say which host call violated the sandbox's own filter if one did
    #[arg(long, global = true)]
    pub debug: bool,
    /// Write one line for every system call of the sandboxed programs
    #[arg(long, global = true)]
    pub strace: bool,
    /// Write the lines of --strace to FILE rather than to stderr (implies --strace)
    #[arg(long, value_name = "FILE", global = true)]
    pub strace_file: Option<PathBuf>,
    /// How system calls are intercepted
    #[arg(long, global = true, default_value = "systrap")]
    pub platform: Platform,
    /// Rewrite system calls that programs make often, so that they cost no signal
    #[arg(long, value_name = "WHETHER", global = true, default_value = "on")]
    pub syscall_patching: Switch,
    /// What network the sandbox sees
    #[arg(long, global = true, default_value = "none")]
    pub network: Network,
    /// Expect `slice:prefix:name` in cgroupsPath, as runc does
    #[arg(long, global = true, hide = true)]
    pub systemd_cgroup: bool,
    /// Taken for runc's sake; whether there are privileges is found out
    #[arg(id = "assume-rootless", long = "rootless", value_name = "BOOL", hide = true, num_args = 0..=1)]
    #[arg(default_missing_value = "true", require_equals = true)]
    pub rootless: Option<Rootless>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// time="…" level=… msg="…"
    Text,
    /// One JSON object a line, as runc writes them
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// seccomp traps; needs no virtualisation and no privileges
    Systrap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// A loopback interface and nothing else
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    True,
    False,
    Auto,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a program in a sandbox that sees the host's files
    Do(Do),
    /// Run a container from an OCI bundle and wait for its end
    Run(Run),
    /// Write a config.json to start from
    Spec(Spec),
    /// List the system calls that programs can use
    Syscalls(Syscalls),
}

#[derive(Args, Debug)]
pub struct Do {
    /// The directory that the program sees as its root
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Working directory, as the program names it [default: the current one with --root /, else /]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Add to the environment, or take NAME out of it; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Write changes through to the host; otherwise they stay in memory and end with the sandbox
    #[arg(long)]
    pub rw: bool,
    /// User id of the program
    #[arg(long, value_name = "UID", default_value_t = 0)]
    pub uid: u32,
    /// Group id of the program
    #[arg(long, value_name = "GID", default_value_t = 0)]
    pub gid: u32,
    /// The program and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub state: StateRoot,
    /// Directory with config.json [default: the current one]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Send the master side of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write the process id of the sandbox to FILE
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Pass descriptors 3 to 3 + N - 1 to the container
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(RawFd).range(0..=1024))]
    pub preserve_fds: RawFd,
    /// Taken for runc's sake: the sandbox never pivots the container's root
    #[arg(long, hide = true)]
    pub no_pivot: bool,
    /// Taken for runc's sake: containers have no host keyring
    #[arg(long, hide = true)]
    pub no_new_keyring: bool,
    /// Taken for runc's sake: the sandbox reaps its own orphans
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// Name of the container: letters, digits, `_`, `+`, `-`, `.`
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Args, Debug)]
pub struct Spec {
    /// Directory to write config.json into [default: the current one]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Write one for users without privileges, as runc does
    #[arg(long)]
    pub rootless: bool,
}

#[derive(Args, Debug)]
pub struct Syscalls {
    /// Form of the list
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: SyscallFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyscallFormat {
    Table,
    Json,
    Markdown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Cli {
        Cli::try_parse_from(std::iter::once(&"runsc").chain(args)).unwrap()
    }

    #[test]
    fn the_specification_is_that_of_the_parser() {
        assert_eq!(SPEC_VERSION, oci_spec::runtime::VERSION);
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for args in [
            &["--log", "l", "--log-format", "json", "run", "x"][..],
            &["run", "--log=l", "x", "--log-format=json"],
        ] {
            let cli = parse(args);
            assert_eq!(cli.global.log, Some("l".into()));
            assert_eq!(cli.global.log_format, LogFormat::Json);
        }
    }

    #[test]
    fn flags_may_follow_the_id() {
        let Command::Run(run) = parse(&["run", "x", "--bundle", "b", "--pid-file", "p"]).command
        else {
            panic!()
        };
        assert_eq!(
            (run.id.as_str(), run.bundle, run.pid_file),
            ("x", Some("b".into()), Some("p".into()))
        );
    }

    #[test]
    fn root_means_state_for_run_and_files_for_do() {
        let cli = parse(&["--root", "/s", "do", "--root", "/f", "true"]);
        assert_eq!(cli.state.dir, Some("/s".into()));
        let Command::Do(args) = cli.command else {
            panic!()
        };
        assert_eq!(args.root, PathBuf::from("/f"));
        let Command::Run(run) = parse(&["run", "--root", "/s", "x"]).command else {
            panic!()
        };
        assert_eq!(run.state.dir, Some("/s".into()));
    }

    #[test]
    fn everything_after_the_program_is_its_own() {
        for args in [
            &["do", "--", "ls", "--debug", "-l"][..],
            &["do", "ls", "--debug", "-l"],
        ] {
            let cli = parse(args);
            assert!(!cli.global.debug);
            let Command::Do(args) = cli.command else {
                panic!()
            };
            assert_eq!(args.command, ["ls", "--debug", "-l"]);
        }
    }

    #[test]
    fn what_stands_before_the_program_is_ours() {
        for args in [
            &["runsc", "do", "--nope", "true"][..],
            &["runsc", "do", "-x"],
        ] {
            assert!(Cli::try_parse_from(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn runc_options_are_taken() {
        parse(&[
            "--rootless=false",
            "--systemd-cgroup",
            "run",
            "--no-pivot",
            "--no-new-keyring",
            "x",
        ]);
        parse(&["--rootless", "run", "x"]);
    }
}
