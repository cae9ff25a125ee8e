//! Whole files: the kernel's own loading of this very process, and damaged headers.

use super::*;
use crate::layout::pie_base;
use arch::PAGE_SIZE;
use arch::regs::TASK_SIZE;
use std::collections::BTreeMap;

const INTERP_BASE: u64 = 0x7fff_f7fc_0000;

fn place(request: PlaceRequest) -> Result<u64> {
    match request.placement {
        Placement::Fixed { addr } => Ok(addr),
        Placement::Pie => Ok(pie_base(0, request.align)),
        Placement::Mmap => Ok(INTERP_BASE & !request.align.wrapping_sub(1)),
    }
}

fn image(bytes: &[u8]) -> Result<ElfImage> {
    match identify(bytes)? {
        Format::Elf(image) => Ok(image),
        Format::Script(_) => Err(Errno::ENOEXEC),
    }
}

/// Reads `path` and its interpreter from the host; None where the host lacks it.
fn load_host(path: &str) -> Option<(ElfImage, Option<ElfImage>)> {
    let main = image(&std::fs::read(path).ok()?).unwrap();
    let interp = main.interp.as_ref().map(|path| {
        let bytes = std::fs::read(std::str::from_utf8(path).unwrap()).unwrap();
        ElfImage::read_interpreter(&bytes).unwrap()
    });
    Some((main, interp))
}

/// Asserts what the crate's documentation promises of any plan.
fn assert_sane(plan: &LoadPlan) {
    for step in &plan.steps {
        match *step {
            Step::MapFile {
                addr, len, offset, ..
            } => {
                assert!(
                    len > 0 && (addr | len | offset) % PAGE_SIZE == 0,
                    "{step:x?}"
                );
                assert!(addr.checked_add(len).unwrap() <= TASK_SIZE, "{step:x?}");
                assert!(i64::try_from(offset + len).is_ok(), "{step:x?}");
            }
            Step::MapAnon { addr, len, .. } => {
                assert!(len > 0 && (addr | len) % PAGE_SIZE == 0, "{step:x?}");
                assert!(addr.checked_add(len).unwrap() <= TASK_SIZE, "{step:x?}");
            }
            Step::Zero { addr, len } => {
                assert!(len > 0 && len < PAGE_SIZE, "{step:x?}");
                assert!(addr.checked_add(len).unwrap() <= TASK_SIZE, "{step:x?}");
                assert_eq!(addr / PAGE_SIZE, (addr + len - 1) / PAGE_SIZE);
            }
        }
    }
    assert!(plan.entry < TASK_SIZE);
    assert!(plan.brk <= TASK_SIZE && plan.brk.is_multiple_of(PAGE_SIZE));
}

#[test]
fn host_programs_load() {
    let mut seen = 0;
    for path in [
        "/bin/true",
        "/bin/busybox",
        "/usr/bin/python3",
        "/sbin/ldconfig",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        let Some((main, interp)) = load_host(path) else {
            continue;
        };
        let plan = plan(&main, interp.as_ref(), TASK_SIZE, place).unwrap();
        assert_sane(&plan);
        assert!(!plan.executable_stack, "{path}");
        assert!(plan.start_code < plan.main_entry && plan.main_entry < plan.end_code);
        assert!(plan.end_data > plan.start_data && plan.brk != 0);
        assert_eq!(plan.interp_base != 0, interp.is_some());
        let covered = plan.steps.iter().any(|step| {
            matches!(step, Step::MapFile { addr, len, prot, .. }
                if prot.exec && (*addr..addr + len).contains(&plan.entry))
        });
        assert!(covered, "{path}: entry in no executable mapping");
        seen += 1;
    }
    assert!(seen >= 1);
}

