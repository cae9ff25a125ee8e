//! Text of files, mapped again and again as loaders do: nothing may come of what a kernel does to make that cheap.

use std::sync::atomic::{AtomicBool, Ordering};
use syscall_tests::cases;
use syscall_tests::prelude::*;

const R: i32 = PROT_READ;
const RX: i32 = PROT_READ | PROT_EXEC;
const RW: i32 = PROT_READ | PROT_WRITE;
const FIXED: i32 = MAP_PRIVATE | MAP_FIXED;

/// The file that getppid(3) is in, and the mapping of its text.
struct Image {
    fd: i32,
    /// Bytes from the first mapping's start to the text, of the text, and of all.
    lead: usize,
    len: usize,
    total: usize,
    /// Of the text in the file, and of the function in the text.
    offset: i64,
    function: usize,
    /// What the file has there.
    bytes: Vec<u8>,
}

fn maps() -> Vec<String> {
    let text = must!(read_file(c"/proc/self/maps"));
    String::from_utf8_lossy(&text)
        .lines()
        .map(String::from)
        .collect()
}

/// Start, end, offset and path of a line of maps.
fn parse(line: &str) -> (usize, usize, i64, &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (start, end) = words[0].split_once('-').expect("a range");
    let hex = |s| usize::from_str_radix(s, 16).expect("a number");
    let path = words.get(5).copied().unwrap_or_default();
    (hex(start), hex(end), hex(words[2]) as i64, path)
}

fn image() -> Image {
    let at = libc::getppid as *const () as usize;
    let lines = maps();
    let of = |l: &&String| (parse(l).0..parse(l).1).contains(&at);
    let text = lines.iter().find(of).expect("it is mapped");
    let (start, end, offset, path) = parse(text);
    let same: Vec<_> = lines
        .iter()
        .map(|l| parse(l))
        .filter(|l| l.3 == path)
        .collect();
    let first = same.iter().map(|l| l.0).min().expect("one");
    let last = same.iter().map(|l| l.1).max().expect("one");
    let name = std::ffi::CString::new(path).expect("a path");
    let fd = must!(open(&name, O_RDONLY, 0));
    let mut bytes = vec![0; end - start];
    let n = must!(pread(fd, &mut bytes, offset));
    check!(n > 0);
    Image {
        fd,
        lead: start - first,
        len: end - start,
        total: last - first,
        offset,
        function: at - start,
        bytes,
    }
}

impl Image {
    /// Maps it as ld.so does: all of it first, then the text in its place.
    fn map(&self) -> (*mut u8, *mut u8) {
        let base = must!(mmap(0, self.total, R, MAP_PRIVATE, self.fd, 0));
        let at = base as usize + self.lead;
        let text = must!(mmap(at, self.len, RX, FIXED, self.fd, self.offset));
        (base, text)
    }

    /// Maps and unmaps it a few times, with pauses in which something could be prepared.
    fn warm_up(&self) {
        for _ in 0..24 {
            let (base, _) = self.map();
            must!(munmap(base, self.total));
            sleep_ms(5);
        }
    }

    fn call(&self, text: *mut u8) -> i32 {
        let at = text.wrapping_add(self.function);
        // SAFETY: the function needs nothing but its own text.
        let f: extern "C" fn() -> i32 = unsafe { std::mem::transmute(at) };
        f()
    }
}

fn runs_wherever_it_is_mapped() {
    let image = image();
    for _ in 0..30 {
        let (base, text) = image.map();
        check_eq!(image.call(text), getppid());
        check_eq!(image.call(text), getppid());
        must!(munmap(base, image.total));
        sleep_ms(5);
    }
}

fn two_at_once_do_not_touch_each_other() {
    let image = image();
    image.warm_up();
    let (a, first) = image.map();
    let (b, second) = image.map();
    check_eq!(image.call(first), getppid());
    must!(munmap(a, image.total));
    check_eq!(image.call(second), getppid());
    let (c, third) = image.map();
    check_eq!(image.call(third), getppid());
    must!(munmap(b, image.total));
    check_eq!(image.call(third), getppid());
    must!(munmap(c, image.total));
}

fn made_writable_it_is_the_files() {
    let image = image();
    image.warm_up();
    let (base, text) = image.map();
    check_eq!(image.call(text), getppid());
    // One page of it, in the middle.
    let page = image.function & !(PAGE - 1);
    must!(mprotect(text.wrapping_add(page), PAGE, RW));
    check!(bytes_at(text, image.len) == image.bytes);
    poke(text.wrapping_add(page), 0x42u8);
    must!(mprotect(text.wrapping_add(page), PAGE, RX));
    check_eq!(peek(text.wrapping_add(page)), 0x42u8);
    poke_back(text.wrapping_add(page), image.bytes[page]);
    check_eq!(image.call(text), getppid());
    must!(munmap(base, image.total));
}

fn poke_back(at: *mut u8, byte: u8) {
    must!(mprotect(at, PAGE, RW));
    poke(at, byte);
    must!(mprotect(at, PAGE, RX));
}

fn moved_it_is_the_files() {
    let image = image();
    image.warm_up();
    for whole in [true, false] {
        let (base, text) = image.map();
        check_eq!(image.call(text), getppid());
        let to = must!(mmap(
            0,
            image.len,
            PROT_NONE,
            MAP_PRIVATE | MAP_ANONYMOUS,
            -1,
            0
        ));
        let (from, len) = if whole {
            (0, image.len)
        } else {
            (image.function & !(PAGE - 1), PAGE)
        };
        let at = must!(sys!(SYS_mremap, text.wrapping_add(from), len, len, 3, to));
        check_eq!(at as usize, to as usize);
        check!(bytes_at(to, len) == image.bytes[from..from + len]);
        if whole {
            check_eq!(image.call(to), getppid());
        }
        must!(munmap(to, image.len));
        must!(munmap(base, image.total));
    }
}

