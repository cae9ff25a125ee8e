//! The map against the host's own: the same random calls go to the kernel directly and through [`State`], whose steps are
//! performed by this process. Answers, rights and contents must agree.
#![expect(
    unsafe_code,
    reason = "maps and unmaps memory of this process, in ranges that nothing else uses"
)]

use super::pending::Pending;
use super::plan::{Act, Outcome, Stop};
use super::testing::Rng;
use super::*;
use std::os::fd::{AsRawFd, OwnedFd};

/// Pages that the calls work on.
const PAGES: u64 = 48;

fn who() -> Caller {
    Caller {
        tid: 1,
        limits: Limits::NONE,
        read_implies_exec: false,
    }
}

fn last() -> Errno {
    std::io::Error::last_os_error().into()
}

fn check(ret: i64) -> Result<()> {
    if ret == -1 { Err(last()) } else { Ok(()) }
}

/// Performs one step on this very process.
fn perform(act: &Act) -> Result<()> {
    let ptr = |addr: u64| addr as *mut libc::c_void;
    let map = |span: &Span, prot: &Prot, flags: i32, fd: i32, offset: u64| {
        // SAFETY: the ranges of the tests hold nothing of this process.
        let at = unsafe {
            libc::mmap(
                ptr(span.start),
                span.len() as usize,
                i32::from(prot.bits()),
                flags | libc::MAP_FIXED,
                fd,
                offset as i64,
            )
        };
        check(at as i64)
    };
    match act {
        Act::MapAnon { span, prot, flags } => map(
            span,
            prot,
            flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        ),
        Act::MapFd {
            fd,
            offset,
            span,
            prot,
            flags,
        } => map(span, prot, *flags, fd.as_raw_fd(), *offset),
        Act::MapText { .. } | Act::MapCode { .. } => panic!("no text is shared here"),
        // SAFETY: as above.
        Act::Unmap { span } => {
            // SAFETY: as above.
            check(unsafe { libc::munmap(ptr(span.start), span.len() as usize) }.into())
        }
        Act::Protect { span, prot } => {
            // SAFETY: as above.
            check(
                unsafe { libc::mprotect(ptr(span.start), span.len() as usize, prot.bits().into()) }
                    .into(),
            )
        }
        Act::Remap {
            from,
            new_len,
            flags,
            to,
        } => {
            let (old, new) = (from.len() as usize, *new_len as usize);
            // SAFETY: as above.
            check(unsafe { libc::mremap(ptr(from.start), old, new, *flags, ptr(*to)) } as i64)
        }
        Act::Advise { span, advice } => {
            // SAFETY: as above.
            check(unsafe { libc::madvise(ptr(span.start), span.len() as usize, *advice) }.into())
        }
        Act::Sync { span, flags } => {
            // SAFETY: as above.
            check(unsafe { libc::msync(ptr(span.start), span.len() as usize, *flags) }.into())
        }
        Act::Zero { .. } => Ok(()),
    }
}

/// A map whose steps this process performs.
struct Sim {
    state: State,
}

impl Sim {
    fn call(&mut self, op: impl FnOnce(&mut State, &Caller) -> Outcome) -> Result<u64> {
        let done = match op(&mut self.state, &who()) {
            Ok(done) => done,
            Err(Stop::Errno(e)) => return Err(e),
            Err(Stop::Busy(_)) => panic!("one thread is never busy"),
        };
        let mut answer = done.answer;
        let mut steps = done.steps;
        loop {
            let acts: Vec<Act> = steps.iter().map(|s| s.act.clone()).collect();
            self.state.pending.push(Pending::new(1, 0, steps));
            let failed = acts
                .iter()
                .enumerate()
                .find_map(|(i, act)| perform(act).err().map(|e| (i, e)));
            let Some((index, errno)) = failed else {
                drop(self.state.performed(1));
                return answer;
            };
            let failure = self
                .state
                .failed(1, index, errno)
                .expect("the step was the map's");
            assert!(!failure.fatal);
            answer = failure.answer.unwrap_or(answer);
            steps = failure.steps;
            if steps.is_empty() {
                return answer;
            }
        }
    }
}

/// What a page is: rights and whether it is shared.
type Page = Option<(u8, bool)>;

