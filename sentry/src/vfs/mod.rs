//! The virtual file system.
//!
//! - [`file`]: open file descriptions and what an implementation of one provides.

pub mod file;

pub use file::{DirSink, File, FileOps, MapRequest, MapSource, SeekFrom};

/// Root, working directory, umask (CLONE_FS shares it).
pub struct FsContext {}
/// Open descriptors (CLONE_FILES shares it).
pub struct FdTable {}
