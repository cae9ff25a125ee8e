//! User and group ids of the sandbox's user namespace (user_namespaces(7)).

use super::failed;
use crate::failure::{Context, Failure, Result};
use crate::plan::{IdMaps, IdRange};
use nix::unistd::{getegid, geteuid};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// Writes the maps of process `pid`. With `wanted`, those; else for root the same ids inside as outside, for a user
/// himself as 0, with his subordinate ids behind that if the host has given him some.
pub fn write(pid: i32, wanted: Option<&IdMaps>) -> Result<()> {
    let root = geteuid().is_root();
    if let Some(maps) = wanted {
        if root {
            return write_maps(pid, &maps.uid, &maps.gid);
        }
        if let (Some(uid), Some(gid)) = (
            single(&maps.uid, geteuid().as_raw()),
            single(&maps.gid, getegid().as_raw()),
        ) {
            return write_single(pid, uid, gid);
        }
        return subordinate(pid, &maps.uid, &maps.gid);
    }
    if root {
        return write_maps(pid, &identity("uid")?, &identity("gid")?);
    }
    match own_maps() {
        // Without the helpers, or where they refuse: one id is enough for most programs.
        Some(maps) if subordinate(pid, &maps.uid, &maps.gid).is_ok() => Ok(()),
        _ => write_single(pid, 0, 0),
    }
}

/// The inside id if the map is of one id only, the caller's own.
fn single(map: &[IdRange], own: u32) -> Option<u32> {
    match map {
        [one] if one.count == 1 && one.outside == own => Some(one.inside),
        _ => None,
    }
}

/// All ids that this process's own namespace has, unchanged.
fn identity(kind: &str) -> Result<Vec<IdRange>> {
    let path = format!("/proc/self/{kind}_map");
    let text = fs::read_to_string(&path).context(|| format!("read {path} (is /proc mounted?)"))?;
    Ok(parse_map(&text)
        .into_iter()
        .map(|r| IdRange {
            outside: r.inside,
            ..r
        })
        .collect())
}

fn parse_map(text: &str) -> Vec<IdRange> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some(IdRange {
            inside: numbers.next()?.ok()?,
            outside: numbers.next()?.ok()?,
            count: numbers.next()?.ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

fn render(map: &[IdRange]) -> String {
    map.iter().fold(String::new(), |mut text, r| {
        let _ = writeln!(text, "{} {} {}", r.inside, r.outside, r.count);
        text
    })
}

fn write_maps(pid: i32, uid: &[IdRange], gid: &[IdRange]) -> Result<()> {
    for (kind, map) in [("uid", uid), ("gid", gid)] {
        let path = format!("/proc/{pid}/{kind}_map");
        fs::write(&path, render(map)).map_err(|e| {
            failed(
                &format!(
                    "map {kind}s of the sandbox ({})",
                    render(map).trim_end().replace('\n', ", ")
                ),
                e,
            )
        })?;
    }
    Ok(())
}

/// One id, the caller's own: the kernel lets everybody do that, if setgroups(2) is given up.
fn write_single(pid: i32, uid: u32, gid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/setgroups");
    fs::write(&path, "deny").context(|| format!("write {path}"))?;
    let one = |inside, outside| {
        [IdRange {
            inside,
            outside,
            count: 1,
        }]
    };
    write_maps(
        pid,
        &one(uid, geteuid().as_raw()),
        &one(gid, getegid().as_raw()),
    )
}

/// By newuidmap(1) and newgidmap(1).
fn subordinate(pid: i32, uid: &[IdRange], gid: &[IdRange]) -> Result<()> {
    for (helper, map) in [("newuidmap", uid), ("newgidmap", gid)] {
        let mut command = Command::new(helper);
        command.arg(pid.to_string());
        for range in map {
            command.args([range.inside, range.outside, range.count].map(|n| n.to_string()));
        }
        let output = command
            .output()
            .map_err(|e| failed(&format!("{helper}, which maps the ids of the sandbox"), e))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("{helper}: {}", text.trim())));
        }
    }
    Ok(())
}

/// The caller as 0 and his subordinate ids (subuid(5), subgid(5)) from 1 on; `None` if he has none.
fn own_maps() -> Option<IdMaps> {
    let user = nix::unistd::User::from_uid(geteuid())
        .ok()
        .flatten()
        .map(|u| u.name);
    let ids = geteuid().as_raw();
    let range = |file: &str, own: u32| {
        let (outside, count) =
            subordinate_range(&fs::read_to_string(file).ok()?, user.as_deref(), ids)?;
        Some(vec![
            IdRange {
                inside: 0,
                outside: own,
                count: 1,
            },
            IdRange {
                inside: 1,
                outside,
                count,
            },
        ])
    };
    Some(IdMaps {
        uid: range("/etc/subuid", ids)?,
        gid: range("/etc/subgid", getegid().as_raw())?,
    })
}

/// The first range for the user in the text of /etc/subuid: (first, count).
fn subordinate_range(text: &str, user: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        if Some(who) != user && who.parse() != Ok(uid) {
            return None;
        }
        let (first, count) = (
            fields.next()?.parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        );
        (count > 0).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_lines_of_three_numbers() {
        let map = parse_map("         0          0 4294967295\n");
        assert_eq!(
            map,
            [IdRange {
                inside: 0,
                outside: 0,
                count: u32::MAX
            }]
        );
        assert_eq!(render(&map), "0 0 4294967295\n");
        assert!(parse_map("garbage\n1 2\n").is_empty());
    }

    #[test]
    fn subordinate_ids_are_found_by_name_or_number() {
        let text = "other:1:2\nme:100000:65536\n1000:5:6\n";
        assert_eq!(
            subordinate_range(text, Some("me"), 7),
            Some((100_000, 65_536))
        );
        assert_eq!(subordinate_range(text, None, 1000), Some((5, 6)));
        assert_eq!(subordinate_range(text, Some("nobody"), 9), None);
    }
}
