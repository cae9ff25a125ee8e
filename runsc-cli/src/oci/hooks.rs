//! `hooks` of config.json.

use super::wrong;
use crate::failure::Result;
use crate::plan::{Hook, Hooks};
use std::time::Duration;

/// Checks and converts them.
pub fn convert(hooks: Option<&oci_spec::runtime::Hooks>) -> Result<Hooks> {
    let Some(hooks) = hooks else {
        return Ok(Hooks::default());
    };
    if hooks.start_container().iter().flatten().next().is_some() {
        // A program of the container's, before the container's own: there is no place for it yet.
        return Err(wrong(
            "hooks.startContainer is not supported: it would run inside the container; take it out of the bundle",
        ));
    }
    Ok(Hooks {
        prestart: all("prestart", hooks.prestart())?,
        create_runtime: all("createRuntime", hooks.create_runtime())?,
        create_container: all("createContainer", hooks.create_container())?,
        poststart: all("poststart", hooks.poststart())?,
        poststop: all("poststop", hooks.poststop())?,
    })
}

fn all(name: &str, hooks: &Option<Vec<oci_spec::runtime::Hook>>) -> Result<Vec<Hook>> {
    hooks.iter().flatten().map(|h| one(name, h)).collect()
}

fn one(name: &str, hook: &oci_spec::runtime::Hook) -> Result<Hook> {
    let path = hook.path();
    if !path.is_absolute() {
        return Err(wrong(format!(
            "hooks.{name}: path {path:?} is not an absolute path"
        )));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(n) => match u64::try_from(n) {
            Ok(n @ 1..) => Some(Duration::from_secs(n)),
            _ => {
                return Err(wrong(format!(
                    "hooks.{name}: timeout is {n}; it must be greater than zero"
                )));
            }
        },
    };
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.into(), value.into())
    };
    Ok(Hook {
        path: path.clone(),
        args: hook.args().iter().flatten().map(Into::into).collect(),
        env: hook.env().iter().flatten().map(pair).collect(),
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn converted(hooks: Value) -> Result<Hooks> {
        convert(Some(&serde_json::from_value(hooks).unwrap()))
    }

    #[test]
    fn hooks_are_checked() {
        let hooks = converted(json!({
            "createRuntime": [{"path": "/bin/x", "args": ["x", "y"], "env": ["A=b=c"], "timeout": 3}],
            "poststop": [{"path": "/bin/z"}],
        }))
        .unwrap();
        let hook = &hooks.create_runtime[0];
        assert_eq!(hook.env, [("A".into(), "b=c".into())]);
        assert_eq!(hook.timeout, Some(Duration::from_secs(3)));
        assert!(hooks.poststop[0].timeout.is_none() && hooks.prestart.is_empty());
        let text = |v| converted(v).unwrap_err().message;
        assert!(text(json!({"prestart": [{"path": "x"}]})).contains("hooks.prestart"));
        assert!(text(json!({"poststart": [{"path": "/x", "timeout": 0}]})).contains("timeout"));
        assert!(text(json!({"startContainer": [{"path": "/x"}]})).contains("startContainer"));
    }
}
