#![expect(
    unsafe_code,
    reason = "calls the image's functions and moves it in a child"
)]

use super::*;
use std::ffi::CString;

type ClockGettime = extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

fn clock_gettime_at(address: u64) -> ClockGettime {
    // SAFETY: the address is that of `__vdso_clock_gettime`, which has this signature, in a mapped
    // image.
    unsafe { std::mem::transmute::<usize, ClockGettime>(address as usize) }
}

fn nanos(time: &libc::timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn libc_now(clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    nanos(&time)
}

fn call(function: ClockGettime, clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(function(clock, &raw mut time), 0);
    nanos(&time)
}

#[test]
fn block_is_where_the_auxiliary_vector_says() {
    let vdso = HostVdso::detect().unwrap();
    // SAFETY: getauxval has no preconditions.
    let ehdr = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    assert_eq!(vdso.sysinfo_ehdr(vdso.start), ehdr);
    assert_eq!(vdso.vvar_len + vdso.vdso_len, vdso.total_len);
    assert!(vdso.vvar_len >= 4096 && vdso.vdso_len >= 4096);
    assert_eq!(vdso.mappings.last().unwrap().name, "[vdso]");
    let mut offset = 0;
    for mapping in &vdso.mappings {
        assert_eq!(mapping.offset, offset);
        offset += mapping.len;
    }
    assert_eq!(offset, vdso.total_len);
}

#[test]
fn symbols_are_those_that_the_dynamic_linker_finds() {
    let vdso = HostVdso::detect().unwrap();
    // SAFETY: the dynamic linker has the vDSO among its libraries under this name.
    let library = unsafe { libc::dlopen(c"linux-vdso.so.1".as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null());
    let mut found = 0;
    for symbol in &vdso.symbols {
        let name = CString::new(symbol.name.as_str()).unwrap();
        // SAFETY: a valid handle and a C string.
        let address = unsafe { libc::dlsym(library, name.as_ptr()) } as u64;
        if address != 0 {
            assert_eq!(
                vdso.address(vdso.start, &symbol.name),
                Some(address),
                "{name:?}"
            );
            found += 1;
        }
    }
    assert!(found >= 8, "{:?}", vdso.symbols);
    for name in [
        "__vdso_clock_gettime",
        "__vdso_gettimeofday",
        "__vdso_time",
        "__vdso_getcpu",
    ] {
        let symbol = vdso.symbol(name).unwrap();
        assert_ne!(symbol.support, Support::Unknown);
        assert!(symbol.offset + symbol.size <= vdso.vdso_len);
    }
}

#[test]
fn clocks_read_through_the_image_agree_with_the_system_call() {
    let vdso = HostVdso::detect().unwrap();
    let address = vdso.address(vdso.start, "__vdso_clock_gettime").unwrap();
    let function = clock_gettime_at(address);
    for clock in [
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_MONOTONIC_RAW,
    ] {
        let before = libc_now(clock);
        let through = call(function, clock);
        let after = libc_now(clock);
        assert!(before <= through && through <= after, "clock {clock}");
    }
}

#[test]
fn the_moved_block_still_tells_the_time() {
    let vdso = HostVdso::detect().unwrap();
    if vdso.sealed {
        return;
    }
    // SAFETY: reserves room for the block; the child makes only system calls and the call under
    // test, then leaves without running anything of the parent's.
    let status = unsafe {
        let room = libc::mmap(
            std::ptr::null_mut(),
            vdso.total_len as usize,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(room, libc::MAP_FAILED);
        let base = room as u64;
        let function = clock_gettime_at(vdso.address(base, "__vdso_clock_gettime").unwrap());
        let before = libc_now(libc::CLOCK_MONOTONIC);
        let child = libc::fork();
        if child == 0 {
            for mapping in &vdso.mappings {
                let moved = libc::mremap(
                    (vdso.start + mapping.offset) as *mut libc::c_void,
                    mapping.len as usize,
                    mapping.len as usize,
                    libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                    (base + mapping.offset) as *mut libc::c_void,
                );
                if moved == libc::MAP_FAILED {
                    libc::_exit(2);
                }
            }
            let mut time = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let ok = function(libc::CLOCK_MONOTONIC, &raw mut time) == 0
                && before <= nanos(&time)
                && nanos(&time) <= libc_now(libc::CLOCK_MONOTONIC);
            libc::_exit(if ok { 0 } else { 1 });
        }
        assert!(child > 0);
        let mut status = 0;
        let ended = bounded::reached(bounded::PATIENCE, || {
            libc::waitpid(child, &mut status, libc::WNOHANG) == child
        });
        if !ended {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, &mut status, 0);
            panic!("the child that moves the vDSO does not end");
        }
        libc::munmap(room, vdso.total_len as usize);
        status
    };
    assert!(libc::WIFEXITED(status), "status {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0);
}

fn find(text: &str) -> Option<(Vec<(String, u64)>, bool)> {
    let block = Block::find(text)?;
    let mappings = block
        .mappings
        .iter()
        .map(|mapping| (mapping.name.clone(), mapping.end - mapping.start))
        .collect();
    Some((mappings, block.sealed))
}

#[test]
fn blocks_are_found_in_maps_and_smaps() {
    let three = "\
7f0000000000-7f0000001000 r--p 00000000 00:00 0      [other]
7f0000002000-7f0000006000 r--p 00000000 00:00 0      [vvar]
7f0000006000-7f0000008000 r--p 00000000 00:00 0      [vvar_vclock]
7f0000008000-7f000000a000 r-xp 00000000 00:00 0      [vdso]
7fff00000000-7fff00021000 rw-p 00000000 00:00 0      [stack]
";
    let names = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter()
            .map(|(name, len)| ((*name).to_owned(), *len))
            .collect()
    };
    assert_eq!(
        find(three),
        Some((
            names(&[
                ("[vvar]", 0x4000),
                ("[vvar_vclock]", 0x2000),
                ("[vdso]", 0x2000)
            ]),
            false
        ))
    );
    let sealed = "\
7f0000002000-7f0000006000 r--p 00000000 00:00 0      [vvar]
Size:                 16 kB
VmFlags: rd mr pf io de dd sl
7f0000006000-7f0000008000 r-xp 00000000 00:00 0      [vdso]
VmFlags: rd ex mr mw me de
7fff00000000-7fff00021000 rw-p 00000000 00:00 0      [stack]
VmFlags: rd wr sl
";
    assert_eq!(
        find(sealed),
        Some((names(&[("[vvar]", 0x4000), ("[vdso]", 0x2000)]), true))
    );
    assert_eq!(
        find(&sealed.replace(" sl\n7", "\n7")).map(|found| found.1),
        Some(false)
    );
    // Data pages elsewhere are none of this block.
    let apart = three.replace("7f0000002000-7f0000006000", "7f0000001000-7f0000005000");
    assert_eq!(
        find(&apart),
        Some((
            names(&[("[vvar_vclock]", 0x2000), ("[vdso]", 0x2000)]),
            false
        ))
    );
    assert_eq!(find(""), None);
    assert_eq!(find(&three.replace("[vdso]", "[hidden]")), None);
}

fn own_image() -> Vec<u8> {
    let vdso = HostVdso::detect().unwrap();
    let mut image = vec![0; vdso.vdso_len as usize];
    fs::File::open("/proc/self/mem")
        .unwrap()
        .read_exact_at(&mut image, vdso.sysinfo_ehdr(vdso.start))
        .unwrap();
    image
}

#[test]
fn both_hash_tables_give_the_same_symbols() {
    let image = own_image();
    let all = elf::functions(&image).unwrap();
    // Hide one table after the other by giving its entry a tag that means nothing.
    for tag in [4_u64, 0x6fff_fef5] {
        let mut image = image.clone();
        let entry = image
            .chunks_exact(8)
            .position(|word| word == tag.to_le_bytes());
        let Some(entry) = entry else { continue };
        image[entry * 8..entry * 8 + 8].copy_from_slice(&0x7000_0001_u64.to_le_bytes());
        if let Some(functions) = elf::functions(&image) {
            assert_eq!(functions, all, "without {tag:#x}");
        }
    }
}

#[test]
fn damaged_images_are_survived() {
    let image = own_image();
    for len in 0..1024 {
        let _ = elf::functions(&image[..len]);
    }
    for at in 0..2048.min(image.len()) {
        for bit in 0..8 {
            let mut image = image.clone();
            image[at] ^= 1 << bit;
            let _ = elf::functions(&image);
        }
    }
}
