//! Compilers.

use super::tools::{expect, run};
use super::{Found, Unit, Workload};
use crate::place::SCRATCH;
use std::fmt::Write;
use std::path::Path;

pub const ALL: &[Workload] = &[
    Workload {
        name: "gcc-build",
        what: "make -j2 of a C program of sixteen files with gcc -O1, and a run of it",
        unit: Unit::Seconds,
        needs: &["gcc", "make"],
        run: |cx| {
            let files = cx.scale(16);
            let wanted = sources(Path::new(SCRATCH), files)?;
            let (took, out) = cx.timed(|| {
                run("make", &["-s", "-j2"])?;
                run("./program", &[])
            })?;
            expect("the program", &out, &wanted)?;
            Found::time(took, out)
        },
    },
    Workload {
        name: "make-noop",
        what: "make of a tree of 200 targets that are all up to date, five times",
        unit: Unit::Seconds,
        needs: &["make"],
        run: |cx| {
            let mut makefile = String::from("all:");
            for i in 0..200 {
                write!(makefile, " out{i}")?;
            }
            for i in 0..200 {
                write!(makefile, "\nout{i}: in{i}\n\tcp in{i} out{i}\n")?;
                std::fs::write(format!("{SCRATCH}/in{i}"), i.to_string())?;
            }
            std::fs::write(format!("{SCRATCH}/Makefile"), makefile)?;
            run("make", &["-s"])?;
            let (took, out) = cx.timed(|| {
                (0..cx.scale(5))
                    .map(|_| run("make", &[]))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            for line in out {
                expect("make", &line, "make: Nothing to be done for 'all'.")?;
            }
            expect("out199", &run("cat", &["out199"])?, "199")?;
            Found::time(took, "")
        },
    },
    Workload {
        name: "java-hello",
        what: "javac of a class and java of it",
        unit: Unit::Seconds,
        needs: &["javac", "java"],
        run: |cx| {
            let source = "import java.util.stream.*;\npublic class Hello {\n  public static void main(String[] a) {\n    \
                          System.out.println(IntStream.range(0, 100000).mapToLong(i -> (long) i * i % 7).sum());\n  }\n}\n";
            std::fs::write(format!("{SCRATCH}/Hello.java"), source)?;
            let (took, out) = cx.timed(|| {
                run("javac", &["Hello.java"])?;
                run("java", &["-cp", ".", "Hello"])
            })?;
            let wanted: u64 = (0..100_000u64).map(|i| i * i % 7).sum();
            expect("java", &out, &wanted.to_string())?;
            Found::time(took, out)
        },
    },
];

/// Writes a program of `files` files, and says what it will print.
fn sources(dir: &Path, files: usize) -> anyhow::Result<String> {
    let mut total = 0u32;
    for f in 0..files {
        let mut text = String::from(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <errno.h>\n#include <unistd.h>\n",
        );
        for i in 0..40 {
            writeln!(
                text,
                "static unsigned step{i}(unsigned x) {{ char b[64]; snprintf(b, sizeof b, \"%u\", x); \
                 for (char *p = b; *p; p++) x = x * 31 + *p * {i}u; return x; }}"
            )?;
        }
        writeln!(text, "unsigned part{f}(void) {{ unsigned x = {f};")?;
        let mut x = u32::try_from(f)?;
        for i in 0..40u32 {
            writeln!(text, "  x = step{i}(x);")?;
            for digit in x.to_string().bytes() {
                x = x
                    .wrapping_mul(31)
                    .wrapping_add(u32::from(digit).wrapping_mul(i));
            }
        }
        writeln!(text, "  return x; }}")?;
        total ^= x;
        std::fs::write(dir.join(format!("part{f}.c")), text)?;
    }
    let mut main = String::from("#include <stdio.h>\n");
    for f in 0..files {
        writeln!(main, "unsigned part{f}(void);")?;
    }
    write!(main, "int main(void) {{ printf(\"%u\\n\", 0u")?;
    for f in 0..files {
        write!(main, " ^ part{f}()")?;
    }
    writeln!(main, "); return 0; }}")?;
    std::fs::write(dir.join("main.c"), main)?;
    std::fs::write(
        dir.join("Makefile"),
        "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nCFLAGS := -O1 -Wall\nCC := gcc\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $^\n",
    )?;
    Ok(total.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tools::run_in;
    use super::*;

    #[test]
    fn the_program_prints_what_is_foretold() {
        let dir = std::env::temp_dir().join(format!("runsc-bench-cc-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let wanted = sources(&dir, 2).unwrap();
        let built = run_in(&dir, "make", &["-s"]);
        let out = built.and_then(|_| run_in(&dir, "./program", &[]));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(out.unwrap().trim_end(), wanted);
    }
}
