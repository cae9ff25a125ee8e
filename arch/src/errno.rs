//! Error numbers, errno(3) and `include/uapi/asm-generic/errno.h`.

use core::fmt;
use core::num::NonZeroU16;
use std::io;

/// What a kernel operation answers.
pub type Result<T> = core::result::Result<T, Errno>;

/// A Linux error number, 1 to 4095.
///
/// A newtype rather than an enum: a number without a name (from a host newer than this table) is
/// carried through as it came. Constants bear Linux's names: [`Errno::ENOENT`].
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(NonZeroU16);

/// Declares constants, names and messages from one list.
macro_rules! errnos {
    ($($number:literal $name:ident $message:literal;)*) => {
        impl Errno {
            $(
                #[doc = $message]
                pub const $name: Errno = Errno(NonZeroU16::new($number).unwrap());
            )*

            /// Every error number that has a name, ascending.
            pub const ALL: &[Errno] = &[$(Errno::$name),*];

            /// The name as in errno(3), `"EUNKNOWN"` for a number without one.
            pub const fn name(self) -> &'static str {
                match self.0.get() {
                    $($number => stringify!($name),)*
                    _ => "EUNKNOWN",
                }
            }

            /// The text of strerror(3).
            pub const fn message(self) -> &'static str {
                match self.0.get() {
                    $($number => $message,)*
                    _ => "Unknown error",
                }
            }
        }
    };
}

