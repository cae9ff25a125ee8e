//! Vectored input and output, readv(2), process_vm_readv(2).

abi_struct! {
    /// `struct iovec`.
    pub struct Iovec: 16 {
        pub base: u64,
        /// In bytes.
        pub len: u64,
    }
}

/// `UIO_MAXIOV`: the most vectors that one call takes (more is EINVAL, EMSGSIZE for sockets).
pub const UIO_MAXIOV: usize = 1024;

/// `MAX_RW_COUNT`: the most bytes that one read or write moves; longer requests are cut to it.
pub const MAX_RW_COUNT: u64 = 0x7fff_f000;
