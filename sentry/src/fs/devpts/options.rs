//! Mount options of devpts.

use arch::{Errno, Result};

/// kernel.pty.max.
pub const MAX: u32 = 4096;

/// The options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Owner of new terminals; the opener if nothing is said.
    pub uid: Option<u32>,
    /// Group of new terminals; the opener's if nothing is said.
    pub gid: Option<u32>,
    /// Permission bits of new terminals.
    pub mode: u32,
    /// Permission bits of `ptmx`.
    pub ptmxmode: u32,
    /// Terminals at most.
    pub max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            mode: 0o600,
            ptmxmode: 0,
            max: MAX,
        }
    }
}

impl Options {
    /// From the data of mount(2): `gid=5,mode=620,ptmxmode=666`. EINVAL for what is unknown or malformed.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let mut options = Self::default();
        for item in data.split(|b| *b == b',').filter(|i| !i.is_empty()) {
            let text = std::str::from_utf8(item).map_err(|_| Errno::EINVAL)?;
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let decimal = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
            let octal = || u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL);
            match key {
                "uid" => options.uid = Some(decimal()?),
                "gid" => options.gid = Some(decimal()?),
                "mode" => options.mode = octal()? & 0o7777,
                "ptmxmode" => options.ptmxmode = octal()? & 0o7777,
                "max" => {
                    options.max = decimal()?;
                    if options.max > MAX {
                        return Err(Errno::EINVAL);
                    }
                }
                // Every mount is a new instance.
                "newinstance" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// For /proc/mounts, with a leading comma.
    pub fn show(&self) -> Vec<u8> {
        let mut out = String::new();
        if let Some(uid) = self.uid {
            out += &format!(",uid={uid}");
        }
        if let Some(gid) = self.gid {
            out += &format!(",gid={gid}");
        }
        out += &format!(",mode={:03o},ptmxmode={:03o}", self.mode, self.ptmxmode);
        if self.max < MAX {
            out += &format!(",max={}", self.max);
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_shown() {
        let options = Options::parse(b"newinstance,gid=5,mode=620,ptmxmode=0666").unwrap();
        assert_eq!(options.show(), b",gid=5,mode=620,ptmxmode=666");
        assert_eq!(Options::default().show(), b",mode=600,ptmxmode=000");
        for bad in [&b"mode=9"[..], b"nope", b"max=4097", b"gid=", b"uid=-1"] {
            assert_eq!(Options::parse(bad), Err(Errno::EINVAL), "{bad:?}");
        }
    }
}
