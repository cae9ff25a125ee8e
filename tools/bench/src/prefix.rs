//! `NAME=COMMAND LINE` of `--runtime`.

use anyhow::{Result, bail};

/// A runtime as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What reports call it.
    pub name: String,
    /// Program and options that come before `run`.
    pub words: Vec<String>,
}

/// Reads `runc`, `ours=target/release/runsc` or `gvisor=/path/runsc --platform=systrap --network=none`.
pub fn parse(text: &str) -> Result<Named> {
    let (name, line) = match text.split_once('=') {
        Some((name, line)) if !name.contains(['/', ' ']) => (name, line),
        _ => {
            let program = text.split_whitespace().next().unwrap_or(text);
            (program.rsplit('/').next().unwrap_or(program), text)
        }
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(fine) {
        bail!(
            "--runtime {text:?}: a name of letters, digits, `-`, `_` and `.` is wanted before the `=`"
        );
    }
    if name == "native" {
        bail!("--runtime {text:?}: `native` is the name of runs without a runtime");
    }
    let words = split(line)?;
    if words.is_empty() {
        bail!("--runtime {text:?}: the command line is empty");
    }
    Ok(Named {
        name: name.to_owned(),
        words,
    })
}

/// Splits at blanks; '…' and "…" keep them, \ takes the next character as it is (not within '…').
pub fn split(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => bail!("{line:?} ends in a backslash"),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        bail!("{line:?} has an open quote");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(split("a  b\tc").unwrap(), ["a", "b", "c"]);
        assert_eq!(
            split(r#"'a b' "c 'd'" e\ f"#).unwrap(),
            ["a b", "c 'd'", "e f"]
        );
        assert_eq!(split(r#"--x='' "" a"b"c"#).unwrap(), ["--x=", "", "abc"]);
        assert!(split("'a").is_err());
        assert!(split("a\\").is_err());
        assert!(split("").unwrap().is_empty());
    }

    #[test]
    fn names() {
        let of = |t| parse(t).map(|n| (n.name, n.words)).unwrap();
        assert_eq!(of("runc"), ("runc".into(), vec!["runc".into()]));
        assert_eq!(of("/usr/sbin/crun").0, "crun");
        let (name, words) = of("gvisor=/x/runsc --platform=systrap --network=none");
        assert_eq!(name, "gvisor");
        assert_eq!(words, ["/x/runsc", "--platform=systrap", "--network=none"]);
        let (name, words) = of("/x/runsc --platform=systrap");
        assert_eq!((name.as_str(), words.len()), ("runsc", 2));
    }

    #[test]
    fn what_is_no_name() {
        for text in ["", "=x", "a+b=c", "x=", "native=runc", "native"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
