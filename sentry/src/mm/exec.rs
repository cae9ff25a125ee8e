//! execve(2): a program's first address space.
//!
//! Everything is decided before the old program goes ([`ExecImage::prepare`]): addresses on a map of its own, host
//! descriptors, the first stack. What is left for afterwards ([`ExecImage::load`]) are host calls, and a host that
//! refuses one of them ends the process.

use super::layout::{Layout, MMAP_MIN_ADDR, Wish};
use super::plan::{Act, Stop};
use super::span::{PAGE, Span, TASK_SIZE, page_down, page_up};
use super::state::{Heap, Limits, State};
use super::vma::{Backing, Prot, Vma, VmaFlags};
use super::{Mm, READ_IMPLIES_EXEC};
use crate::host::sys::random_u64;
use crate::task::{Creds, Cx};
use crate::vfs::{File, MapRequest, MapSource};
use arch::{Errno, Result};
use loader::{AuxParams, ElfImage, LoadPlan, PlaceRequest, Placement, StackImage, StackParams};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// ADDR_NO_RANDOMIZE of personality(2).
const ADDR_NO_RANDOMIZE: u64 = 0x004_0000;
/// The part of the stack that is mapped at once, within RLIMIT_STACK; the rest when it is touched.
const STACK_AT_ONCE: u64 = 64 << 20;
/// Stack below the first strings and tables at least.
const STACK_ROOM: u64 = 128 << 10;

/// What is to be executed.
pub struct ExecParams<'a> {
    /// The program.
    pub file: &'a Arc<File>,
    /// Its headers.
    pub image: &'a ElfImage,
    /// Its PT_INTERP.
    pub interp: Option<(&'a Arc<File>, &'a ElfImage)>,
    /// AT_EXECFN.
    pub execfn: &'a [u8],
    /// Arguments.
    pub argv: &'a [Vec<u8>],
    /// Environment.
    pub envp: &'a [Vec<u8>],
    /// Credentials of the new program.
    pub creds: &'a Creds,
    /// AT_SECURE.
    pub secure: bool,
}

/// Where things of a program are, as proc_pid_stat(5) and prctl(2) PR_SET_MM know them.
#[derive(Clone, Debug, Default)]
pub struct ImageInfo {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    /// The first stack pointer.
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// The auxiliary vector as it lies on the stack.
    pub auxv: Vec<u8>,
    /// The executable (/proc/PID/exe), and its hold on writers.
    pub exe: Option<Arc<Executable>>,
}

/// Where the vDSO is: in the stub's part of the address space, for all to read.
#[derive(Clone, Copy, Debug)]
pub struct Vdso {
    /// Its data pages.
    pub data: Span,
    /// The image, from its ELF header on.
    pub image: Span,
}

impl Vdso {
    fn of(platform: &systrap::Platform) -> Option<Self> {
        let header = platform.vdso()?;
        let (len, offset) = platform.vdso_len();
        let start = header.checked_sub(offset)?;
        Some(Self {
            data: Span::new(start, header),
            image: Span::new(header, start.checked_add(len)?),
        })
    }

    /// As /proc/PID/maps shows it.
    pub fn parts(&self) -> [(Span, &'static str, &'static [u8]); 2] {
        [
            (self.data, "r--p", b"[vvar]"),
            (self.image, "r-xp", b"[vdso]"),
        ]
    }
}

/// A file that is being executed: nobody may open it for writing (ETXTBSY).
pub struct Executable {
    /// The file.
    pub file: Arc<File>,
    denied: bool,
}

impl Executable {
    fn new(file: &Arc<File>) -> Result<Arc<Self>> {
        let denied = match file.path() {
            Some(path) => path.inode().ext().deny_write().map(|()| true)?,
            None => false,
        };
        Ok(Arc::new(Self {
            file: Arc::clone(file),
            denied,
        }))
    }
}

impl std::fmt::Debug for Executable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executable")
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        if let (true, Some(path)) = (self.denied, self.file.path()) {
            path.inode().ext().allow_write();
        }
    }
}

