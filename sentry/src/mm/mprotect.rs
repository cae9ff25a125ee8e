//! mprotect(2).

use super::plan::{Act, Done, Outcome, Step, Steps, Stop};
use super::span::{PAGE, Span, TASK_SIZE, page_aligned, page_up};
use super::state::{Caller, State};
use super::vma::{Prot, VmaFlags, is_data};
use arch::Errno;

/// PROT_GROWSDOWN: from the start of the mapping on.
const PROT_GROWSDOWN: u64 = 0x0100_0000;
/// PROT_GROWSUP: no such mappings exist on this architecture.
const PROT_GROWSUP: u64 = 0x0200_0000;
/// PROT_SEM: accepted and without meaning.
const PROT_SEM: u64 = 8;

impl State {
    /// mprotect(2). What comes before the first hole (ENOMEM) or the first mapping that may not have the rights
    /// (EACCES) is changed.
    pub fn mprotect(&mut self, who: &Caller, addr: u64, len: u64, prot: u64) -> Outcome {
        let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
        let prot = prot & !grows;
        if grows == PROT_GROWSDOWN | PROT_GROWSUP || !page_aligned(addr) {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        if len == 0 {
            return Ok(Done::just(0));
        }
        let len = page_up(len);
        let end = addr.wrapping_add(len);
        if end <= addr {
            return Err(Stop::Errno(Errno::ENOMEM));
        }
        if prot & !(7 | PROT_SEM) != 0 {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        let mut span = Span::new(addr, end);
        let first = self.map.find(addr).ok_or(Errno::ENOMEM)?;
        if grows & PROT_GROWSDOWN != 0 {
            if first.span.start >= end {
                return Err(Stop::Errno(Errno::ENOMEM));
            }
            if !first.flags.contains(VmaFlags::GROWS_DOWN) {
                return Err(Stop::Errno(Errno::EINVAL));
            }
            span.start = first.span.start;
        } else if first.span.start > addr {
            return Err(Stop::Errno(Errno::ENOMEM));
        } else if grows != 0 {
            return Err(Stop::Errno(Errno::EINVAL));
        }
        self.check_pending(who.tid, span.intersect(Span::new(0, TASK_SIZE)))?;

        let mut wanted = Prot::from_arg(prot);
        let implies_exec = who.read_implies_exec && wanted.contains(Prot::READ);
        let (good, answer) = self.protectable(who, span, wanted, implies_exec);
        if good.is_empty() {
            return Err(Stop::Errno(answer.err().unwrap_or(Errno::ENOMEM)));
        }
        if implies_exec
            && self
                .map
                .in_span(good)
                .all(|v| v.flags.contains(VmaFlags::MAY_EXEC))
        {
            wanted |= Prot::EXEC;
        }
        if self.map.in_span(good).all(|v| v.prot == wanted) {
            return Ok(Done {
                answer: answer.map(|()| 0),
                steps: Steps::new(),
            });
        }
        self.check_count(self.cuts(good))?;
        let mut steps = Steps::new();
        if wanted.contains(Prot::WRITE) {
            steps = self.restore_text(who.tid, good)?;
        }
        let old = self.copy(good);
        self.update(good, |vma| vma.prot = wanted);
        let step = Step::with_undo(
            Act::Protect {
                span: good,
                prot: wanted,
            },
            &[good],
            old,
        );
        steps.push(step);
        Ok(Done {
            answer: answer.map(|()| 0),
            steps,
        })
    }

    /// How far from the start of `span` the rights may be given, and why no further.
    fn protectable(
        &self,
        who: &Caller,
        span: Span,
        prot: Prot,
        implies_exec: bool,
    ) -> (Span, arch::Result<()>) {
        let mut good = Span::new(span.start, span.start);
        let mut data = 0;
        for vma in self.map.in_span(span) {
            if vma.span.start > good.end {
                return (good, Err(Errno::ENOMEM));
            }
            let mut prot = prot;
            if implies_exec && vma.flags.contains(VmaFlags::MAY_EXEC) {
                prot |= Prot::EXEC;
            }
            if !vma.flags.allows(prot) {
                return (good, Err(Errno::EACCES));
            }
            let part = vma.span.intersect(span);
            if is_data(prot, vma.flags) && !vma.is_data() {
                data += part.len() / PAGE;
                if !self.may_expand_data(&who.limits, data) {
                    return (good, Err(Errno::ENOMEM));
                }
            }
            good.end = part.end;
        }
        let answer = if good.end < span.end {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        };
        (good, answer)
    }
}
