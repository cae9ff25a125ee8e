//! Sockets: socket(2), sendmsg(2), socket(7), unix(7), ip(7), ipv6(7), tcp(7).

abi_struct! {
    /// `struct msghdr` of sendmsg(2), as the kernel reads it.
    pub struct MsgHdr: 56 {
        pub name: u64,
        pub namelen: i32,
        pub pad0: u32,
        pub iov: u64,
        /// In elements.
        pub iovlen: u64,
        pub control: u64,
        /// In bytes.
        pub controllen: u64,
        pub flags: u32,
        pub pad1: u32,
    }

    /// `struct mmsghdr` of sendmmsg(2).
    pub struct MmsgHdr: 64 {
        pub hdr: MsgHdr,
        pub len: u32,
        pub pad0: u32,
    }

    /// `struct cmsghdr`, cmsg(3). Each message is padded to 8 bytes.
    pub struct Cmsghdr: 16 {
        /// In bytes, this header included.
        pub len: u64,
        pub level: i32,
        pub kind: i32,
    }

    /// `struct ucred`, SO_PEERCRED and SCM_CREDENTIALS.
    pub struct Ucred: 12 {
        pub pid: i32,
        pub uid: u32,
        pub gid: u32,
    }

    /// `struct sockaddr_un`.
    pub struct SockaddrUn: 110 {
        pub family: u16,
        pub path: [u8; 108],
    }

    /// `struct sockaddr_in`; port and address in network order.
    pub struct SockaddrIn: 16 {
        pub family: u16,
        pub port: [u8; 2],
        pub addr: [u8; 4],
        pub zero: [u8; 8],
    }

    /// `struct sockaddr_in6`; port, flow label and address in network order.
    pub struct SockaddrIn6: 28 {
        pub family: u16,
        pub port: [u8; 2],
        pub flowinfo: [u8; 4],
        pub addr: [u8; 16],
        pub scope_id: u32,
    }

    /// `struct sockaddr_nl`, netlink(7).
    pub struct SockaddrNl: 12 {
        pub family: u16,
        pub pad: u16,
        pub pid: u32,
        pub groups: u32,
    }

    /// `struct sockaddr_ll`, packet(7).
    pub struct SockaddrLl: 20 {
        pub family: u16,
        pub protocol: [u8; 2],
        pub ifindex: i32,
        pub hatype: u16,
        pub pkttype: u8,
        pub halen: u8,
        pub addr: [u8; 8],
    }

    /// `struct sockaddr_storage`: room for any address.
    pub struct SockaddrStorage: 128 {
        pub family: u16,
        pub data: [u8; 126],
    }

    /// `struct linger`, SO_LINGER; time in seconds.
    pub struct Linger: 8 {
        pub onoff: i32,
        pub linger: i32,
    }

    /// `struct ip_mreqn`, IP_ADD_MEMBERSHIP. Its first 8 bytes are a `struct ip_mreq`.
    pub struct IpMreqn: 12 {
        pub multiaddr: [u8; 4],
        pub address: [u8; 4],
        pub ifindex: i32,
    }

    /// `struct ipv6_mreq`.
    pub struct Ipv6Mreq: 20 {
        pub multiaddr: [u8; 16],
        pub ifindex: i32,
    }

    /// `struct in_pktinfo`, IP_PKTINFO.
    pub struct InPktinfo: 12 {
        pub ifindex: i32,
        pub spec_dst: [u8; 4],
        pub addr: [u8; 4],
    }

    /// `struct in6_pktinfo`, IPV6_PKTINFO.
    pub struct In6Pktinfo: 20 {
        pub addr: [u8; 16],
        pub ifindex: u32,
    }

    /// `struct sock_extended_err`, IP_RECVERR.
    pub struct SockExtendedErr: 16 {
        pub errno: u32,
        pub origin: u8,
        pub kind: u8,
        pub code: u8,
        pub pad: u8,
        pub info: u32,
        pub data: u32,
    }

    /// `struct ifreq`, netdevice(7): a name and a union.
    pub struct Ifreq: 40 {
        pub name: [u8; 16],
        pub data: [u8; 24],
    }

    /// `struct ifconf`, SIOCGIFCONF.
    pub struct Ifconf: 16 {
        /// In bytes.
        pub len: i32,
        pub pad0: u32,
        pub buf: u64,
    }

    /// `struct tcp_info`, TCP_INFO, up to Linux 6.6; times in microseconds or (`last_*`) milliseconds.
    pub struct TcpInfo: 240 {
        pub state: u8,
        pub ca_state: u8,
        pub retransmits: u8,
        pub probes: u8,
        pub backoff: u8,
        pub options: u8,
        /// Send scale in the low four bits, receive scale in the high.
        pub wscale: u8,
        pub limited: u8,
        pub rto: u32,
        pub ato: u32,
        pub snd_mss: u32,
        pub rcv_mss: u32,
        pub unacked: u32,
        pub sacked: u32,
        pub lost: u32,
        pub retrans: u32,
        pub fackets: u32,
        pub last_data_sent: u32,
        pub last_ack_sent: u32,
        pub last_data_recv: u32,
        pub last_ack_recv: u32,
        pub pmtu: u32,
        pub rcv_ssthresh: u32,
        pub rtt: u32,
        pub rttvar: u32,
        pub snd_ssthresh: u32,
        pub snd_cwnd: u32,
        pub advmss: u32,
        pub reordering: u32,
        pub rcv_rtt: u32,
        pub rcv_space: u32,
        pub total_retrans: u32,
        pub pacing_rate: u64,
        pub max_pacing_rate: u64,
        pub bytes_acked: u64,
        pub bytes_received: u64,
        pub segs_out: u32,
        pub segs_in: u32,
        pub notsent_bytes: u32,
        pub min_rtt: u32,
        pub data_segs_in: u32,
        pub data_segs_out: u32,
        pub delivery_rate: u64,
        pub busy_time: u64,
        pub rwnd_limited: u64,
        pub sndbuf_limited: u64,
        pub delivered: u32,
        pub delivered_ce: u32,
        pub bytes_sent: u64,
        pub bytes_retrans: u64,
        pub dsack_dups: u32,
        pub reord_seen: u32,
        pub rcv_ooopack: u32,
        pub snd_wnd: u32,
        pub rcv_wnd: u32,
        pub rehash: u32,
    }
}

