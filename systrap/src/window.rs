//! The copy window of a slot.

/// View of a trapped thread's copy window.
pub struct Window<'a> {
    _t: std::marker::PhantomData<&'a mut ()>,
}

/// Room for output that a host call will produce; see [`Window::reserve`].
pub struct Reserved {
    _private: (),
}

impl Reserved {
    /// Where to let the host call write (at most the reserved length). The
    /// memory is shared with the stub: raw pointer only, never a reference.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        panic!("not there yet")
    }
}

impl Window<'_> {
    /// Fills `buf` from the stub's prefetched copy of `[addr, addr + len)`;
    /// false if it isn't there in whole. Each call copies anew: copy once,
    /// then use the copy.
    pub fn prefetched(&self, _addr: u64, _buf: &mut [u8]) -> bool {
        panic!("not there yet")
    }

    /// A prefetched NUL-terminated string at `addr` of at most `max` bytes
    /// without its NUL; None if it isn't there in whole.
    pub fn prefetched_cstr(&self, _addr: u64, _max: usize) -> Option<Vec<u8>> {
        panic!("not there yet")
    }

    /// Queues output that the stub copies to `addr` before it resumes; false
    /// if it doesn't fit.
    pub fn queue_write(&mut self, _addr: u64, _data: &[u8]) -> bool {
        panic!("not there yet")
    }

    /// Room of `len` bytes for output to `addr` that a host call will write.
    /// `commit` queues what it wrote.
    pub fn reserve(&mut self, _addr: u64, _len: usize) -> Option<Reserved> {
        panic!("not there yet")
    }

    pub fn commit(&mut self, _r: Reserved, _len: usize) {
        panic!("not there yet")
    }

    /// Whether queued output overlaps the range (a read of it must flush
    /// first).
    pub fn pending_overlaps(&self, _addr: u64, _len: usize) -> bool {
        panic!("not there yet")
    }

    /// Writes queued output now, by `process_vm_writev`. False if some of it
    /// faulted.
    pub fn flush(&mut self) -> bool {
        panic!("not there yet")
    }
}