/// A program that is ready to take the place of another.
pub struct ExecImage {
    state: State,
    acts: Vec<Act>,
    stack: StackImage,
    entry: u64,
}

/// Where a program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first instruction.
    pub entry: u64,
    /// The stack pointer.
    pub sp: u64,
}

impl From<Stop> for Errno {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Errno(e) => e,
            // Nobody else is in a new map.
            Stop::Busy(_) => Self::EAGAIN,
        }
    }
}

impl ExecImage {
    /// Decides where everything goes.
    ///
    /// # Errors
    /// Those of [`loader::plan`] and [`loader::stack::build`] (E2BIG among them), ETXTBSY, what mapping the files gives.
    pub fn prepare(cx: &Cx, params: &ExecParams<'_>) -> Result<Self> {
        let persona = cx.task.group.personality.load(Ordering::Relaxed);
        let limits = Limits::of(&cx.task);
        let mut random = || {
            if persona & ADDR_NO_RANDOMIZE == 0 {
                random_u64()
            } else {
                0
            }
        };
        let layout = Layout::new(limits.stack, &mut random);
        let mut state = State {
            layout,
            ..State::default()
        };

        // The stack is there before the images, and they keep out of its way. Its size is known when its contents are.
        let reserved = Span::new(
            layout.stack_top - loader::stack::ARG_TOTAL_MAX - STACK_AT_ONCE,
            layout.stack_top,
        );
        state.insert(Vma::anon(reserved, Prot::empty()));
        let plan = plan(params, &mut state, &mut random)?;
        drop(state.take(Span::ALL));

        let vdso = Vdso::of(&cx.kernel().platform);
        let stack = first_stack(
            params,
            &plan,
            &limits,
            layout.stack_top,
            vdso.map(|v| v.image.start),
            &mut random,
        )?;
        let mut image = Self {
            state,
            acts: Vec::new(),
            stack,
            entry: plan.entry,
        };
        image.map_stack(&plan, &limits, persona);
        image.map_files(cx, params, &plan, persona)?;
        image.place_heap(&plan, &mut random);
        image.state.info = Arc::new(ImageInfo {
            start_code: plan.start_code,
            end_code: plan.end_code,
            start_data: plan.start_data,
            end_data: plan.end_data,
            start_stack: image.stack.sp,
            arg_start: image.stack.arg_start,
            arg_end: image.stack.arg_end,
            env_start: image.stack.env_start,
            env_end: image.stack.env_end,
            auxv: std::mem::take(&mut image.stack.auxv),
            exe: Some(Executable::new(params.file)?),
        });
        image.state.vdso = vdso;
        Ok(image)
    }

    fn map_stack(&mut self, plan: &LoadPlan, limits: &Limits, persona: u64) {
        let used = page_up(self.stack.bytes.len() as u64);
        let len = page_down(limits.stack.min(STACK_AT_ONCE)).max(used + STACK_ROOM);
        let top = self.state.layout.stack_top;
        let mut prot = Prot::READ | Prot::WRITE;
        if plan.executable_stack || persona & READ_IMPLIES_EXEC != 0 {
            prot |= Prot::EXEC;
        }
        let mut vma = Vma::anon(Span::new(top - len, top), prot);
        vma.flags |= VmaFlags::GROWS_DOWN;
        // MAP_STACK: no huge page for a stack of which a few pages are used.
        let flags = libc::MAP_STACK | libc::MAP_NORESERVE;
        self.acts.push(Act::MapAnon {
            span: vma.span,
            prot,
            flags,
        });
        self.state.insert(vma);
    }

