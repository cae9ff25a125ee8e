//! What the guest prints: one JSON object a line on its standard output.

use serde::{Deserialize, Serialize};
use std::io::Write;

/// A line of the guest's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Line {
    /// The timed part begins now. The host notes when the line arrives.
    Begin,
    /// The timed part has just ended; the guest's own clock says it took so long. The host compares that with its clock.
    End {
        /// Seconds since `Begin`.
        seconds: f64,
    },
    /// What was measured, after all checks.
    Result {
        /// In the unit of the item: nanoseconds for one operation, seconds, or operations per second.
        value: f64,
        /// A hash of what the program computed, to be the same under every runtime.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
    /// Something went wrong, or a check failed.
    Failed {
        /// What was wanted, and what was found.
        reason: String,
    },
    /// Can't be measured here: a program is missing.
    Skipped {
        /// Which.
        reason: String,
    },
}

/// Prints a line and makes sure that it is out.
pub fn say(line: &Line) {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    let mut out = std::io::stdout().lock();
    // A reader that has gone ends the run from its side.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_pipe() {
        let lines = [
            Line::Begin,
            Line::End { seconds: 0.25 },
            Line::Result {
                value: 12.5,
                digest: Some("ab".into()),
            },
            Line::Result {
                value: 1e9,
                digest: None,
            },
            Line::Failed {
                reason: "wanted \"a\"\nfound b".into(),
            },
        ];
        for line in lines {
            let text = serde_json::to_string(&line).unwrap();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }
}