fn host_pages(base: u64) -> Vec<Page> {
    let mut pages = vec![None; PAGES as usize];
    let text = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (range, mode) = (words.next().unwrap(), words.next().unwrap().as_bytes());
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (
            u64::from_str_radix(start, 16).unwrap(),
            u64::from_str_radix(end, 16).unwrap(),
        );
        let prot = u8::from(mode[0] == b'r')
            | u8::from(mode[1] == b'w') << 1
            | u8::from(mode[2] == b'x') << 2;
        for page in (0..PAGES).filter(|p| (start..end).contains(&(base + p * PAGE))) {
            pages[page as usize] = Some((prot, mode[3] == b's'));
        }
    }
    pages
}

fn map_pages(state: &State, base: u64) -> Vec<Page> {
    (0..PAGES)
        .map(|p| {
            state
                .map
                .at(base + p * PAGE)
                .map(|v| (v.prot.bits(), v.is_shared()))
        })
        .collect()
}

/// The first byte of a page that can be read.
fn peek(base: u64, page: u64, what: Page) -> Option<u8> {
    let readable = what.is_some_and(|(prot, _)| prot & 1 != 0);
    // SAFETY: the page is mapped and readable, and shared objects are long enough.
    readable.then(|| unsafe { ((base + page * PAGE) as *const u8).read_volatile() })
}

fn memfd() -> Arc<OwnedFd> {
    Arc::new(crate::host::mm::memfd("test", PAGES * PAGE).unwrap())
}

/// Linux 6.17 moves several mappings at once, and checks arguments in another order than before.
fn remaps_as_we_do() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(17))
}

/// One random call, on the map at `ours` and on the host at `theirs`. `None`: they may differ from here on.
fn step(rng: &mut Rng, sim: &mut Sim, ours: u64, theirs: u64) -> Option<String> {
    let at = rng.below(PAGES) * PAGE;
    let len = (1 + rng.below(8).min(PAGES - at / PAGE - 1)) * PAGE;
    let prot = [0_u64, 1, 3, 3, 3, 5, 7][rng.below(7) as usize];
    let span = |base: u64| Span::at(base + at, len);
    let ptr = |base: u64| (base + at) as *mut libc::c_void;
    let native = |ret: i64| check(ret);
    let (what, a, b) = match rng.below(if remaps_as_we_do() { 12 } else { 10 }) {
        0..=2 => {
            let call = MapCall {
                addr: ours + at,
                len,
                prot: Prot::from_arg(prot),
                flags: libc::MAP_FIXED,
                may: VmaFlags::MAY_ALL,
                source: Source::Anon,
            };
            let a = sim.call(|s, w| s.mmap(w, &call));
            let b = perform(&Act::MapAnon {
                span: span(theirs),
                prot: Prot::from_arg(prot),
                flags: 0,
            });
            ("mmap", a.map(drop), b)
        }
        3 => {
            let call = MapCall {
                addr: ours + at,
                len,
                prot: Prot::from_arg(prot),
                flags: libc::MAP_FIXED,
                may: VmaFlags::MAY_ALL | VmaFlags::SHARED,
                source: Source::SharedAnon(Arc::new(SharedAnon {
                    ino: 1,
                    fd: memfd(),
                })),
            };
            let a = sim.call(|s, w| s.mmap(w, &call));
            let flags = libc::MAP_SHARED;
            let b = Act::MapFd {
                fd: memfd(),
                offset: 0,
                span: span(theirs),
                prot: Prot::from_arg(prot),
                flags,
            };
            ("mmap shared", a.map(drop), perform(&b))
        }
        4 | 5 => {
            let a = sim.call(|s, w| s.munmap(w, ours + at, len));
            (
                "munmap",
                a.map(drop),
                perform(&Act::Unmap { span: span(theirs) }),
            )
        }
        6 | 7 => {
            let a = sim.call(|s, w| s.mprotect(w, ours + at, len, prot));
            let b = perform(&Act::Protect {
                span: span(theirs),
                prot: Prot::from_arg(prot),
            });
            ("mprotect", a.map(drop), b)
        }
        8 => {
            let advice = [
                libc::MADV_DONTNEED,
                libc::MADV_DONTFORK,
                libc::MADV_DOFORK,
                libc::MADV_WIPEONFORK,
                4711,
            ];
            let advice = advice[rng.below(5) as usize];
            let a = sim.call(|s, w| s.madvise(w, ours + at, len, advice, false));
            // SAFETY: as in `perform`.
            let b = native(unsafe { libc::madvise(ptr(theirs), len as usize, advice) }.into());
            ("madvise", a.map(drop), b)
        }
        9 => {
            let flags = libc::MS_SYNC;
            let a = sim.call(|s, _| s.msync(ours + at, len, flags));
            // SAFETY: as in `perform`.
            let b = native(unsafe { libc::msync(ptr(theirs), len as usize, flags) }.into());
            ("msync", a.map(drop), b)
        }
        _ => {
            let new_len = if rng.below(3) == 0 {
                len
            } else {
                rng.below(6) * PAGE
            };
            let to = rng.below(PAGES - new_len / PAGE) * PAGE;
            let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            let flags = [
                0,
                fixed,
                fixed,
                fixed | libc::MREMAP_DONTUNMAP,
                libc::MREMAP_FIXED,
            ][rng.below(5) as usize];
            // Without a place to grow to it stays where it is or fails: the host must not choose.
            let a = sim.call(|s, w| s.mremap(w, ours + at, len, new_len, flags as u64, ours + to));
            let dest = (theirs + to) as *mut libc::c_void;
            // SAFETY: as in `perform`.
            let b =
                unsafe { libc::mremap(ptr(theirs), len as usize, new_len as usize, flags, dest) }
                    as i64;
            ("mremap", a.map(drop), native(b))
        }
    };
    if what == "mremap" && b == Err(Errno::EFAULT) {
        // The host keeps neighbours apart that were touched before they met, and refuses to resize across them; what the
        // call has unmapped by then may differ.
        return None;
    }
    assert_eq!(a, b, "{what} at page {} of {} pages", at / PAGE, len / PAGE);
    Some(format!("{what} {} {} -> {a:?}", at / PAGE, len / PAGE))
}