    fn map_files(
        &mut self,
        cx: &Cx,
        params: &ExecParams<'_>,
        plan: &LoadPlan,
        persona: u64,
    ) -> Result<()> {
        for step in &plan.steps {
            match *step {
                loader::Step::Zero { addr, len } => self.acts.push(Act::Zero { addr, len }),
                loader::Step::MapAnon { addr, len, prot } => {
                    let vma = Vma::anon(Span::at(addr, len), prot_of(prot, persona));
                    self.acts.push(Act::MapAnon {
                        span: vma.span,
                        prot: vma.prot,
                        flags: 0,
                    });
                    self.replace(vma);
                }
                loader::Step::MapFile {
                    file,
                    addr,
                    len,
                    offset,
                    prot,
                } => {
                    let lead = addr - image_start(plan, file).unwrap_or(addr);
                    let file = match (file, params.interp) {
                        (loader::File::Interp, Some((file, _))) => file,
                        _ => params.file,
                    };
                    let prot = prot_of(prot, persona);
                    let span = Span::at(addr, len);
                    let request = MapRequest {
                        offset,
                        len,
                        shared: false,
                        prot: i32::from(prot.bits()),
                    };
                    let MapSource::Host {
                        fd,
                        offset: host_offset,
                    } = file.ops.map(file, &request)?
                    else {
                        return Err(Errno::ENOEXEC);
                    };
                    let mut text = None;
                    if prot == Prot::READ | Prot::EXEC && host_offset == offset {
                        let copy = cx.kernel().texts.get(file, &fd, offset, len, lead);
                        text = copy.and_then(|copy| {
                            let area = copy.free_area(&self.state.map, span)?;
                            let free = plan.steps.iter().all(|s| !span_of(s).overlaps(area));
                            free.then_some((copy, area))
                        });
                    }
                    let mut vma = Vma {
                        backing: Backing::File {
                            file: Arc::clone(file),
                            offset,
                        },
                        ..Vma::anon(span, prot)
                    };
                    if let Some((copy, area)) = text {
                        vma.text = Some(copy.part());
                        self.state.add_text(&copy, area, span);
                        let code = Arc::clone(&copy);
                        self.acts.push(Act::MapCode {
                            copy: code,
                            span: area,
                        });
                        self.acts.push(Act::MapText { copy, span });
                    } else {
                        let flags = libc::MAP_PRIVATE;
                        self.acts.push(Act::MapFd {
                            fd,
                            offset: host_offset,
                            span,
                            prot,
                            flags,
                        });
                    }
                    self.replace(vma);
                }
            }
        }
        Ok(())
    }

    fn replace(&mut self, vma: Vma) {
        drop(self.state.take(vma.span));
        self.state.insert(vma);
    }

    fn place_heap(&mut self, plan: &LoadPlan, random: &mut dyn FnMut() -> u64) {
        let start = loader::layout::brk_start(plan.brk, plan.brk_moved, random());
        let data = plan.end_data.saturating_sub(plan.start_data);
        self.state.heap = Heap {
            start,
            brk: start,
            data,
        };
    }

    /// Puts the program into `mm`, which is new and on whose thread's list nothing but an unmapping may stand.
    ///
    /// # Errors
    /// ENOMEM when the stub can't be told all of it. The old program is gone then.
    pub async fn load(self, cx: &Cx, mm: &Mm) -> Result<Start> {
        *mm.state.write() = self.state;
        for act in &self.acts {
            let pushed = act.give(&mm.space, &mut cx.thread.lock().actions());
            if pushed {
                continue;
            }
            perform(cx).await?;
            if !act.give(&mm.space, &mut cx.thread.lock().actions()) {
                return Err(Errno::ENOMEM);
            }
        }
        let (sp, bytes) = (self.stack.sp, self.stack.bytes);
        let queued = cx.thread.lock().window().queue_write(sp, &bytes);
        if !queued {
            perform(cx).await?;
            if mm.space.write(sp, &bytes) != bytes.len() {
                return Err(Errno::EFAULT);
            }
        }
        Ok(Start {
            entry: self.entry,
            sp,
        })
    }
}

/// The range of a step of the plan.
fn span_of(step: &loader::Step) -> Span {
    match *step {
        loader::Step::Zero { addr, len }
        | loader::Step::MapAnon { addr, len, .. }
        | loader::Step::MapFile { addr, len, .. } => Span::at(addr, len),
    }
}

