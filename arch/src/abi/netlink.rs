//! Netlink messages, netlink(7) and rtnetlink(7).

abi_struct! {
    /// `struct nlmsghdr`.
    pub struct NlMsgHdr: 16 {
        /// In bytes, this header included.
        pub len: u32,
        pub kind: u16,
        pub flags: u16,
        pub seq: u32,
        pub pid: u32,
    }

    /// `struct nlmsgerr`: an acknowledgement, `error` zero or a negated error number.
    pub struct NlMsgErr: 20 {
        pub error: i32,
        pub msg: NlMsgHdr,
    }

    /// `struct nlattr` and `struct rtattr`.
    pub struct NlAttr: 4 {
        /// In bytes, this header included.
        pub len: u16,
        pub kind: u16,
    }

    /// `struct ifinfomsg`.
    pub struct IfInfoMsg: 16 {
        pub family: u8,
        pub pad: u8,
        pub kind: u16,
        pub index: i32,
        pub flags: u32,
        pub change: u32,
    }

    /// `struct ifaddrmsg`.
    pub struct IfAddrMsg: 8 {
        pub family: u8,
        pub prefixlen: u8,
        pub flags: u8,
        pub scope: u8,
        pub index: u32,
    }

    /// `struct rtmsg`.
    pub struct RtMsg: 12 {
        pub family: u8,
        pub dst_len: u8,
        pub src_len: u8,
        pub tos: u8,
        pub table: u8,
        pub protocol: u8,
        pub scope: u8,
        pub kind: u8,
        pub flags: u32,
    }

    /// `struct ndmsg`, neighbours.
    pub struct NdMsg: 12 {
        pub family: u8,
        pub pad1: u8,
        pub pad2: u16,
        pub ifindex: i32,
        pub state: u16,
        pub flags: u8,
        pub kind: u8,
    }

    /// `struct ifa_cacheinfo`; times in seconds (lifetimes) and 1/100 s.
    pub struct IfaCacheinfo: 16 {
        pub prefered: u32,
        pub valid: u32,
        pub cstamp: u32,
        pub tstamp: u32,
    }

    /// `struct rtnl_link_stats64`.
    pub struct LinkStats64: 200 {
        pub rx_packets: u64,
        pub tx_packets: u64,
        pub rx_bytes: u64,
        pub tx_bytes: u64,
        pub rx_errors: u64,
        pub tx_errors: u64,
        pub rx_dropped: u64,
        pub tx_dropped: u64,
        pub multicast: u64,
        pub collisions: u64,
        pub rx_length_errors: u64,
        pub rx_over_errors: u64,
        pub rx_crc_errors: u64,
        pub rx_frame_errors: u64,
        pub rx_fifo_errors: u64,
        pub rx_missed_errors: u64,
        pub tx_aborted_errors: u64,
        pub tx_carrier_errors: u64,
        pub tx_fifo_errors: u64,
        pub tx_heartbeat_errors: u64,
        pub tx_window_errors: u64,
        pub rx_compressed: u64,
        pub tx_compressed: u64,
        pub rx_nohandler: u64,
        pub rx_otherhost_dropped: u64,
    }
}

/// `NLMSG_ALIGN`, also of attributes.
pub const fn nlmsg_align(len: usize) -> usize {
    len.next_multiple_of(4)
}