/// Beyond the pages something must stop a mapping that grows.
fn fence(sim: &mut Sim, ours: u64, theirs: u64) {
    let call = MapCall {
        addr: ours + PAGES * PAGE,
        len: PAGE,
        prot: Prot::empty(),
        flags: libc::MAP_FIXED,
        may: VmaFlags::MAY_ALL,
        source: Source::Anon,
    };
    sim.call(|s, w| s.mmap(w, &call)).unwrap();
    perform(&Act::MapAnon {
        span: Span::at(theirs + PAGES * PAGE, PAGE),
        prot: Prot::empty(),
        flags: 0,
    })
    .unwrap();
}

fn run(seed: u64, steps: usize) {
    // Far below where anything of this process is; each seed has its own range, for tests run at the same time.
    let ours = 0x1000_0000_0000 + (seed << 32);
    let theirs = 0x2000_0000_0000 + (seed << 32);
    let mut rng = Rng(seed * 0x9e37_79b9 + 1);
    let mut sim = Sim {
        state: State {
            layout: Layout::new(8 << 20, &mut || 0),
            ..State::default()
        },
    };
    fence(&mut sim, ours, theirs);
    let mut log = Vec::new();
    for i in 0..steps {
        let Some(line) = step(&mut rng, &mut sim, ours, theirs) else {
            break;
        };
        log.push(line);
        sim.state.map.check();
        let (a, b) = (host_pages(ours), host_pages(theirs));
        let tail = || log[log.len().saturating_sub(8)..].join("\n");
        assert_eq!(a, b, "seed {seed} step {i}:\n{}", tail());
        assert_eq!(
            a,
            map_pages(&sim.state, ours),
            "seed {seed} step {i}:\n{}",
            tail()
        );
        let usage = sim.state.usage;
        let mapped = a.iter().flatten().count() as u64 + 1;
        assert_eq!(usage.total, mapped);
        let data = a
            .iter()
            .flatten()
            .filter(|(prot, shared)| prot & 2 != 0 && !shared)
            .count();
        assert_eq!(usage.data, data as u64);
        for page in 0..PAGES {
            let what = a[page as usize];
            assert_eq!(
                peek(ours, page, what),
                peek(theirs, page, what),
                "seed {seed} step {i} page {page}:\n{}",
                tail()
            );
            if what.is_some_and(|(prot, _)| prot & 2 != 0) && rng.below(4) == 0 {
                let byte = rng.below(256) as u8;
                for base in [ours, theirs] {
                    // SAFETY: the page is mapped and can be written.
                    unsafe { ((base + page * PAGE) as *mut u8).write_volatile(byte) };
                }
            }
        }
    }
    for base in [ours, theirs] {
        perform(&Act::Unmap {
            span: Span::at(base, (PAGES + 1) * PAGE),
        })
        .unwrap();
    }
}