/// Mappings of this process that are backed by files: first address by (path, offset).
fn own_maps() -> BTreeMap<(String, u64), (u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text| u64::from_str_radix(text, 16).unwrap();
    let mut out = BTreeMap::new();
    for line in maps.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        if let [range, _, offset, _, _, path] = fields[..] {
            let (start, end) = range.split_once('-').unwrap();
            // The lowest counts: a backtrace maps the whole program once more.
            out.entry((path.to_owned(), hex(offset)))
                .or_insert((hex(start), hex(end)));
        }
    }
    out
}

fn own_auxv() -> Vec<(u64, u64)> {
    let bytes = std::fs::read("/proc/self/auxv").unwrap();
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    bytes
        .chunks_exact(16)
        .map(|entry| (word(&entry[..8]), word(&entry[8..])))
        .collect()
}

#[test]
fn plan_is_what_the_kernel_did_with_this_process() {
    let exe = std::fs::read_link("/proc/self/exe").unwrap();
    let exe = exe.to_str().unwrap();
    let (main, Some(interp)) = load_host(exe).unwrap() else {
        return;
    };
    let interp_path = String::from_utf8(main.interp.clone().unwrap()).unwrap();
    let interp_path = std::fs::canonicalize(interp_path).unwrap();
    let interp_path = interp_path.to_str().unwrap();
    let maps = own_maps();
    let base_of = |path: &str| maps[&(path.to_owned(), 0)].0;

    let plan = plan(&main, Some(&interp), TASK_SIZE, |request| {
        Ok(match request.file {
            File::Main => base_of(exe),
            File::Interp => base_of(interp_path),
        })
    })
    .unwrap();
    assert_sane(&plan);

    let auxv: BTreeMap<_, _> = own_auxv().into_iter().collect();
    assert_eq!(auxv[&libc::AT_PHDR], plan.phdr);
    assert_eq!(auxv[&libc::AT_PHNUM], plan.phnum);
    assert_eq!(auxv[&libc::AT_PHENT], plan.phent);
    assert_eq!(auxv[&libc::AT_BASE], plan.interp_base);
    assert_eq!(auxv[&libc::AT_ENTRY], plan.main_entry);

    // Every file mapping of the plan begins where the kernel's does (the dynamic linker splits
    // some afterwards, which moves no beginning).
    for step in &plan.steps {
        if let Step::MapFile {
            file, addr, offset, ..
        } = *step
        {
            let path = if file == File::Main { exe } else { interp_path };
            assert_eq!(maps[&(path.to_owned(), offset)].0, addr, "{step:x?}");
        }
    }

    // /proc/PID/stat: 26 startcode, 27 endcode, 45 start_data, 46 end_data, 47 start_brk.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> = stat[stat.rfind(')').unwrap() + 2..]
        .split_ascii_whitespace()
        .map(|field| field.parse::<i64>().map_or(0, |number| number as u64))
        .collect();
    let field = |number: usize| fields[number - 3];
    assert_eq!(field(26), plan.start_code);
    assert_eq!(field(27), plan.end_code);
    assert_eq!(field(45), plan.start_data);
    assert_eq!(field(46), plan.end_data);
    let brk = field(47);
    assert!(brk >= plan.brk && brk <= plan.brk + PAGE_SIZE + layout::BRK_RND_SPAN);
}

#[test]
fn auxv_has_the_hosts_order() {
    let host = own_auxv();
    let has = |kind| host.iter().any(|entry| entry.0 == kind);
    let aux = AuxParams {
        sysinfo_ehdr: has(libc::AT_SYSINFO_EHDR).then_some(1),
        rseq: has(27).then_some((28, 32)),
        ..AuxParams::default()
    };
    let argv = [b"x"];
    let params = StackParams {
        top: TASK_SIZE,
        argv: &argv[..],
        envp: &[],
        execfn: b"x",
        platform: b"x86_64",
        random: [0; 16],
        align_random: 0,
        stack_limit: 8 << 20,
    };
    let image = stack::build(&params, &aux).unwrap();
    let kinds = |bytes: &[u8]| -> Vec<u64> {
        bytes
            .chunks_exact(16)
            .map(|entry| u64::from_ne_bytes(entry[..8].try_into().unwrap()))
            .collect()
    };
    let mut expect: Vec<u64> = host.iter().map(|entry| entry.0).collect();
    // HWCAP3 and HWCAP4 come with later kernels on some machines, BASE_PLATFORM on others.
    expect.retain(|kind| ![29, 30, 24].contains(kind));
    assert_eq!(kinds(&image.auxv), expect);
}

