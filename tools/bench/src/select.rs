//! Which items to run: names, globs, groups.

/// Whether a name matches a glob: `*` is any run of characters, `?` any one.
pub fn glob(pattern: &str, name: &str) -> bool {
    fn go(p: &[u8], n: &[u8]) -> bool {
        match (p.first(), n.first()) {
            (None, None) => true,
            (Some(b'*'), _) => go(&p[1..], n) || (!n.is_empty() && go(p, &n[1..])),
            (Some(b'?'), Some(_)) => go(&p[1..], &n[1..]),
            (Some(a), Some(b)) if a == b => go(&p[1..], &n[1..]),
            _ => false,
        }
    }
    go(pattern.as_bytes(), name.as_bytes())
}

/// Whether an item is wanted: no patterns want everything, and a pattern may also be the name of a group.
pub fn wanted(patterns: &[String], group: &str, name: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|p| p == group || glob(p, name))
}

/// Patterns that want nothing: typing errors, worth a message.
pub fn useless<'a>(patterns: &'a [String], items: &[(&str, &str)]) -> Vec<&'a str> {
    patterns
        .iter()
        .filter(|p| !items.iter().any(|(g, n)| p.as_str() == *g || glob(p, n)))
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (p, n) in [
            ("*", ""),
            ("read-*", "read-null-1"),
            ("*pong", "futex-pingpong"),
            ("a?c", "abc"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(glob(p, n), "{p} {n}");
        }
        for (p, n) in [
            ("", "a"),
            ("a", ""),
            ("a?", "a"),
            ("read", "read-null"),
            ("*x", "y"),
        ] {
            assert!(!glob(p, n), "{p} {n}");
        }
    }

    #[test]
    fn groups_and_names() {
        let only = |p: &str| vec![p.to_owned()];
        assert!(wanted(&[], "micro", "null"));
        assert!(wanted(&only("micro"), "micro", "null"));
        assert!(!wanted(&only("real"), "micro", "null"));
        assert!(wanted(&only("nu*"), "micro", "null"));
        assert_eq!(
            useless(&["nul".into(), "n*".into()], &[("micro", "null")]),
            ["nul"]
        );
    }
}
