//! Hooks of a bundle (OCI config.md, "POSIX-platform Hooks"): host programs that are told of the container's life.
//!
//! All run on the host, in its namespaces, with the bundle as working directory and the container's state on standard
//! input. (Of `createContainer` the specification wants the container's namespaces; those of ours hold the Sentry alone,
//! and no host program can do anything for the container from there.)

use super::failed;
use crate::failure::{Failure, Result};
use crate::plan::{Hook, Hooks, Plan};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Most that is kept of what a hook says, bytes.
const MOST_OUTPUT: u64 = 64 << 10;

/// A container's hooks, and what they are told.
pub struct Runner {
    hooks: Hooks,
    id: String,
    bundle: std::path::PathBuf,
    annotations: serde_json::Value,
    pid: i32,
}

impl Runner {
    /// For a sandbox whose process is `pid`.
    pub fn new(plan: &Plan, pid: i32) -> Self {
        Self {
            hooks: plan.hooks.clone(),
            id: plan.id.clone(),
            bundle: plan.bundle.clone(),
            annotations: serde_json::json!(plan.annotations),
            pid,
        }
    }

    /// Before the root is opened: `prestart`, `createRuntime`, `createContainer`.
    pub fn creating(&self) -> Result<()> {
        let all = [
            ("prestart", &self.hooks.prestart),
            ("createRuntime", &self.hooks.create_runtime),
            ("createContainer", &self.hooks.create_container),
        ];
        all.iter()
            .try_for_each(|(name, hooks)| self.run_all(name, hooks, "creating"))
    }

    /// The program runs: `poststart`.
    pub fn started(&self) -> Result<()> {
        self.run_all("poststart", &self.hooks.poststart, "running")
    }

    /// Everything is gone: `poststop`. What fails is logged, and the rest run all the same.
    pub fn stopped(&self) {
        for hook in &self.hooks.poststop {
            if let Err(e) = self.run("poststop", hook, "stopped") {
                tracing::warn!("{e}");
            }
        }
    }

    fn run_all(&self, name: &str, hooks: &[Hook], status: &str) -> Result<()> {
        hooks.iter().try_for_each(|h| self.run(name, h, status))
    }

    fn state(&self, status: &str) -> String {
        let mut state = serde_json::json!({
            "ociVersion": crate::args::SPEC_VERSION,
            "id": self.id,
            "status": status,
            "bundle": self.bundle,
        });
        // A stopped container has no process.
        if status != "stopped" {
            state["pid"] = self.pid.into();
        }
        if self.annotations.as_object().is_some_and(|a| !a.is_empty()) {
            state["annotations"] = self.annotations.clone();
        }
        state.to_string()
    }

    fn run(&self, name: &str, hook: &Hook, status: &str) -> Result<()> {
        let what = format!("hook {name} {}", hook.path.display());
        let mut command = Command::new(&hook.path);
        if let Some((first, rest)) = hook.args.split_first() {
            command.arg0(first).args(rest);
        }
        command
            .env_clear()
            .envs(hook.env.iter().cloned())
            .current_dir(&self.bundle)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|e| failed(&what, crate::oci::errno_text(&e)))?;
        let state = self.state(status);
        if let Some(mut stdin) = child.stdin.take() {
            // It fits into the pipe, or nearly; a hook that doesn't read it is not at fault.
            let _ = stdin.write_all(state.as_bytes());
        }
        let out = [
            child.stdout.take().map(collect),
            child.stderr.take().map(collect),
        ];
        let ended = wait(&mut child, hook.timeout).map_err(|e| failed(&what, e))?;
        // What it has left running may hold the pipes open: no word of that is waited for.
        let text: String = out
            .into_iter()
            .flatten()
            .filter_map(|said| said.recv_timeout(Duration::from_millis(200)).ok())
            .collect();
        let said = match text.trim() {
            "" => String::new(),
            text => format!(": {text}"),
        };
        match ended {
            None => {
                let seconds = hook.timeout.unwrap_or_default().as_secs();
                Err(Failure::new(format!(
                    "{what}: not over after its timeout of {seconds} s{said}"
                )))
            }
            Some(status) if status.success() => {
                tracing::debug!("{what}{said}");
                Ok(())
            }
            Some(status) => Err(Failure::new(match (status.code(), status.signal()) {
                (Some(code), _) => format!("{what}: exit status {code}{said}"),
                (_, signal) => format!("{what}: signal {}{said}", signal.unwrap_or(0)),
            })),
        }
    }
}

/// Reads a pipe to its end on a thread of its own, so that a hook that says much is not held up.
fn collect(mut from: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (to, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.by_ref().take(MOST_OUTPUT).read_to_end(&mut text);
        let _ = to.send(String::from_utf8_lossy(&text).into_owned());
        let _ = std::io::copy(&mut from, &mut std::io::sink());
    });
    said
}

/// Its end; `None` if it had to be killed because its time was over.
fn wait(child: &mut Child, timeout: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let Some(timeout) = timeout else {
        return child.wait().map(Some);
    };
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(dir: &std::path::Path) -> Runner {
        Runner {
            hooks: Hooks::default(),
            id: "it".into(),
            bundle: dir.to_owned(),
            annotations: serde_json::json!({"a": "b"}),
            pid: 7,
        }
    }

    fn shell(script: &str, timeout: Option<u64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(Into::into).into(),
            env: vec![("X".into(), "y z".into())],
            timeout: timeout.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_hook_gets_state_environment_and_directory() {
        let dir = crate::testing::TempDir::new();
        let script = "cat > state; echo \"$X $0 $HOME\" > env";
        runner(dir.path())
            .run("prestart", &shell(script, None), "creating")
            .unwrap();
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let state: serde_json::Value = serde_json::from_str(&read("state")).unwrap();
        assert_eq!(
            (&state["id"], &state["pid"]),
            (&"it".into(), &7.into()),
            "{state}"
        );
        assert_eq!(
            (&state["status"], &state["annotations"]["a"]),
            (&"creating".into(), &"b".into())
        );
        assert_eq!(read("env"), "y z sh \n");
    }

    #[test]
    fn a_failure_says_what_the_hook_said() {
        let dir = crate::testing::TempDir::new();
        let runner = runner(dir.path());
        let message = |hook| {
            runner
                .run("poststart", &hook, "running")
                .unwrap_err()
                .message
        };
        let text = message(shell("echo no such bridge >&2; exit 3", None));
        assert_eq!(
            text,
            "hook poststart /bin/sh: exit status 3: no such bridge"
        );
        let text = message(shell("sleep 60", Some(0)));
        assert!(text.contains("timeout of 0 s"), "{text}");
        let missing = Hook {
            path: "/no/such/hook".into(),
            ..shell("", None)
        };
        assert!(message(missing).contains("no such file or directory"));
    }
}