#[test]
fn calls_do_what_the_host_does() {
    for seed in 1..40 {
        run(seed, 150);
    }
}

#[test]
fn a_refused_mapping_leaves_a_hole() {
    let mut state = State::default();
    let anon = |addr, len| MapCall {
        addr,
        len,
        prot: Prot::READ,
        flags: libc::MAP_FIXED,
        may: VmaFlags::MAY_ALL,
        source: Source::Anon,
    };
    let base = 0x5000_0000;
    state.mmap(&who(), &anon(base, 4 * PAGE)).unwrap();
    let done = state.mmap(&who(), &anon(base + PAGE, PAGE)).unwrap();
    state.pending.push(Pending::new(1, 3, done.steps));
    let failure = state.failed(1, 3, Errno::ENOMEM).unwrap();
    assert_eq!(failure.answer, Some(Err(Errno::ENOMEM)));
    assert!(
        matches!(failure.steps[0].act, Act::Unmap { span } if span == Span::at(base + PAGE, PAGE))
    );
    assert!(state.map.at(base + PAGE).is_none());
    assert_eq!(state.usage.total, 3);
}

#[test]
fn what_was_not_reached_is_taken_back() {
    let mut state = State::default();
    let base = 0x5000_0000;
    state.insert(Vma::anon(
        Span::at(base, 8 * PAGE),
        Prot::READ | Prot::WRITE,
    ));
    let first = state.mprotect(&who(), base, PAGE, 1).unwrap();
    let second = state.munmap(&who(), base + 2 * PAGE, 2 * PAGE).unwrap();
    let third = state.brk(&who(), 0).unwrap();
    assert!(third.steps.is_empty());
    state.pending.push(Pending::new(1, 0, first.steps));
    state.pending.push(Pending::new(1, 1, second.steps));
    // The first fails: the second, never performed, must not have happened either.
    let failure = state.failed(1, 0, Errno::ENOMEM).unwrap();
    assert_eq!(failure.steps.len(), 1, "one mprotect puts the rights back");
    state.map.check();
    assert_eq!(state.map.len(), 1);
    assert!(state.map.covers(Span::at(base, 8 * PAGE)));
    assert_eq!(state.usage.data, 8);
}

#[test]
fn another_threads_pending_range_is_busy() {
    let mut state = State::default();
    let base = 0x5000_0000;
    state.insert(Vma::anon(Span::at(base, 4 * PAGE), Prot::READ));
    let done = state.munmap(&who(), base, PAGE).unwrap();
    state.pending.push(Pending::new(1, 0, done.steps));
    let other = Caller { tid: 2, ..who() };
    assert!(matches!(
        state.munmap(&other, base, 4 * PAGE),
        Err(Stop::Busy((1, _)))
    ));
    assert!(state.mprotect(&other, base + PAGE, PAGE, 0).is_ok());
    drop(state.performed(1));
    assert!(state.munmap(&other, base, 4 * PAGE).is_ok());
}