/// A small movable program of two segments with an interpreter.
fn sample() -> Vec<u8> {
    let mut file = vec![0; 0x3000];
    file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &3u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(24, &0x1010u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &4u16.to_le_bytes());
    let headers = [
        header(libc::PT_INTERP, 4, 0x200, 0x200, 12, 12),
        header(libc::PT_LOAD, 5, 0, 0, 0x1800, 0x1800),
        header(libc::PT_LOAD, 6, 0x1800, 0x2800, 0x300, 0x2900),
        header(libc::PT_GNU_STACK, 6, 0, 0, 0, 0),
    ];
    put(64, bytemuck::cast_slice(&headers));
    put(0x200, b"/lib/ld.so\0\0");
    file
}

fn header(
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
) -> ProgramHeader {
    ProgramHeader {
        kind,
        flags,
        offset,
        vaddr,
        paddr: vaddr,
        filesz,
        memsz,
        align: 0x1000,
    }
}

fn fixed(headers: &[ProgramHeader]) -> ElfImage {
    ElfImage {
        kind: Some(ElfKind::Fixed),
        entry: 0x40_0000,
        phoff: 64,
        headers: headers.to_vec(),
        interp: None,
    }
}

#[test]
fn sample_is_planned_to_the_byte() {
    let main = image(&sample()).unwrap();
    assert_eq!(main.interp.as_deref(), Some(&b"/lib/ld.so"[..]));
    let interp = ElfImage {
        kind: Some(ElfKind::Movable),
        entry: 0x10,
        phoff: 64,
        headers: vec![header(libc::PT_LOAD, 5, 0, 0, 0x1000, 0x1000)],
        interp: None,
    };
    let plan = plan(&main, Some(&interp), TASK_SIZE, place).unwrap();
    let base = pie_base(0, PAGE_SIZE);
    let (rx, rw) = (prot("rx"), prot("rw"));
    assert_eq!(
        plan.steps,
        [
            Step::MapFile {
                file: File::Main,
                addr: base,
                len: 0x2000,
                offset: 0,
                prot: rx
            },
            Step::MapFile {
                file: File::Main,
                addr: base + 0x2000,
                len: 0x1000,
                offset: 0x1000,
                prot: rw
            },
            Step::Zero {
                addr: base + 0x2b00,
                len: 0x500
            },
            Step::MapAnon {
                addr: base + 0x3000,
                len: 0x3000,
                prot: rw
            },
            Step::MapFile {
                file: File::Interp,
                addr: INTERP_BASE,
                len: 0x1000,
                offset: 0,
                prot: rx
            },
        ]
    );
    assert_eq!(plan.entry, INTERP_BASE + 0x10);
    assert_eq!(plan.main_entry, base + 0x1010);
    assert_eq!(plan.phdr, base + 64);
    assert_eq!((plan.phnum, plan.interp_base), (4, INTERP_BASE));
    assert_eq!((plan.brk, plan.brk_moved), (base + 0x6000, false));
    assert_eq!((plan.start_code, plan.end_code), (base, base + 0x1800));
    assert_eq!(
        (plan.start_data, plan.end_data),
        (base + 0x2800, base + 0x2b00)
    );
}

fn prot(text: &str) -> Prot {
    Prot {
        read: text.contains('r'),
        write: text.contains('w'),
        exec: text.contains('x'),
    }
}