/// Most bytes of an address that sendto(2) and friends take; more is EINVAL.
pub const SOCKADDR_MAX: usize = 128;
/// `SCM_MAX_FD`: most descriptors of one message; more is EINVAL (ETOOMANYREFS is another bound).
pub const SCM_MAX_FD: usize = 253;
/// `SOMAXCONN`: greatest backlog of listen(2).
pub const SOMAXCONN: i32 = 4096;

/// Socket options and messages that libc lacks.
pub const SCM_SECURITY: i32 = 3;
pub const SCM_PIDFD: i32 = 4;
pub const SO_PEERGROUPS: i32 = 59;
pub const SO_INCOMING_NAPI_ID: i32 = 56;
pub const SO_TIMESTAMP_NEW: i32 = 63;
pub const SO_TIMESTAMPNS_NEW: i32 = 64;
pub const SO_TIMESTAMPING_NEW: i32 = 65;
pub const SO_RCVTIMEO_NEW: i32 = 66;
pub const SO_SNDTIMEO_NEW: i32 = 67;
pub const SO_RESERVE_MEM: i32 = 73;
pub const SO_TXREHASH: i32 = 74;
pub const SO_RCVMARK: i32 = 75;
pub const SO_PASSPIDFD: i32 = 76;
pub const SO_PEERPIDFD: i32 = 77;
pub const SIOCGSTAMP: u32 = 0x8906;
pub const SIOCGSTAMPNS: u32 = 0x8907;

/// `CMSG_ALIGN`.
pub const fn cmsg_align(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// `CMSG_LEN`: the header's `len` for `data` bytes.
pub const fn cmsg_len(data: usize) -> usize {
    size_of::<Cmsghdr>() + data
}

/// `CMSG_SPACE`: what a message of `data` bytes takes in the buffer.
pub const fn cmsg_space(data: usize) -> usize {
    size_of::<Cmsghdr>() + cmsg_align(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::offset_of;

    #[test]
    fn layout_is_the_hosts() {
        assert_eq!(size_of::<MsgHdr>(), size_of::<libc::msghdr>());
        assert_eq!(
            offset_of!(MsgHdr, flags),
            offset_of!(libc::msghdr, msg_flags)
        );
        assert_eq!(size_of::<MmsgHdr>(), size_of::<libc::mmsghdr>());
        assert_eq!(size_of::<Cmsghdr>(), size_of::<libc::cmsghdr>());
        assert_eq!(size_of::<SockaddrUn>(), size_of::<libc::sockaddr_un>());
        assert_eq!(size_of::<SockaddrIn>(), size_of::<libc::sockaddr_in>());
        assert_eq!(size_of::<SockaddrIn6>(), size_of::<libc::sockaddr_in6>());
        assert_eq!(size_of::<SockaddrNl>(), size_of::<libc::sockaddr_nl>());
        assert_eq!(size_of::<SockaddrLl>(), size_of::<libc::sockaddr_ll>());
        assert_eq!(
            size_of::<SockaddrStorage>(),
            size_of::<libc::sockaddr_storage>()
        );
        assert_eq!(size_of::<Ifreq>(), size_of::<libc::ifreq>());
        assert_eq!(size_of::<InPktinfo>(), size_of::<libc::in_pktinfo>());
        assert_eq!(offset_of!(TcpInfo, pacing_rate), 104);
        assert_eq!(offset_of!(TcpInfo, delivery_rate), 160);
    }

    #[test]
    fn control_lengths_are_the_c_macros() {
        assert_eq!((cmsg_len(4), cmsg_space(4), cmsg_space(12)), (20, 24, 32));
    }
}