fn unmapping_it_leaves_nothing() {
    let image = image();
    image.warm_up();
    let before = maps().len();
    for _ in 0..10 {
        let (base, text) = image.map();
        check_eq!(image.call(text), getppid());
        must!(munmap(base, image.total));
    }
    check_eq!(maps().len(), before);
    // Piece by piece, and by something else in its place.
    let (base, text) = image.map();
    let half = (image.len / 2) & !(PAGE - 1);
    must!(munmap(text.wrapping_add(half), image.len - half));
    let anon = FIXED | MAP_ANONYMOUS;
    must!(mmap(text as usize, half, R, anon, -1, 0));
    must!(munmap(base, image.total));
    check_eq!(maps().len(), before);
    // After it was written to.
    let (base, text) = image.map();
    must!(mprotect(text, PAGE, RW));
    poke(text, 1u8);
    must!(munmap(base, image.total));
    check_eq!(maps().len(), before);
}

fn maps_shows_the_file() {
    let image = image();
    for _ in 0..30 {
        let (base, text) = image.map();
        let lines = maps();
        let line = lines.iter().find(|l| parse(l).0 == text as usize);
        let line = line.expect("it is there");
        check!(line.contains(" r-xp "));
        let (start, end, offset, path) = parse(line);
        check_eq!((end - start, offset), (image.len, image.offset));
        check!(path.starts_with('/') && !path.contains("memfd"));
        must!(munmap(base, image.total));
        sleep_ms(5);
    }
}

fn others_read_what_the_file_has() {
    let image = image();
    image.warm_up();
    let (base, text) = image.map();
    let mem = must!(open(c"/proc/self/mem", O_RDONLY, 0));
    let mut seen = vec![0; image.len];
    // Pieces that begin and end anywhere.
    for (from, len) in [
        (0, image.len),
        (image.function, 64),
        (image.function + 3, 5),
    ] {
        let at = text as usize + from;
        check_eq!(pread(mem, &mut seen[..len], at as i64), Ok(len));
        check!(seen[..len] == image.bytes[from..from + len]);
        let (local, remote) = (iov_mut(&mut seen[..len]), iov_at(at, len));
        let me = getpid();
        let n = sys!(
            SYS_process_vm_readv,
            me,
            &raw const local,
            1,
            &raw const remote,
            1,
            0
        );
        check_eq!(n, Ok(len as i64));
        check!(seen[..len] == image.bytes[from..from + len]);
    }
    must!(munmap(base, image.total));
}

/// Who reads the text to translate it (valgrind) asks for fixed addresses only: what it reads is the file's.
fn at_fixed_addresses_it_is_the_files() {
    let image = image();
    image.warm_up();
    let anon = MAP_PRIVATE | MAP_ANONYMOUS;
    for _ in 0..10 {
        let base = must!(mmap(0, image.total, PROT_NONE, anon, -1, 0));
        must!(mmap(base as usize, image.total, R, FIXED, image.fd, 0));
        let at = base as usize + image.lead;
        let text = must!(mmap(at, image.len, RX, FIXED, image.fd, image.offset));
        check!(bytes_at(text, image.len) == image.bytes);
        check_eq!(image.call(text), getppid());
        must!(munmap(base, image.total));
    }
}

fn a_child_runs_it_too() {
    let image = image();
    image.warm_up();
    let (base, text) = image.map();
    let me = getpid();
    in_child(|| check_eq!(image.call(text), me));
    check_eq!(image.call(text), getppid());
    in_child(|| {
        must!(munmap(base, image.total));
        let (_, text) = image.map();
        check_eq!(image.call(text), me);
    });
    must!(munmap(base, image.total));
}

/// A thread runs it all the time while it becomes writable, is read again from the file, and is mapped anew.
fn runs_while_its_pages_change() {
    let image = image();
    image.warm_up();
    let wanted = getppid();
    for _ in 0..20 {
        let (base, text) = image.map();
        let stop = AtomicBool::new(false);
        let at = text as usize;
        std::thread::scope(|s| {
            let runner = s.spawn(|| {
                let mut calls = 0;
                while !stop.load(Ordering::Relaxed) || calls == 0 {
                    check_eq!(image.call(at as *mut u8), wanted);
                    calls += 1;
                }
            });
            sleep_ms(1);
            must!(sys!(SYS_madvise, text, image.len, libc::MADV_DONTNEED));
            must!(mprotect(text, image.len, RW | PROT_EXEC));
            sleep_ms(1);
            must!(mprotect(text, image.len, RX));
            must!(mmap(at, image.len, RX, FIXED, image.fd, image.offset));
            sleep_ms(1);
            stop.store(true, Ordering::Relaxed);
            check!(runner.join().is_ok());
        });
        must!(munmap(base, image.total));
    }
}

cases![
    runs_wherever_it_is_mapped,
    two_at_once_do_not_touch_each_other,
    made_writable_it_is_the_files,
    moved_it_is_the_files,
    unmapping_it_leaves_nothing,
    maps_shows_the_file,
    others_read_what_the_file_has,
    at_fixed_addresses_it_is_the_files,
    a_child_runs_it_too,
    runs_while_its_pages_change,
];
