//! Names in the file system.

use super::{Name, UnixSocket};
use crate::task::Cx;
use crate::vfs::walk::{At, WalkFlags};
use crate::vfs::{Access, Dev, FileType, names, perm};
use arch::{Errno, Result};
use std::sync::{Arc, Weak};

impl UnixSocket {
    /// Binds to a path: EINVAL when it has a name already, EADDRINUSE when the path is taken, and what mknod(2) gives.
    pub(super) fn bind_path(&self, cx: &Cx, path: Arc<[u8]>) -> Result<()> {
        if self.state.lock().name != Name::Unnamed {
            return Err(Errno::EINVAL);
        }
        let env = cx.env();
        let place = match names::mknod(
            &env,
            &At::Cwd,
            &path,
            libc::S_IFSOCK | 0o777,
            Dev::default(),
        ) {
            Err(Errno::EEXIST) => return Err(Errno::EADDRINUSE),
            other => other?,
        };
        let mut state = self.state.lock();
        if state.name != Name::Unnamed {
            // Another thread was faster; the node stays, as on Linux.
            return Err(Errno::EINVAL);
        }
        let me: Weak<Self> = self.me.clone();
        *place.inode().ext().socket.lock() = Some(me);
        state.name = Name::Path(path);
        state.place = Some(place);
        Ok(())
    }

    /// The socket bound to a path: EACCES, ECONNREFUSED, EPROTOTYPE, and what the walk gives.
    pub(super) fn find_path(&self, cx: &Cx, path: &[u8]) -> Result<Arc<Self>> {
        let env = cx.env();
        let place = env.resolve(&At::Cwd, path, WalkFlags::FOLLOW)?;
        perm::path(&env, &place, Access::WRITE)?;
        if place.inode().file_type() != FileType::Socket {
            return Err(Errno::ECONNREFUSED);
        }
        let bound = place
            .inode()
            .ext()
            .socket
            .lock()
            .as_ref()
            .and_then(Weak::upgrade);
        let socket = bound
            .and_then(|any| any.downcast::<Self>().ok())
            .ok_or(Errno::ECONNREFUSED)?;
        if socket.rx.lock().closed {
            return Err(Errno::ECONNREFUSED);
        }
        if socket.kind() != self.kind() {
            return Err(Errno::EPROTOTYPE);
        }
        Ok(socket)
    }
}
