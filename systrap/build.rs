//! Builds the stub blob: compiles `stub/main.rs` freestanding with the same
//! compiler, lays its sections out at `layout::TEXT`, and writes the bytes
//! and the addresses of its entry points to OUT_DIR. A tiny linker of its own
//! (two kinds of relocation), because the blob must come out the same with
//! whatever linker the machine has.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let stub = root.join("stub");
    println!("cargo::rerun-if-changed={}", stub.display());
    for shared in ["layout.rs", "proto.rs"] {
        println!(
            "cargo::rerun-if-changed={}",
            root.join("src").join(shared).display()
        );
    }
    println!("cargo::rerun-if-changed=build.rs");

    compile(&stub.join("main.rs"), &out);
    let asm = fs::read_to_string(out.join("stub.s")).expect("rustc wrote stub.s");
    refuse_vector_registers(&asm);
    let object = fs::read(out.join("stub.o")).expect("rustc wrote stub.o");
    let blob = link(&object);
    fs::write(out.join("stub.bin"), &blob.bytes).expect("OUT_DIR is writable");
    let mut consts = String::new();
    for (name, offset) in [
        ("RESTORER", "stub_restorer"),
        ("ENTRY", "stub_entry"),
        ("BOOT", "stub_boot1"),
        ("FAST", "stub_fast"),
    ] {
        let at = blob
            .symbols
            .get(offset)
            .unwrap_or_else(|| panic!("stub lacks {offset}"));
        writeln!(
            consts,
            "/// Offset of `{offset}`.\npub const {name}: u64 = {at:#x};"
        )
        .expect("string");
    }
    fs::write(out.join("stub_symbols.rs"), consts).expect("OUT_DIR is writable");
}

fn compile(source: &Path, out: &Path) {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = env::var("TARGET").expect("set by cargo");
    assert!(
        target.starts_with("x86_64"),
        "the stub exists for x86-64 only, not for {target}"
    );
    let status = Command::new(&rustc)
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--crate-name",
            "stub",
        ])
        .args(["--target", &target])
        .arg(format!(
            "--emit=obj={},asm={}",
            out.join("stub.o").display(),
            out.join("stub.s").display()
        ))
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=2",
            "-C",
            "relocation-model=pic",
        ])
        .args([
            "-C",
            "codegen-units=1",
            "-C",
            "overflow-checks=off",
            "-C",
            "debuginfo=0",
        ])
        .args(["-C", "debug-assertions=off", "-C", "target-cpu=x86-64"])
        .args(["-C", "no-vectorize-loops", "-C", "no-vectorize-slp"])
        .args(["-C", "embed-bitcode=no"])
        .arg(source)
        .status()
        .unwrap_or_else(|e| panic!("cannot run {}: {e}", rustc.display()));
    assert!(status.success(), "compiling the stub failed");
}

/// The stub runs between two instructions of the application, whose vector
/// state it must not touch. A compiler that chose such a register after all
/// must not go unnoticed.
fn refuse_vector_registers(asm: &str) {
    for line in asm.lines() {
        let code = line.split('#').next().unwrap_or("");
        for reg in ["%xmm", "%ymm", "%zmm", "%mm", "%st("] {
            assert!(
                !code.contains(reg),
                "the stub uses a vector register: {line}"
            );
        }
    }
}

struct Blob {
    bytes: Vec<u8>,
    symbols: HashMap<String, u64>,
}

fn u16_at(b: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([b[at], b[at + 1]]))
}

fn u32_at(b: &[u8], at: usize) -> usize {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes")) as usize
}

fn u64_at(b: &[u8], at: usize) -> usize {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("8 bytes")) as usize
}

fn name_at(b: &[u8], at: usize) -> String {
    let end = at + b[at..].iter().position(|c| *c == 0).expect("NUL");
    String::from_utf8_lossy(&b[at..end]).into_owned()
}

struct Section {
    name: String,
    kind: usize,
    flags: usize,
    offset: usize,
    size: usize,
    link: usize,
    info: usize,
    align: usize,
}

fn sections(o: &[u8]) -> Vec<Section> {
    assert_eq!(
        &o[..6],
        b"\x7fELF\x02\x01",
        "stub.o is not a 64-bit little-endian ELF file"
    );
    let (shoff, shentsize, shnum, shstrndx) =
        (u64_at(o, 40), u16_at(o, 58), u16_at(o, 60), u16_at(o, 62));
    let names = u64_at(o, shoff + shstrndx * shentsize + 24);
    (0..shnum)
        .map(|i| {
            let h = shoff + i * shentsize;
            Section {
                name: name_at(o, names + u32_at(o, h)),
                kind: u32_at(o, h + 4),
                flags: u64_at(o, h + 8),
                offset: u64_at(o, h + 24),
                size: u64_at(o, h + 32),
                link: u32_at(o, h + 40),
                info: u32_at(o, h + 44),
                align: u64_at(o, h + 48),
            }
        })
        .collect()
}

/// Text first, then constants, all in one image; only distances within it may
/// be asked for.
fn link(o: &[u8]) -> Blob {
    const SYMTAB: usize = 2;
    const RELA: usize = 4;
    const NOBITS: usize = 8;
    const WRITE: usize = 1;
    const ALLOC: usize = 2;
    let sections = sections(o);
    let mut bytes = Vec::new();
    let mut placed = HashMap::new();
    for text in [true, false] {
        for (i, s) in sections.iter().enumerate() {
            let wanted = s.flags & ALLOC != 0 && s.size != 0 && s.name != ".eh_frame";
            if !wanted || s.name.starts_with(".note") || s.name.starts_with(".text") != text {
                continue;
            }
            assert!(
                s.flags & WRITE == 0 && s.kind != NOBITS,
                "the stub has writable data: {}",
                s.name
            );
            bytes.resize(bytes.len().next_multiple_of(s.align.max(1)), 0xcc);
            placed.insert(i, bytes.len());
            bytes.extend_from_slice(&o[s.offset..s.offset + s.size]);
        }
    }
    let symtab = sections
        .iter()
        .find(|s| s.kind == SYMTAB)
        .expect("symbol table");
    let strings = sections[symtab.link].offset;
    // (name, image offset) of a symbol
    let symbol = |i: usize| {
        let s = symtab.offset + i * 24;
        let name = name_at(o, strings + u32_at(o, s));
        let at = placed
            .get(&u16_at(o, s + 6))
            .map(|base| base + u64_at(o, s + 8));
        (name, at)
    };
    for r in sections.iter().filter(|s| s.kind == RELA) {
        let Some(&base) = placed.get(&r.info) else {
            continue;
        };
        for at in (r.offset..r.offset + r.size).step_by(24) {
            let place = base + u64_at(o, at);
            let (kind, index) = (u32_at(o, at + 8), u32_at(o, at + 12));
            let addend = u64_at(o, at + 16) as i64;
            let (name, target) = symbol(index);
            // R_X86_64_PC32, R_X86_64_PLT32
            assert!(
                matches!(kind, 2 | 4),
                "the stub needs relocation type {kind} against {name}"
            );
            let target = target.unwrap_or_else(|| panic!("the stub refers to {name}"));
            let value = i32::try_from(target as i64 + addend - place as i64).expect("small image");
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    let symbols = (0..symtab.size / 24)
        .map(symbol)
        .filter_map(|(name, at)| Some((name, at? as u64)))
        .collect();
    Blob { bytes, symbols }
}
