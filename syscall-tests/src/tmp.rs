//! A scratch directory for each case.

use crate::report::{errno_name, fail};
use crate::sys::{chdir, mkdir};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::OnceLock;

static SCRATCH: OnceLock<PathBuf> = OnceLock::new();

/// Names the directory that [`tmp`] will make. Called by the harness, which
/// also removes the directory after the case.
pub(crate) fn set_scratch(path: PathBuf) {
    let _ = SCRATCH.set(path);
}

/// Makes the case's scratch directory (mode 0755, below TMPDIR) and changes
/// into it, so that cases use relative paths. The umask becomes 022.
pub fn tmp() {
    crate::sys::umask(0o022);
    let path = cpath(&tmp_path());
    match mkdir(&path, 0o755) {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(e) => fail(format_args!("mkdir {path:?}: {}", errno_name(e))),
    }
    if let Err(e) = chdir(&path) {
        fail(format_args!("chdir {path:?}: {}", errno_name(e)));
    }
}

/// The absolute path of the scratch directory.
pub fn tmp_path() -> String {
    match SCRATCH.get() {
        Some(path) => path.to_string_lossy().into_owned(),
        None => fail("no scratch directory outside of a case"),
    }
}

/// A C string of any text without NUL.
pub fn cpath(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
