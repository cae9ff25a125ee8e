//! Address spaces: one host process each.

/// One stub process and its region. Send + Sync. When the last reference is
/// dropped, a process that still lives is killed.
pub struct AddressSpace {}

impl AddressSpace {
    /// Copies from the application's memory; the number of bytes copied
    /// before the first fault. `process_vm_readv(2)`.
    pub fn read(&self, _addr: u64, _buf: &mut [u8]) -> usize {
        panic!("not there yet")
    }

    /// Copies to the application's memory; the number of bytes copied before
    /// the first fault. Respects page protections. `process_vm_writev(2)`.
    pub fn write(&self, _addr: u64, _buf: &[u8]) -> usize {
        panic!("not there yet")
    }

    /// SIGKILL for the host process. `Dead` events follow from
    /// [`crate::Platform::reap`] for threads that are running.
    pub fn kill(&self) {
        panic!("not there yet")
    }

    pub fn is_dead(&self) -> bool {
        panic!("not there yet")
    }

    /// The host process, as the host itself told us.
    pub fn host_pid(&self) -> Option<i32> {
        panic!("not there yet")
    }
}
