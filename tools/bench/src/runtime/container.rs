//! One run of a container, watched from outside.
#![expect(unsafe_code, reason = "a session of its own for each runtime")]

use super::Runtime;
use super::processes;
use super::stage::Bundle;
use crate::protocol::Line;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long the runtime's own commands may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
/// How long processes may take to end after their container has.
const CLEAR_PATIENCE: Duration = Duration::from_secs(3);
/// How much of standard error is kept.
const KEEP: usize = 16 << 10;

/// What happened, and when.
enum Event {
    Line(Instant, Line),
    Junk(String),
    StderrEnd(String),
    StdoutEnd,
    Exit(Instant, std::io::Result<ExitStatus>),
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// Its lines, with when they arrived.
    pub lines: Vec<(Instant, Line)>,
    /// Output that is none of the guest's.
    pub junk: Vec<String>,
    /// When the runtime was started.
    pub started: Instant,
    /// When it ended, and how; none if it had to be killed.
    pub ended: Option<(Instant, ExitStatus)>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
    /// Processes that were still there and had to be killed.
    pub leftovers: Vec<String>,
}

/// Runs a bundle to its end, or for `limit`.
pub fn run(runtime: &Runtime, bundle: &Bundle, limit: Duration) -> Result<Ran> {
    let mut running = Running::start(runtime, bundle)?;
    running.wait(limit, |r| r.gone);
    Ok(running.finish())
}

/// A container that has been started. Whoever starts one finishes it.
pub struct Running<'a> {
    runtime: &'a Runtime,
    id: String,
    pid: Pid,
    events: Receiver<Event>,
    /// The runtime's own process has ended.
    gone: bool,
    /// Pipes of its that are still open.
    pipes: u32,
    ran: Ran,
}

impl<'a> Running<'a> {
    /// Starts the runtime on a bundle.
    pub fn start(runtime: &'a Runtime, bundle: &Bundle) -> Result<Self> {
        let mut command = runtime.command();
        command
            .args(["run", "--bundle"])
            .arg(&bundle.dir)
            .arg(&bundle.id)
            .current_dir(&bundle.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        own_session(&mut command);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| runtime.words.join(" "))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (sender, events) = listen(&mut child)?;
        wait_on(child, sender);
        let ran = Ran {
            lines: Vec::new(),
            junk: Vec::new(),
            started,
            ended: None,
            stderr: String::new(),
            leftovers: Vec::new(),
        };
        Ok(Self {
            runtime,
            id: bundle.id.clone(),
            pid,
            events,
            gone: false,
            pipes: 2,
            ran,
        })
    }

    /// Waits for the first line of the program, for up to `limit`: whether it came.
    pub fn wait_for_line(&mut self, limit: Duration) -> bool {
        self.wait(limit, |r| r.gone || !r.ran.lines.is_empty());
        !self.ran.lines.is_empty()
    }

    /// Takes events until `done` says so, or for `limit`.
    fn wait(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + limit;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.note(event),
                Err(_) => return,
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Line(at, line) => self.ran.lines.push((at, line)),
            Event::Junk(text) => {
                if self.ran.junk.len() < 20 {
                    self.ran.junk.push(text);
                }
            }
            Event::StdoutEnd => self.pipes -= 1,
            Event::StderrEnd(text) => {
                self.pipes -= 1;
                self.ran.stderr = text;
            }
            Event::Exit(at, status) => {
                self.gone = true;
                self.ran.ended = status.ok().map(|s| (at, s));
            }
        }
    }

    /// Kills the container if it is still there.
    pub fn stop(&mut self) {
        if self.gone {
            return;
        }
        if self.runtime.is_native() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        end(self.runtime, &self.id);
        // The runtime's own process should follow its container.
        self.wait(Duration::from_secs(2), |r| r.gone);
        if !self.gone {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.wait(Duration::from_secs(2), |r| r.gone);
        }
        // It ended, but not by itself.
        self.ran.ended = None;
    }

    /// Ends it if need be, and sees to it that nothing is left. No other container may be running.
    pub fn finish(mut self) -> Ran {
        self.stop();
        // What is left holds the pipes open; once it has gone, they end.
        self.wait(Duration::from_millis(500), |r| r.pipes == 0);
        self.ran.leftovers = processes::clear(CLEAR_PATIENCE);
        self.wait(Duration::from_secs(1), |r| r.pipes == 0);
        if !self.ran.leftovers.is_empty() {
            delete(self.runtime, &self.id);
        }
        self.ran
    }
}

/// A kernel with autogroups (sched(7)) gives each session the same share of the CPUs: runtimes that make a session must not have an
/// advantage over those that don't.
fn own_session(command: &mut Command) {
    // SAFETY: setsid is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
}

/// Threads that read what the run says.
fn listen(child: &mut Child) -> Result<(Sender<Event>, Receiver<Event>)> {
    let (send, receive) = channel();
    let stdout = child.stdout.take().context("no stdout")?;
    let to = send.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let at = Instant::now();
            let Ok(line) = line else { break };
            let event = match serde_json::from_slice(&line) {
                Ok(line) => Event::Line(at, line),
                Err(_) => Event::Junk(String::from_utf8_lossy(&line).chars().take(200).collect()),
            };
            if to.send(event).is_err() {
                return;
            }
        }
        let _ = to.send(Event::StdoutEnd);
    });
    let mut stderr = child.stderr.take().context("no stderr")?;
    let to = send.clone();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = stderr.read(&mut buf) {
            kept.extend(&buf[..n]);
            let excess = kept.len().saturating_sub(KEEP);
            kept.drain(..excess);
        }
        let _ = to.send(Event::StderrEnd(
            String::from_utf8_lossy(&kept).into_owned(),
        ));
    });
    Ok((send, receive))
}

/// A thread that waits for its end.
fn wait_on(mut child: Child, to: Sender<Event>) {
    std::thread::spawn(move || {
        let status = child.wait();
        let _ = to.send(Event::Exit(Instant::now(), status));
    });
}

/// Kills and deletes a container by the runtime's own commands.
fn end(runtime: &Runtime, id: &str) {
    if runtime.is_native() {
        return;
    }
    command(runtime, &["kill", id, "KILL"]);
    delete(runtime, id);
}

fn delete(runtime: &Runtime, id: &str) {
    if !runtime.is_native() {
        command(runtime, &["delete", "--force", id]);
    }
}

/// One of the runtime's commands, for what it is worth.
fn command(runtime: &Runtime, words: &[&str]) {
    let Ok(mut child) = runtime
        .command()
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return;
    };
    let deadline = Instant::now() + COMMAND_PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Ran {
    /// Why there is no result, if the runtime itself has the answer.
    pub fn trouble(&self) -> Option<String> {
        let said = self.said();
        match &self.ended {
            None => Some(format!("did not end in time{said}")),
            Some((_, status)) if !status.success() => Some(format!("{status}{said}")),
            _ => None,
        }
    }

    /// The last lines of what it said, for messages.
    fn said(&self) -> String {
        let lines: Vec<_> = self
            .junk
            .iter()
            .map(String::as_str)
            .chain(self.stderr.lines())
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        if lines.is_empty() {
            return String::new();
        }
        let from = lines.len().saturating_sub(4);
        let text: String = lines[from..].join(" | ").chars().take(500).collect();
        format!(": {text}")
    }
}
