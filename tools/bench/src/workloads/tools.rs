//! What workloads are written with: commands, servers, deterministic input, digests.

use crate::place::SCRATCH;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A program in the path.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

/// Runs a command in the working directory, which must succeed and leave nothing on its standard error but warnings, and gives its
/// standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    run_in(Path::new(SCRATCH), program, args)
}

/// The same in another directory.
pub fn run_in(dir: &Path, program: &str, args: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    finish(&command_line(&command), command.output())
}

/// Runs a command with input.
pub fn run_with_input(program: &str, args: &[&str], input: &[u8]) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(SCRATCH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = command_line(&command);
    let mut child = command.spawn().with_context(|| line.clone())?;
    let mut to = child.stdin.take().context("no pipe")?;
    let output = std::thread::scope(|s| {
        let writer = s.spawn(move || to.write_all(input));
        let output = child.wait_with_output();
        match writer.join() {
            Ok(Err(e)) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e),
            _ => output,
        }
    });
    finish(&line, output)
}

fn command_line(command: &Command) -> String {
    let mut line = format!("{command:?}");
    if line.len() > 200 {
        line.truncate(line.floor_char_boundary(200));
        line.push('…');
    }
    line
}

fn finish(line: &str, output: std::io::Result<Output>) -> Result<String> {
    let output = output.with_context(|| line.to_owned())?;
    if !output.status.success() {
        bail!("{line}: {}: {}", output.status, end_of(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{line}: output"))
}

/// The last few hundred bytes of what a program said.
fn end_of(text: &[u8]) -> String {
    let from = text.len().saturating_sub(400);
    String::from_utf8_lossy(&text[from..]).trim().to_owned()
}

/// Output must be this.
pub fn expect(what: &str, got: &str, wanted: &str) -> Result<()> {
    if got.trim_end() != wanted {
        let clip = |t: &str| t.chars().take(200).collect::<String>();
        bail!(
            "{what}: wanted {:?}, got {:?}",
            clip(wanted),
            clip(got.trim_end())
        );
    }
    Ok(())
}

/// FNV-1a of 64 bits, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Numbers that look random and are the same every time.
pub struct Numbers(u64);

impl Numbers {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Lines of words, about that many bytes.
pub fn text(seed: u64, bytes: usize) -> String {
    const WORDS: &[&str] = &[
        "kernel", "the", "of", "stub", "page", "and", "to", "signal", "file", "a", "in", "futex",
        "process", "is", "that", "it", "socket", "was", "for", "memory", "trap", "on", "thread",
    ];
    let mut numbers = Numbers::new(seed);
    let mut out = String::with_capacity(bytes + 16);
    let mut column = 0;
    while out.len() < bytes {
        let at = usize::try_from(numbers.below(WORDS.len() as u64)).unwrap_or(0);
        out.push_str(WORDS[at]);
        column += WORDS[at].len();
        if column > 60 {
            out.push_str(&format!(" {}\n", numbers.below(100_000)));
            column = 0;
        } else {
            out.push(' ');
        }
    }
    out.push('\n');
    out
}

/// A tree of `files` files of 100 bytes to 16 KiB in directories of 25.
pub fn tree(root: &Path, files: usize) -> Result<()> {
    let mut numbers = Numbers::new(7);
    for i in 0..files {
        let dir = root.join(format!("d{:03}", i / 25));
        if i % 25 == 0 {
            std::fs::create_dir_all(&dir)?;
        }
        // Most files are small, as in source trees.
        let size = 100 + (1usize << numbers.below(8)) * usize::try_from(numbers.below(128))?;
        std::fs::write(dir.join(format!("file{i}.txt")), text(i as u64 + 1, size))?;
    }
    Ok(())
}

/// Names and contents of all files below, in order.
pub fn contents(root: &Path) -> Result<Vec<u8>> {
    fn go(root: &Path, dir: &Path, out: &mut Vec<u8>) -> Result<()> {
        let mut entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                go(root, &path, out)?;
            } else {
                out.extend(path.strip_prefix(root)?.as_os_str().as_encoded_bytes());
                out.push(0);
                std::fs::File::open(&path)?.read_to_end(out)?;
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    go(root, root, &mut out)?;
    Ok(out)
}

/// A server that ends with the workload.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it says goes to a file.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        let log = Path::new(SCRATCH).join(format!("{program}.log"));
        let file = std::fs::File::create(&log)?;
        let child = Command::new(program)
            .args(args)
            .current_dir(SCRATCH)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| program.to_owned())?;
        Ok(Self { child, log })
    }

    /// Waits until something listens on a port of the loopback address.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}: {}", self.said());
            }
            if Instant::now() > end {
                bail!("nothing listens on port {port} after 20 s: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// It must still be there.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended with {status}: {}", self.said());
        }
        Ok(())
    }

    fn said(&self) -> String {
        end_of(&std::fs::read(&self.log).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_fnv() {
        assert_eq!(digest(b""), "cbf29ce484222325");
        assert_eq!(digest(b"a"), "af63dc4c8601ec8c");
    }

    #[test]
    fn input_is_the_same_every_time() {
        assert_eq!(text(3, 1000), text(3, 1000));
        assert_ne!(text(3, 1000), text(4, 1000));
        assert!(text(3, 1000).lines().count() > 5);
        let mut n = Numbers::new(1);
        assert!((0..1000).all(|_| n.below(10) < 10));
    }

    #[test]
    fn expectations() {
        assert!(expect("x", "a\n", "a").is_ok());
        assert!(expect("x", "b", "a").is_err());
    }
}
