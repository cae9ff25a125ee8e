//! Containers: bundles, runs, and what is left of them.

pub mod config;
pub mod container;
pub mod native;
pub mod processes;
pub mod stage;

use crate::prefix::Named;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// A way of running bundles: `PREFIX run --bundle DIR ID`.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// What reports call it.
    pub name: String,
    /// Program and options.
    pub words: Vec<String>,
}

impl Runtime {
    /// No runtime: this very program, which sets the same files and namespaces up and executes the guest.
    pub fn native() -> Result<Self> {
        let me = std::env::current_exe().context("own path")?;
        let me = me.to_str().context("own path is not UTF-8")?.to_owned();
        Ok(Self {
            name: crate::results::NATIVE.into(),
            words: vec![me, native::COMMAND.into()],
        })
    }

    /// A runtime of the command line. Its program must be there; a relative path is made absolute.
    pub fn named(named: Named) -> Result<Self> {
        let Named { name, mut words } = named;
        let program = &words[0];
        let found: PathBuf = if program.contains('/') {
            std::fs::canonicalize(program)
                .with_context(|| format!("--runtime {name}: {program}"))?
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .chain(["/usr/sbin".into(), "/sbin".into()])
                .map(|d| d.join(program))
                .find(|p| p.is_file())
                .with_context(|| format!("--runtime {name}: no {program} in the path"))?
        };
        words[0] = found
            .to_str()
            .context("a runtime's path is not UTF-8")?
            .to_owned();
        Ok(Self { name, words })
    }

    /// The command so far.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    /// What `--version` says, on one line.
    pub fn version(&self) -> Result<String> {
        if self.is_native() {
            return Ok(String::new());
        }
        let out = self.command().arg("--version").output()?;
        if !out.status.success() {
            bail!(
                "{} --version: {}: {}",
                self.words.join(" "),
                out.status,
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        let text = String::from_utf8_lossy(&out.stdout);
        Ok(text.lines().take(2).collect::<Vec<_>>().join(", "))
    }

    /// Whether it is none.
    pub fn is_native(&self) -> bool {
        self.name == crate::results::NATIVE
    }
}
