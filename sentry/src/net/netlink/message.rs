//! Netlink messages (netlink(7)): a header, a fixed part, attributes, each aligned to four bytes.

use arch::Errno;

/// Size of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// NLMSG_ERROR.
pub const ERROR: u16 = 2;
/// NLMSG_DONE.
pub const DONE: u16 = 3;
/// NLM_F_REQUEST.
pub const REQUEST: u16 = 1;
/// NLM_F_MULTI.
pub const MULTI: u16 = 2;
/// NLM_F_ACK.
pub const ACK: u16 = 4;
/// NLM_F_ROOT | NLM_F_MATCH.
pub const DUMP: u16 = 0x300;
/// NLM_F_CAPPED: an acknowledgement without the request's body.
pub const CAPPED: u16 = 0x100;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// RTM_*.
    pub kind: u16,
    /// NLM_F_*.
    pub flags: u16,
    /// The sender's number for it.
    pub seq: u32,
    /// What follows the header.
    pub body: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

/// Four bytes at an offset.
pub fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// The requests of a datagram, up to the first that is malformed.
pub fn requests(mut data: &[u8]) -> impl Iterator<Item = Request<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(data, 0)? as usize;
        if len < HEADER || len > data.len() {
            return None;
        }
        let (whole, body) = (&data[..len], &data[HEADER..len]);
        let request = Request {
            kind: u16_at(data, 4)?,
            flags: u16_at(data, 6)?,
            seq: u32_at(data, 8)?,
            body,
            whole,
        };
        data = data.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(request)
    })
}

/// The attribute of a type, among those that follow a fixed part of `fixed` bytes.
pub fn attribute(body: &[u8], fixed: usize, kind: u16) -> Option<&[u8]> {
    let mut rest = body.get(fixed.next_multiple_of(4)..)?;
    loop {
        let len = usize::from(u16_at(rest, 0)?);
        // The two highest bits are flags.
        let found = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..len)?;
        if found == kind {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

/// The types of the attributes that follow a fixed part.
pub fn attribute_kinds(body: &[u8], fixed: usize) -> Vec<u16> {
    let mut rest = body.get(fixed.next_multiple_of(4)..).unwrap_or_default();
    let mut out = Vec::new();
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        if usize::from(len) < 4 {
            break;
        }
        out.push(kind & 0x3fff);
        rest = rest
            .get(usize::from(len).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    out
}

/// Messages that are being written.
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
    /// Where the message begins that is being written.
    start: usize,
}

impl Builder {
    /// Begins a message; the one before it is complete.
    pub fn message(&mut self, kind: u16, flags: u16, seq: u32, pid: u32) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&pid.to_ne_bytes());
        self.close()
    }

    /// Bytes of the fixed part.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self.close()
    }

    /// An attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self.close()
    }

    /// An attribute of a number.
    pub fn attr32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn close(&mut self) -> &mut Self {
        let len = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        self.bytes[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// What has been written.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// NLMSG_DONE, the end of a dump.
pub fn done(seq: u32, pid: u32) -> Vec<u8> {
    Builder::default()
        .message(DONE, MULTI, seq, pid)
        .fixed(&[0; 4])
        .finish()
}

/// NLMSG_ERROR: an acknowledgement, or why there is none. `capped`: without the request's body.
pub fn error(request: &Request<'_>, outcome: Result<(), Errno>, pid: u32, capped: bool) -> Vec<u8> {
    let code = outcome.err().map_or(0, |e| -e.raw());
    let capped = capped || code == 0;
    let quoted = if capped {
        &request.whole[..HEADER]
    } else {
        request.whole
    };
    let flags = if capped { CAPPED } else { 0 };
    let mut b = Builder::default();
    b.message(ERROR, flags, request.seq, pid)
        .fixed(&code.to_ne_bytes())
        .fixed(quoted)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_round_trip() {
        let mut b = Builder::default();
        b.message(18, REQUEST | DUMP, 7, 0)
            .fixed(&[1, 2, 3, 4])
            .attr(3, b"lo\0")
            .attr32(4, 65536);
        b.message(22, REQUEST, 8, 0).fixed(&[9; 8]);
        let bytes = b.finish();
        let all: Vec<_> = requests(&bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].flags, all[0].seq), (18, 0x301, 7));
        assert_eq!(attribute(all[0].body, 4, 3), Some(&b"lo\0"[..]));
        assert_eq!(
            attribute(all[0].body, 4, 4),
            Some(&65536u32.to_ne_bytes()[..])
        );
        assert_eq!(attribute(all[0].body, 4, 5), None);
        assert_eq!(attribute_kinds(all[0].body, 4), [3, 4]);
        assert_eq!(all[1].body, [9; 8]);
    }

    #[test]
    fn nonsense_ends_the_list() {
        for bytes in [
            &[][..],
            &[1, 2, 3],
            &[0; 16],
            &[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xff; 20],
        ] {
            assert_eq!(requests(bytes).count(), 0);
        }
        for bytes in [&[0; 4][..], &[3, 0, 1, 0], &[0xff; 8], &[4], &[5, 0, 1, 0]] {
            assert_eq!(attribute(bytes, 0, 1), None);
            attribute_kinds(bytes, 0);
        }
    }

    #[test]
    fn errors_quote_the_request() {
        let bytes = Builder::default()
            .message(98, REQUEST, 7, 0)
            .fixed(&[5; 16])
            .finish();
        let request = requests(&bytes).next().unwrap();
        let e = error(&request, Err(Errno::EOPNOTSUPP), 42, false);
        assert_eq!(e.len(), 52);
        assert_eq!(u32_at(&e, 16), Some((-95i32).cast_unsigned()));
        assert_eq!(error(&request, Ok(()), 42, false).len(), 36);
    }
}