#[test]
fn header_errors_are_linuxs() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = sample();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        image(&file).map(drop)
    };
    let enoexec = Err(Errno::ENOEXEC);
    assert_eq!(with(0, b"\x7fELG"), enoexec);
    assert_eq!(with(16, &[1, 0]), enoexec, "ET_REL");
    assert_eq!(with(16, &[4, 0]), enoexec, "ET_CORE");
    assert_eq!(with(18, &[3, 0]), enoexec, "EM_386");
    assert_eq!(with(54, &[32, 0]), enoexec, "e_phentsize");
    assert_eq!(with(56, &[0, 0]), enoexec, "e_phnum 0");
    assert_eq!(with(56, &[0xff, 0xff]), enoexec, "e_phnum");
    assert_eq!(with(32, &[0xff; 8]), enoexec, "e_phoff");
    assert_eq!(with(64 + 32, &[1, 0]), enoexec, "interpreter of 1 byte");
    assert_eq!(
        with(64 + 32, &[0x01, 0x10]),
        enoexec,
        "interpreter too long"
    );
    assert_eq!(with(64 + 32, &[9, 0]), enoexec, "interpreter without NUL");
    assert_eq!(
        with(64 + 8, &[0xff, 0xff]),
        Err(Errno::EIO),
        "beyond the end"
    );
    assert_eq!(
        with(64 + 8, &[0xff; 8]),
        Err(Errno::EINVAL),
        "negative offset"
    );
    // Class, data and version don't matter, as in Linux.
    assert_eq!(with(4, &[1, 2, 9]), Ok(()));

    let interp = |bytes: &[u8]| ElfImage::read_interpreter(bytes).map(drop);
    assert_eq!(interp(b"\x7fELF"), Err(Errno::EIO));
    assert_eq!(interp(&[0; 64]), Err(Errno::ELIBBAD));
    assert_eq!(interp(&sample()[..100]), Err(Errno::ELIBBAD));
    assert_eq!(interp(&sample()), Ok(()));
    assert_eq!(image(b""), Err(Errno::ENOEXEC));
    assert_eq!(image(b"hello"), Err(Errno::ENOEXEC));
}

#[test]
fn hostile_segments_are_refused() {
    let refused = |headers: &[ProgramHeader]| {
        plan(&fixed(headers), None, TASK_SIZE, place).expect_err("must be refused")
    };
    let load =
        |offset, vaddr, filesz, memsz| header(libc::PT_LOAD, 5, offset, vaddr, filesz, memsz);
    assert_eq!(refused(&[load(0, TASK_SIZE, 0, 1)]), Errno::EINVAL);
    assert_eq!(refused(&[load(0, 0x1000, 2, 1)]), Errno::EINVAL);
    assert_eq!(refused(&[load(0, 0x1000, 0, u64::MAX)]), Errno::EINVAL);
    assert_eq!(refused(&[load(0, 0x1000, 0, TASK_SIZE)]), Errno::EINVAL);
    assert_eq!(refused(&[load(1, 0x40_0000, 16, 16)]), Errno::EINVAL);
    assert_eq!(
        refused(&[load(!4095, 0x40_0000, 4096, 4096)]),
        Errno::EINVAL
    );
    assert_eq!(
        refused(&[load(i64::MAX as u64 & !4095, 0x40_0000, 4096, 4096)]),
        Errno::EOVERFLOW
    );
    let mut far = fixed(&[load(0, 0x40_0000, 16, 16)]);
    far.entry = u64::MAX;
    assert_eq!(plan(&far, None, TASK_SIZE, place), Err(Errno::EINVAL));
}

#[test]
fn a_bad_answer_of_place_is_refused() {
    let main = image(&sample()).unwrap();
    for answer in [1, 0x1001, TASK_SIZE - 0x5000, !4095] {
        let planned = plan(&main, None, TASK_SIZE, |_| Ok(answer));
        assert_eq!(planned, Err(Errno::ENOMEM), "{answer:x}");
    }
    let planned = plan(&main, None, TASK_SIZE, |_| Err(Errno::EEXIST));
    assert_eq!(planned, Err(Errno::EEXIST));
    let exec = fixed(&[header(libc::PT_LOAD, 5, 0, 0x40_0000, 16, 16)]);
    let planned = plan(&exec, None, TASK_SIZE, |_| Ok(0x50_0000));
    assert_eq!(planned, Err(Errno::ENOMEM));
}