/// Where the first mapping of one of the two files is.
fn image_start(plan: &LoadPlan, of: loader::File) -> Option<u64> {
    let starts = plan.steps.iter().filter_map(|step| match *step {
        loader::Step::MapFile { file, addr, .. } if file == of => Some(addr),
        _ => None,
    });
    starts.min()
}

/// Has the stub perform what there is.
async fn perform(cx: &Cx) -> Result<()> {
    match crate::task::run::perform(cx).await {
        systrap::Event::Parked => Ok(()),
        _ => Err(Errno::ENOMEM),
    }
}

fn prot_of(prot: loader::Prot, persona: u64) -> Prot {
    let mut out = Prot::from_arg(u64::from(prot.bits().cast_unsigned()));
    if persona & READ_IMPLIES_EXEC != 0 && out.contains(Prot::READ) {
        out |= Prot::EXEC;
    }
    out
}

/// The loader's plan, with images placed on `state`'s map.
fn plan(
    params: &ExecParams<'_>,
    state: &mut State,
    random: &mut dyn FnMut() -> u64,
) -> Result<LoadPlan> {
    let interp = params.interp.map(|(_, image)| image);
    loader::plan(params.image, interp, TASK_SIZE, |request| {
        let at = place(&request, state, random)?;
        // Taken, for what is placed next.
        state.insert(Vma::anon(Span::at(at, request.len), Prot::empty()));
        Ok(at)
    })
}

fn place(request: &PlaceRequest, state: &State, random: &mut dyn FnMut() -> u64) -> Result<u64> {
    let len = request.len;
    let free = |at: u64| {
        at.checked_add(len)
            .is_some_and(|end| end <= TASK_SIZE && state.map.is_free(Span::new(at, end)))
    };
    match request.placement {
        Placement::Fixed { addr } if addr < MMAP_MIN_ADDR => Err(Errno::EPERM),
        Placement::Fixed { addr } if free(addr) => Ok(addr),
        Placement::Fixed { .. } => Err(Errno::EEXIST),
        Placement::Pie => {
            let at = loader::layout::pie_base(random(), request.align.clamp(PAGE, 1 << 30));
            if free(at) { Ok(at) } else { Err(Errno::ENOMEM) }
        }
        Placement::Mmap => {
            let align = request.align.clamp(PAGE, 1 << 30);
            if align > PAGE
                && let Some(at) =
                    state
                        .map
                        .highest_gap(len, MMAP_MIN_ADDR, state.layout.mmap_base, align)
            {
                return Ok(at);
            }
            Ok(state.choose(
                0,
                &Wish {
                    len,
                    ..Wish::default()
                },
            )?)
        }
    }
}

fn first_stack(
    params: &ExecParams<'_>,
    plan: &LoadPlan,
    limits: &Limits,
    top: u64,
    vdso: Option<u64>,
    random: &mut dyn FnMut() -> u64,
) -> Result<StackImage> {
    let mut seed = [0; 16];
    crate::host::sys::random(&mut seed)?;
    let creds = params.creds;
    let cpu = crate::host::mm::cpu_facts();
    let aux = AuxParams {
        sysinfo_ehdr: vdso,
        minsigstksz: cpu.minsigstksz,
        hwcap: cpu.hwcap,
        hwcap2: cpu.hwcap2,
        phdr: plan.phdr,
        phent: plan.phent,
        phnum: plan.phnum,
        base: plan.interp_base,
        entry: plan.main_entry,
        uid: creds.uid,
        euid: creds.euid,
        gid: creds.gid,
        egid: creds.egid,
        secure: params.secure,
        rseq: None,
    };
    let strings = StackParams {
        top,
        argv: params.argv,
        envp: params.envp,
        execfn: params.execfn,
        platform: arch::MACHINE.as_bytes(),
        random: seed,
        align_random: random(),
        stack_limit: limits.stack,
    };
    loader::stack::build(&strings, &aux)
}
