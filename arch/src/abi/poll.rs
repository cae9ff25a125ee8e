//! Readiness: poll(2), select(2), epoll(7).

abi_struct! {
    /// `struct pollfd`.
    pub struct PollFd: 8 {
        pub fd: i32,
        pub events: i16,
        pub revents: i16,
    }

    /// The sixth argument of the pselect6 syscall: a mask and its size.
    pub struct SigSetArg: 16 {
        pub mask: u64,
        pub size: u64,
    }
}

/// poll(2) bits that libc lacks.
pub const POLLMSG: i16 = 0x400;
pub const POLLREMOVE: i16 = 0x1000;
pub const POLL_BUSY_LOOP: u16 = 0x8000;

/// Most events that one epoll_wait(2) may ask for (`EP_MAX_EVENTS`).
pub const EP_MAX_EVENTS: i32 = i32::MAX / 12;

/// Bits of a descriptor set, as select(2) lays it out, in one word.
pub const FD_SET_WORD_BITS: usize = 64;

/// Bytes that `nfds` descriptors take in a set (`FDS_BYTES`).
pub const fn fd_set_bytes(nfds: usize) -> usize {
    nfds.div_ceil(FD_SET_WORD_BITS) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<PollFd>(), size_of::<libc::pollfd>());
        assert_eq!(
            size_of::<crate::abi::EpollEvent>(),
            size_of::<libc::epoll_event>()
        );
    }

    #[test]
    fn sets_are_whole_words() {
        assert_eq!(
            (fd_set_bytes(0), fd_set_bytes(1), fd_set_bytes(65)),
            (0, 8, 16)
        );
        assert_eq!(fd_set_bytes(1024), 128);
    }
}