errnos! {
    1 EPERM "Operation not permitted";
    2 ENOENT "No such file or directory";
    3 ESRCH "No such process";
    4 EINTR "Interrupted system call";
    5 EIO "Input/output error";
    6 ENXIO "No such device or address";
    7 E2BIG "Argument list too long";
    8 ENOEXEC "Exec format error";
    9 EBADF "Bad file descriptor";
    10 ECHILD "No child processes";
    11 EAGAIN "Resource temporarily unavailable";
    12 ENOMEM "Cannot allocate memory";
    13 EACCES "Permission denied";
    14 EFAULT "Bad address";
    15 ENOTBLK "Block device required";
    16 EBUSY "Device or resource busy";
    17 EEXIST "File exists";
    18 EXDEV "Invalid cross-device link";
    19 ENODEV "No such device";
    20 ENOTDIR "Not a directory";
    21 EISDIR "Is a directory";
    22 EINVAL "Invalid argument";
    23 ENFILE "Too many open files in system";
    24 EMFILE "Too many open files";
    25 ENOTTY "Inappropriate ioctl for device";
    26 ETXTBSY "Text file busy";
    27 EFBIG "File too large";
    28 ENOSPC "No space left on device";
    29 ESPIPE "Illegal seek";
    30 EROFS "Read-only file system";
    31 EMLINK "Too many links";
    32 EPIPE "Broken pipe";
    33 EDOM "Numerical argument out of domain";
    34 ERANGE "Numerical result out of range";
    35 EDEADLK "Resource deadlock avoided";
    36 ENAMETOOLONG "File name too long";
    37 ENOLCK "No locks available";
    38 ENOSYS "Function not implemented";
    39 ENOTEMPTY "Directory not empty";
    40 ELOOP "Too many levels of symbolic links";
    42 ENOMSG "No message of desired type";
    43 EIDRM "Identifier removed";
    44 ECHRNG "Channel number out of range";
    45 EL2NSYNC "Level 2 not synchronized";
    46 EL3HLT "Level 3 halted";
    47 EL3RST "Level 3 reset";
    48 ELNRNG "Link number out of range";
    49 EUNATCH "Protocol driver not attached";
    50 ENOCSI "No CSI structure available";
    51 EL2HLT "Level 2 halted";
    52 EBADE "Invalid exchange";
    53 EBADR "Invalid request descriptor";
    54 EXFULL "Exchange full";
    55 ENOANO "No anode";
    56 EBADRQC "Invalid request code";
    57 EBADSLT "Invalid slot";
    59 EBFONT "Bad font file format";
    60 ENOSTR "Device not a stream";
    61 ENODATA "No data available";
    62 ETIME "Timer expired";
    63 ENOSR "Out of streams resources";
    64 ENONET "Machine is not on the network";
    65 ENOPKG "Package not installed";
    66 EREMOTE "Object is remote";
    67 ENOLINK "Link has been severed";
    68 EADV "Advertise error";
    69 ESRMNT "Srmount error";
    70 ECOMM "Communication error on send";
    71 EPROTO "Protocol error";
    72 EMULTIHOP "Multihop attempted";
    73 EDOTDOT "RFS specific error";
    74 EBADMSG "Bad message";
    75 EOVERFLOW "Value too large for defined data type";
    76 ENOTUNIQ "Name not unique on network";
    77 EBADFD "File descriptor in bad state";
    78 EREMCHG "Remote address changed";
    79 ELIBACC "Can not access a needed shared library";
    80 ELIBBAD "Accessing a corrupted shared library";
    81 ELIBSCN ".lib section in a.out corrupted";
    82 ELIBMAX "Attempting to link in too many shared libraries";
    83 ELIBEXEC "Cannot exec a shared library directly";
    84 EILSEQ "Invalid or incomplete multibyte or wide character";
    85 ERESTART "Interrupted system call should be restarted";
    86 ESTRPIPE "Streams pipe error";
    87 EUSERS "Too many users";
    88 ENOTSOCK "Socket operation on non-socket";
    89 EDESTADDRREQ "Destination address required";
    90 EMSGSIZE "Message too long";
    91 EPROTOTYPE "Protocol wrong type for socket";
    92 ENOPROTOOPT "Protocol not available";
    93 EPROTONOSUPPORT "Protocol not supported";
    94 ESOCKTNOSUPPORT "Socket type not supported";
    95 EOPNOTSUPP "Operation not supported";
    96 EPFNOSUPPORT "Protocol family not supported";
    97 EAFNOSUPPORT "Address family not supported by protocol";
    98 EADDRINUSE "Address already in use";
    99 EADDRNOTAVAIL "Cannot assign requested address";
    100 ENETDOWN "Network is down";
    101 ENETUNREACH "Network is unreachable";
    102 ENETRESET "Network dropped connection on reset";
    103 ECONNABORTED "Software caused connection abort";
    104 ECONNRESET "Connection reset by peer";
    105 ENOBUFS "No buffer space available";
    106 EISCONN "Transport endpoint is already connected";
    107 ENOTCONN "Transport endpoint is not connected";
    108 ESHUTDOWN "Cannot send after transport endpoint shutdown";
    109 ETOOMANYREFS "Too many references: cannot splice";
    110 ETIMEDOUT "Connection timed out";
    111 ECONNREFUSED "Connection refused";
    112 EHOSTDOWN "Host is down";
    113 EHOSTUNREACH "No route to host";
    114 EALREADY "Operation already in progress";
    115 EINPROGRESS "Operation now in progress";
    116 ESTALE "Stale file handle";
    117 EUCLEAN "Structure needs cleaning";
    118 ENOTNAM "Not a XENIX named type file";
    119 ENAVAIL "No XENIX semaphores available";
    120 EISNAM "Is a named type file";
    121 EREMOTEIO "Remote I/O error";
    122 EDQUOT "Disk quota exceeded";
    123 ENOMEDIUM "No medium found";
    124 EMEDIUMTYPE "Wrong medium type";
    125 ECANCELED "Operation canceled";
    126 ENOKEY "Required key not available";
    127 EKEYEXPIRED "Key has expired";
    128 EKEYREVOKED "Key has been revoked";
    129 EKEYREJECTED "Key was rejected by service";
    130 EOWNERDEAD "Owner died";
    131 ENOTRECOVERABLE "State not recoverable";
    132 ERFKILL "Operation not possible due to RF-kill";
    133 EHWPOISON "Memory page has hardware error";
    512 ERESTARTSYS "Interrupted system call should be restarted";
    513 ERESTARTNOINTR "Interrupted system call is always restarted";
    514 ERESTARTNOHAND "Interrupted system call restarted if no handler ran";
    515 ENOIOCTLCMD "No ioctl command";
    516 ERESTART_RESTARTBLOCK "Interrupted system call restarted through restart_syscall";
}

impl Errno {
    /// Another name of EAGAIN.
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
    /// Another name of EOPNOTSUPP, as in glibc.
    pub const ENOTSUP: Errno = Errno::EOPNOTSUPP;
    /// Another name of EDEADLK.
    pub const EDEADLOCK: Errno = Errno::EDEADLK;

    /// The greatest magnitude that a syscall's return register takes for an error.
    pub const MAX_RAW: i32 = 4095;

    /// From a positive error number; None when it is out of 1..=4095.
    pub const fn from_raw(raw: i32) -> Option<Errno> {
        if raw < 1 || raw > Self::MAX_RAW {
            return None;
        }
        match NonZeroU16::new(raw as u16) {
            Some(number) => Some(Errno(number)),
            None => None,
        }
    }

    /// Splits what a raw syscall left in its return register: -4095..=-1 is an error.
    pub const fn check(ret: i64) -> Result<u64> {
        if ret < 0 && ret >= -(Self::MAX_RAW as i64) {
            match Self::from_raw(-ret as i32) {
                Some(errno) => Err(errno),
                None => Err(Errno::EIO),
            }
        } else {
            Ok(ret as u64)
        }
    }

