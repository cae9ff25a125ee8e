//! Programs that are waited for with a limit.

use crate::pipe::Pipe;
use crate::{PATIENCE, descendants, kill_all, reached};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How long pipes may stay open, and a killed process may stay, after what should have been the end.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// Commands whose end is waited for with a limit.
pub trait Bounded {
    /// Starts it, with standard input and output as they were set.
    ///
    /// # Panics
    /// Where it can't be started.
    fn run(&mut self) -> Running;

    /// The same.
    ///
    /// # Errors
    /// That it can't be started, in words.
    fn try_run(&mut self) -> Result<Running, String>;

    /// Runs it with no input, takes its output: [`Command::output`] within [`PATIENCE`].
    ///
    /// # Panics
    /// Where it can't be started, or takes longer.
    fn finish(&mut self) -> Output;

    /// The same within `limit`.
    ///
    /// # Errors
    /// That it could not be started, or took longer and was killed, in words.
    fn finish_within(&mut self, limit: Duration) -> Result<Output, String>;
}

impl Bounded for Command {
    fn run(&mut self) -> Running {
        self.try_run().unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_run(&mut self) -> Result<Running, String> {
        Running::start(self)
    }

    fn finish(&mut self) -> Output {
        let output = self.finish_within(PATIENCE);
        output.unwrap_or_else(|why| panic!("{why}"))
    }

    fn finish_within(&mut self, limit: Duration) -> Result<Output, String> {
        self.stdin(Stdio::null());
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(self)?.end_within(limit)
    }
}

/// A program that runs; killed with all its descendants when this is dropped.
pub struct Running {
    what: String,
    child: Child,
    /// Its standard input where that is a pipe; dropping it closes it.
    pub stdin: Option<ChildStdin>,
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self, String> {
        let what = format!("{command:?}");
        let mut child = command.spawn().map_err(|e| format!("{what}: {e}"))?;
        Ok(Self {
            what,
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(Pipe::new),
            stderr: child.stderr.take().map(Pipe::new),
            child,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it, and it alone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// The next line that it prints, with the newline; what is left at the end of its output.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn line(&mut self) -> String {
        let line = self.line_within(PATIENCE);
        self.text(line, "it prints no line")
    }

    /// [`line`](Self::line) as it came: empty at the end of the output, `None` where none came within `limit`.
    pub fn line_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.stdout.as_ref()?.line(limit)
    }

    /// All that it prints until its output is closed.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn until_closed(&mut self) -> String {
        let text = self.stdout.as_ref().and_then(|pipe| pipe.rest(PATIENCE));
        self.text(text, "it does not close its output")
    }

    fn text(&mut self, bytes: Option<Vec<u8>>, problem: &str) -> String {
        let late = || panic!("{}", self.give_up(problem, PATIENCE));
        let bytes = bytes.unwrap_or_else(late);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.wait_within(PATIENCE);
        status.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits for its end and takes the rest of its output.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub fn output(self) -> Output {
        let output = self.end_within(PATIENCE);
        output.unwrap_or_else(|why| panic!("{why}"))
    }

    /// [`output`](Self::output) within `limit`.
    ///
    /// # Errors
    /// That it took longer and was killed, in words, with what it had printed.
    pub fn end_within(mut self, limit: Duration) -> Result<Output, String> {
        drop(self.stdin.take());
        let status = self.wait_within(limit)?;
        let rest = |pipe: &Option<Pipe>| match pipe {
            Some(pipe) => pipe.rest(AFTERWARDS),
            None => Some(Vec::new()),
        };
        let (Some(stdout), Some(stderr)) = (rest(&self.stdout), rest(&self.stderr)) else {
            let problem = format!("it has ended ({status}), but somebody holds its output open");
            return Err(self.give_up(&problem, AFTERWARDS));
        };
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// [`wait`](Self::wait) within `limit`.
    ///
    /// # Errors
    /// That it took longer and was killed, in words, with what it had printed.
    pub fn wait_within(&mut self, limit: Duration) -> Result<ExitStatus, String> {
        let mut end = None;
        reached(limit, || {
            end = self.child.try_wait().transpose();
            end.is_some()
        });
        match end {
            Some(Ok(status)) => Ok(status),
            Some(Err(e)) => Err(format!("{}: {e}", self.what)),
            None => Err(self.give_up("it does not end", limit)),
        }
    }

    /// Kills it with its descendants; what is to be said about it: the problem, seen after `limit`, and what it printed and did
    /// last.
    pub fn give_up(&mut self, problem: &str, limit: Duration) -> String {
        let processes = self.processes();
        self.kill_all();
        let mut said = format!("{}: {problem}, after {limit:?}; it was killed", self.what);
        for (name, pipe) in [("output", &self.stdout), ("errors", &self.stderr)] {
            let text = pipe.as_ref().map(Pipe::so_far).unwrap_or_default();
            if !text.is_empty() {
                said += &format!("\nits {name}: {}", String::from_utf8_lossy(&text));
            }
        }
        said + "\nits processes:" + &processes
    }

    /// A line for each of its processes: number, name, state, and where the kernel says that it sleeps.
    fn processes(&self) -> String {
        let all = std::iter::once(self.id()).chain(descendants(self.id()));
        let about = |pid: u32| {
            let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
            let stat = read("stat").ok()?;
            let name = &stat[stat.find('(')?..stat.rfind(')')? + 1];
            let state = stat[stat.rfind(')')? + 1..].split_whitespace().next()?;
            let place = read("wchan").unwrap_or_default();
            Some(format!("\n  {pid} {name} {state} {place}"))
        };
        all.filter_map(about).collect()
    }

    fn kill_all(&mut self) {
        // Before it is gone: then they are no longer its own.
        let below = descendants(self.id());
        let _ = self.child.kill();
        kill_all(&below);
        reached(AFTERWARDS, || !self.is_running());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill_all();
        }
    }
}
