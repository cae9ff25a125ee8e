//! A program file: what execve(2) is given, as program and as interpreter, ELF or script.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::{ElfImage, Format, plan};

const TASK_SIZE: u64 = 0x7fff_0000_0000;

fuzz_target!(|data: &[u8]| {
    if let Ok(Format::Script(script)) = loader::identify(data) {
        script.argv(b"/script", &[b"/script".to_vec(), b"x".to_vec()]);
    }
    let interpreter = ElfImage::read_interpreter(data).ok();
    if let Ok(image) = ElfImage::read(data) {
        for interpreter in [None, interpreter.as_ref(), Some(&image)] {
            let _ = plan::plan(&image, interpreter, TASK_SIZE, |wanted| {
                Ok(0x10_0000_0000 & !(wanted.align - 1))
            });
        }
    }
});