#[test]
fn a_static_pie_goes_among_mappings_and_its_heap_elsewhere() {
    let main = image(&sample()).unwrap();
    let plan = plan(&main, None, TASK_SIZE, place).unwrap();
    assert_eq!(plan.entry, INTERP_BASE + 0x1010);
    assert_eq!(plan.interp_base, 0);
    assert!(plan.brk_moved);
    assert_eq!(plan.brk, 0x5555_5555_5000);
}

#[test]
fn an_executable_stack_is_asked_for_by_the_last_header() {
    let stack = |flags| header(libc::PT_GNU_STACK, flags, 0, 0, 0, 0);
    assert!(!fixed(&[]).executable_stack());
    assert!(fixed(&[stack(7)]).executable_stack());
    assert!(!fixed(&[stack(7), stack(6)]).executable_stack());
}

/// Runs everything over `file`; only a panic or an insane plan fails.
fn survive(file: &[u8]) {
    for read in [
        image(file),
        ElfImage::read_interpreter(file),
        ElfImage::read(file),
    ] {
        let Ok(image) = read else { continue };
        for interp in [None, Some(&image)] {
            if let Ok(plan) = plan(&image, interp, TASK_SIZE, place) {
                assert_sane(&plan);
            }
        }
    }
}

/// The first pages of programs, enough for all that is read of them.
fn heads() -> Vec<Vec<u8>> {
    ["/bin/true", "/bin/busybox", "/lib64/ld-linux-x86-64.so.2"]
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .map(|mut bytes| {
            bytes.truncate(4096);
            bytes
        })
        .chain([sample()])
        .collect()
}

#[test]
fn truncated_files_are_survived() {
    for file in heads() {
        for len in 0..file.len().min(1024) {
            survive(&file[..len]);
        }
    }
}

#[test]
fn any_flipped_bit_of_the_headers_is_survived() {
    for file in heads() {
        for at in 0..file.len().min(1024) {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                survive(&file);
            }
        }
    }
}

#[test]
fn extreme_values_in_any_word_are_survived() {
    let extremes = [
        0,
        1,
        4095,
        u64::MAX,
        u64::MAX - 4095,
        i64::MAX as u64,
        1 << 63,
        TASK_SIZE,
        TASK_SIZE - 1,
        TASK_SIZE + 1,
    ];
    for file in heads() {
        for at in (24..file.len().min(64 + 56 * 8)).step_by(8) {
            for first in extremes {
                let mut file = file.clone();
                file[at..at + 8].copy_from_slice(&first.to_le_bytes());
                survive(&file);
                for second in extremes {
                    file[at + 8..at + 16].copy_from_slice(&second.to_le_bytes());
                    survive(&file);
                }
            }
        }
    }
}

#[test]
fn random_headers_are_survived() {
    // xorshift, so that a failure can be had again.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let headers: Vec<_> = (0..1 + next() % 6)
            .map(|_| {
                let wide = |random: u64, shift: u64| random >> (16 + shift % 48);
                ProgramHeader {
                    kind: libc::PT_LOAD,
                    flags: next() as u32 & 7,
                    offset: wide(next(), next()) & !4095,
                    vaddr: wide(next(), next()) & !4095,
                    paddr: 0,
                    filesz: wide(next(), next()),
                    memsz: wide(next(), next()),
                    align: next() & next(),
                }
            })
            .collect();
        let mut image = fixed(&headers);
        for kind in [None, Some(ElfKind::Fixed), Some(ElfKind::Movable)] {
            image.kind = kind;
            for interp in [None, Some(&image)] {
                if let Ok(plan) = plan(&image, interp, TASK_SIZE, place) {
                    assert_sane(&plan);
                }
            }
        }
    }
}
