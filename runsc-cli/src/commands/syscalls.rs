//! `runsc syscalls`: what programs can use, from the very table that dispatches.

use super::Outcome;
use crate::args::{SyscallFormat, Syscalls};
use sentry::syscalls::{Row, Support, table};
use serde_json::json;
use std::fmt::Write as _;

/// Prints the list.
pub fn execute(args: &Syscalls) -> Outcome {
    let text = render(args.format, table::ROWS);
    // A reader that has seen enough is no error.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    Ok(0)
}

/// Every call of the architecture, by number, with its row if it has one.
fn all(rows: &[Row]) -> impl Iterator<Item = (u64, &'static str, Support)> {
    arch::nr::ALL.iter().map(move |&(nr, name)| {
        let support = rows
            .iter()
            .find(|row| row.nr == nr)
            .map_or(Support::No, |row| row.support);
        (nr, name, support)
    })
}

fn word(support: Support) -> (&'static str, &'static str) {
    match support {
        Support::Full => ("full", ""),
        Support::Partial(note) => ("partial", note),
        Support::No => ("no", ""),
    }
}

fn render(format: SyscallFormat, rows: &[Row]) -> String {
    let mut out = String::new();
    match format {
        SyscallFormat::Json => {
            let list: Vec<_> = all(rows)
                .map(|(nr, name, support)| {
                    let (level, note) = word(support);
                    json!({ "number": nr, "name": name, "support": level, "note": note })
                })
                .collect();
            out = serde_json::Value::from(list).to_string() + "\n";
        }
        SyscallFormat::Table => {
            let _ = writeln!(out, "{:>4}  {:<24} {:<8} NOTE", "NR", "NAME", "SUPPORT");
            for (nr, name, support) in all(rows) {
                let (level, note) = word(support);
                let _ = writeln!(
                    out,
                    "{}",
                    format!("{nr:>4}  {name:<24} {level:<8} {note}").trim_end()
                );
            }
        }
        SyscallFormat::Markdown => {
            out.push_str("| number | name | support | note |\n|---:|---|---|---|\n");
            for (nr, name, support) in all(rows) {
                let (level, note) = word(support);
                let _ = writeln!(
                    out,
                    "| {nr} | `{name}` | {level} | {} |",
                    note.replace('|', "\\|")
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Row] = &[
        Row {
            nr: 0,
            support: Support::Full,
        },
        Row {
            nr: 1,
            support: Support::Partial("a|b"),
        },
    ];

    #[test]
    fn forms_agree() {
        let table = render(SyscallFormat::Table, ROWS);
        assert!(
            table.contains("   0  read                     full\n"),
            "{table}"
        );
        let markdown = render(SyscallFormat::Markdown, ROWS);
        assert!(markdown.contains("| 1 | `write` | partial | a\\|b |\n"));
        let list: serde_json::Value =
            serde_json::from_str(&render(SyscallFormat::Json, ROWS)).unwrap();
        assert_eq!(
            list[2],
            json!({ "number": 2, "name": "open", "support": "no", "note": "" })
        );
        assert_eq!(table.lines().count() - 1, list.as_array().unwrap().len());
    }
}