#[test]
fn the_break_moves_and_stops() {
    let mut state = State::default();
    let base = 0x5000_0000;
    state.heap.start = base;
    state.heap.brk = base;
    let brk = |state: &mut State, limits: Limits, to: u64| {
        let done = state.brk(&Caller { limits, ..who() }, to).unwrap();
        done.answer.unwrap()
    };
    assert_eq!(brk(&mut state, Limits::NONE, 0), base);
    assert_eq!(brk(&mut state, Limits::NONE, base + 100), base + 100);
    assert_eq!(state.usage.data, 1);
    assert_eq!(
        brk(&mut state, Limits::NONE, base + 3 * PAGE),
        base + 3 * PAGE
    );
    assert_eq!(state.map.len(), 1);
    let small = Limits {
        data: 4 * PAGE,
        ..Limits::NONE
    };
    assert_eq!(brk(&mut state, small, base + 8 * PAGE), base + 3 * PAGE);
    state.insert(Vma::anon(Span::at(base + 5 * PAGE, PAGE), Prot::READ));
    assert_eq!(
        brk(&mut state, Limits::NONE, base + 5 * PAGE),
        base + 3 * PAGE,
        "a page stays free"
    );
    assert_eq!(
        brk(&mut state, Limits::NONE, base + 4 * PAGE),
        base + 4 * PAGE
    );
    assert_eq!(brk(&mut state, Limits::NONE, base), base);
    assert_eq!(state.map.len(), 1);
}

#[test]
fn limits_are_kept() {
    let mut state = State {
        layout: Layout::new(8 << 20, &mut || 0),
        ..State::default()
    };
    let call = |len, prot, flags| MapCall {
        addr: 0,
        len,
        prot: Prot::from_arg(prot),
        flags,
        may: VmaFlags::MAY_ALL,
        source: Source::Anon,
    };
    let with = |limits| Caller { limits, ..who() };
    let tight = with(Limits {
        address_space: 10 * PAGE,
        ..Limits::NONE
    });
    assert!(state.mmap(&tight, &call(8 * PAGE, 1, 0)).is_ok());
    assert!(matches!(
        state.mmap(&tight, &call(3 * PAGE, 1, 0)),
        Err(Stop::Errno(Errno::ENOMEM))
    ));
    let data = with(Limits {
        data: 2 * PAGE,
        ..Limits::NONE
    });
    assert!(state.mmap(&data, &call(3 * PAGE, 1, 0)).is_ok());
    assert!(matches!(
        state.mmap(&data, &call(3 * PAGE, 3, 0)),
        Err(Stop::Errno(Errno::ENOMEM))
    ));
    let lock = with(Limits {
        memlock: PAGE,
        ipc_lock: false,
        ..Limits::NONE
    });
    assert!(matches!(
        state.mmap(&lock, &call(2 * PAGE, 3, libc::MAP_LOCKED)),
        Err(Stop::Errno(Errno::EAGAIN))
    ));
    let none = with(Limits {
        memlock: 0,
        ipc_lock: false,
        ..Limits::NONE
    });
    assert!(matches!(
        state.mmap(&none, &call(PAGE, 3, libc::MAP_LOCKED)),
        Err(Stop::Errno(Errno::EPERM))
    ));
}

/// `cargo test --release -p sentry --lib -- --ignored --nocapture mm::tests::how_long_calls_take`
#[test]
#[ignore = "checks nothing: prints how long the map's own part of mmap, munmap and a look-up takes, to be compared by eye"]
fn how_long_calls_take() {
    for others in [20, 200, 4000] {
        let mut state = State {
            layout: Layout::new(8 << 20, &mut || 0),
            ..State::default()
        };
        let anon = |len, prot| MapCall {
            addr: 0,
            len,
            prot,
            flags: 0,
            may: VmaFlags::MAY_ALL,
            source: Source::Anon,
        };
        for i in 0..others {
            let prot = if i % 2 == 0 {
                Prot::READ
            } else {
                Prot::empty()
            };
            state.mmap(&who(), &anon(3 * PAGE, prot)).unwrap();
        }
        let call = anon(16 * PAGE, Prot::READ | Prot::WRITE);
        let start = std::time::Instant::now();
        for _ in 0..100_000 {
            let at = state.mmap(&who(), &call).unwrap().answer.unwrap();
            drop(state.munmap(&who(), at, 16 * PAGE).unwrap());
        }
        let mmap = start.elapsed() / 100_000;
        let start = std::time::Instant::now();
        let mut n = 0;
        for i in 0..100_000 {
            n += u64::from(
                state
                    .map
                    .at(state.layout.mmap_base - i % others * PAGE)
                    .is_some(),
            );
        }
        println!(
            "{others}: mmap+munmap {mmap:?}, at {:?} {n}",
            start.elapsed() / 100_000
        );
    }
}
