//! Names of sockets: paths and abstract names (unix(7)).

use super::UnixSocket;
use crate::event::timerfd::HasTimers;
use crate::net::SockAddr;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Bytes of `sun_family`.
const FAMILY: usize = 2;
/// Bytes of `struct sockaddr_un`.
const FULL: usize = 110;

/// A socket's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Name {
    /// None yet.
    #[default]
    Unnamed,
    /// An abstract name, without its leading NUL.
    Abstract(Arc<[u8]>),
    /// A path, as bind(2) got it.
    Path(Arc<[u8]>),
}

impl Name {
    /// The name that an address says: EINVAL for another family, no name at all, or too long a one.
    pub fn parse(addr: &SockAddr) -> Result<Self> {
        let bytes = addr.bytes();
        if bytes.len() <= FAMILY
            || bytes.len() > FULL
            || addr.family() != Some(libc::AF_UNIX as u16)
        {
            return Err(Errno::EINVAL);
        }
        let name = &bytes[FAMILY..];
        if name[0] == 0 {
            return Ok(Self::Abstract(name[1..].into()));
        }
        let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
        Ok(Self::Path(name[..end].into()))
    }

    /// The address: only the family for an unnamed socket.
    pub fn address(&self) -> SockAddr {
        let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        match self {
            Self::Unnamed => {}
            Self::Abstract(name) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            Self::Path(path) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
        }
        // At most 111 bytes: a path of 108 without its NUL got one.
        SockAddr::new(&bytes).unwrap_or_default()
    }

    /// The address where an unnamed socket has none at all (recvmsg(2)).
    pub fn sender_address(&self) -> SockAddr {
        match self {
            Self::Unnamed => SockAddr::default(),
            named => named.address(),
        }
    }
}

#[derive(Default)]
struct Table {
    /// By socket type and name.
    names: HashMap<(i32, Arc<[u8]>), Weak<UnixSocket>>,
    next_auto: u32,
    /// All sockets that are open or wait for accept(2), by inode number.
    open: BTreeMap<u64, Weak<UnixSocket>>,
}

/// The sockets and abstract names of a network namespace. The lock is a leaf.
#[derive(Default)]
pub struct Namespace {
    table: Mutex<Table>,
    /// For the delayed search of unreachable files.
    pub timers: std::sync::OnceLock<Weak<dyn HasTimers>>,
}

/// Automatic names are five hexadecimal digits.
const AUTO_NAMES: u32 = 1 << 20;

impl Namespace {
    /// Gives `socket` an abstract name. EADDRINUSE.
    pub fn bind(&self, name: &Arc<[u8]>, socket: &Arc<UnixSocket>) -> Result<()> {
        let mut table = self.table.lock();
        let key = (socket.kind(), Arc::clone(name));
        if table.names.get(&key).is_some_and(|s| s.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        table.names.insert(key, Arc::downgrade(socket));
        Ok(())
    }

    /// Gives `socket` a free abstract name of five hexadecimal digits. ENOSPC.
    pub fn autobind(&self, socket: &Arc<UnixSocket>) -> Result<Arc<[u8]>> {
        let mut table = self.table.lock();
        for _ in 0..AUTO_NAMES {
            let n = table.next_auto % AUTO_NAMES;
            table.next_auto = n + 1;
            let name: Arc<[u8]> = format!("{n:05x}").into_bytes().into();
            let key = (socket.kind(), Arc::clone(&name));
            if table.names.get(&key).is_none_or(|s| s.strong_count() == 0) {
                table.names.insert(key, Arc::downgrade(socket));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// The socket of type `kind` that has an abstract name. ECONNREFUSED.
    pub fn find(&self, kind: i32, name: &Arc<[u8]>) -> Result<Arc<UnixSocket>> {
        let key = (kind, Arc::clone(name));
        self.table
            .lock()
            .names
            .get(&key)
            .and_then(Weak::upgrade)
            .ok_or(Errno::ECONNREFUSED)
    }

    /// Takes a name back, if it is `socket`'s: accepted sockets show their listener's.
    pub fn release(&self, kind: i32, name: &Arc<[u8]>, socket: &Weak<UnixSocket>) {
        let key = (kind, Arc::clone(name));
        let mut table = self.table.lock();
        if table.names.get(&key).is_some_and(|s| s.ptr_eq(socket)) {
            table.names.remove(&key);
        }
    }

    /// A socket has been made.
    pub(super) fn opened(&self, ino: u64, socket: &Weak<UnixSocket>) {
        self.table.lock().open.insert(ino, socket.clone());
    }

    /// It is gone.
    pub(super) fn closed(&self, ino: u64) {
        self.table.lock().open.remove(&ino);
    }

    /// The text of /proc/net/unix.
    pub fn text(&self) -> Vec<u8> {
        // Upgraded references may be the last ones: they go after the lock.
        let sockets: Vec<_> = self
            .table
            .lock()
            .open
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path
"
        .to_vec();
        for socket in sockets {
            socket.describe(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(name: &[u8]) -> SockAddr {
        SockAddr::new(&[&1u16.to_ne_bytes(), name].concat()).unwrap()
    }

    #[test]
    fn paths_end_at_their_nul() {
        let name = Name::parse(&addr(b"/tmp/s\0garbage")).unwrap();
        assert_eq!(name, Name::Path(b"/tmp/s"[..].into()));
        assert_eq!(name.address(), addr(b"/tmp/s\0"));
    }

    #[test]
    fn abstract_names_are_all_their_bytes() {
        let name = Name::parse(&addr(b"\0a\0b\0")).unwrap();
        assert_eq!(name, Name::Abstract(b"a\0b\0"[..].into()));
        assert_eq!(name.address(), addr(b"\0a\0b\0"));
    }

    #[test]
    fn a_path_may_fill_the_address() {
        let name = Name::parse(&addr(&[b'x'; 108])).unwrap();
        assert_eq!(name.address().len(), 111);
        assert_eq!(Name::parse(&addr(&[b'x'; 109])), Err(Errno::EINVAL));
    }

    #[test]
    fn other_families_and_nothing_are_refused() {
        assert_eq!(Name::parse(&addr(b"")), Err(Errno::EINVAL));
        let inet = SockAddr::new(&[2, 0, b'x']).unwrap();
        assert_eq!(Name::parse(&inet), Err(Errno::EINVAL));
        assert_eq!(Name::Unnamed.address().len(), 2);
    }
}