    /// The calling thread's `errno`, EIO when that holds no error.
    pub fn last() -> Errno {
        io::Error::last_os_error().into()
    }

    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0.get() as i32
    }

    /// The return register of a syscall that failed so: the number negated, as two's complement.
    pub const fn to_ret(self) -> u64 {
        (-(self.raw() as i64)) as u64
    }

    /// True for the kernel's internal restart codes, which never reach an application.
    pub const fn is_restart(self) -> bool {
        matches!(self.raw(), 512 | 513 | 514 | 516)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "EUNKNOWN" => write!(f, "Errno({})", self.raw()),
            name => f.write_str(name),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "EUNKNOWN" => write!(f, "{} {}", self.message(), self.raw()),
            name => write!(f, "{} ({name})", self.message()),
        }
    }
}

impl core::error::Error for Errno {}

impl From<io::Error> for Errno {
    /// The host's number where there is one, else what the kind says, else EIO.
    fn from(error: io::Error) -> Errno {
        if let Some(errno) = error.raw_os_error().and_then(Errno::from_raw) {
            return errno;
        }
        match error.kind() {
            io::ErrorKind::NotFound => Errno::ENOENT,
            io::ErrorKind::PermissionDenied => Errno::EACCES,
            io::ErrorKind::AlreadyExists => Errno::EEXIST,
            io::ErrorKind::WouldBlock => Errno::EAGAIN,
            io::ErrorKind::InvalidInput => Errno::EINVAL,
            io::ErrorKind::Interrupted => Errno::EINTR,
            io::ErrorKind::OutOfMemory => Errno::ENOMEM,
            io::ErrorKind::Unsupported => Errno::EOPNOTSUPP,
            _ => Errno::EIO,
        }
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_messages_agree_with_the_c_library() {
        for &errno in Errno::ALL.iter().filter(|errno| errno.raw() < 512) {
            let text = io::Error::from(errno).to_string();
            assert_eq!(
                text,
                format!("{} (os error {})", errno.message(), errno.raw())
            );
            assert_ne!(errno.name(), "EUNKNOWN");
        }
        assert_eq!(Errno::EPERM.raw(), libc::EPERM);
        assert_eq!(Errno::EHWPOISON.raw(), libc::EHWPOISON);
        assert_eq!(Errno::ENOTSUP.raw(), libc::ENOTSUP);
        assert_eq!(Errno::EWOULDBLOCK.raw(), libc::EWOULDBLOCK);
    }

    #[test]
    fn raw_numbers_go_there_and_back() {
        for raw in 1..=4095 {
            assert_eq!(Errno::from_raw(raw).map(Errno::raw), Some(raw));
        }
        for raw in [0, -1, 4096, i32::MIN, i32::MAX, 65537] {
            assert_eq!(Errno::from_raw(raw), None);
        }
    }

    #[test]
    fn return_registers_split_as_in_linux() {
        assert_eq!(Errno::check(-1), Err(Errno::EPERM));
        assert_eq!(Errno::check(-4095).map_err(Errno::raw), Err(4095));
        assert_eq!(Errno::check(-4096), Ok((-4096_i64) as u64));
        assert_eq!(Errno::check(0), Ok(0));
        assert_eq!(Errno::ENOENT.to_ret() as i64, -2);
    }

    #[test]
    fn io_errors_convert() {
        assert_eq!(
            Errno::from(io::Error::from_raw_os_error(libc::ELOOP)),
            Errno::ELOOP
        );
        assert_eq!(Errno::from(io::Error::other("x")), Errno::EIO);
        assert_eq!(
            Errno::from(io::Error::from(io::ErrorKind::NotFound)),
            Errno::ENOENT
        );
    }

    #[test]
    fn only_restart_codes_restart() {
        let restarts: Vec<_> = (1..=4095)
            .filter_map(Errno::from_raw)
            .filter(|errno| errno.is_restart())
            .collect();
        assert_eq!(
            restarts,
            [
                Errno::ERESTARTSYS,
                Errno::ERESTARTNOINTR,
                Errno::ERESTARTNOHAND,
                Errno::ERESTART_RESTARTBLOCK
            ]
        );
    }

    #[test]
    fn debug_prints_the_name() {
        assert_eq!(format!("{:?}", Errno::ENOSYS), "ENOSYS");
        assert_eq!(
            format!("{}", Errno::ENOSYS),
            "Function not implemented (ENOSYS)"
        );
        assert_eq!(
            format!("{:?}", Errno::from_raw(4000).unwrap()),
            "Errno(4000)"
        );
    }
}
