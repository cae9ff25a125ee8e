use super::*;
use crate::event::eventfd::EventFd;
use crate::event::pipe::Pipe;
use crate::user::{SliceSource, VecSink};

const IN: u32 = PollEvents::IN.bits();
const OUT: u32 = PollEvents::OUT.bits();
const HUP: u32 = PollEvents::HUP.bits();

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

fn epoll(file: &Arc<File>) -> &Epoll {
    file.downcast().unwrap()
}

/// Reported (events, data), in order.
fn wait(file: &Arc<File>) -> Vec<(u32, u64)> {
    wait_max(file, 100)
}

fn wait_max(file: &Arc<File>, max: usize) -> Vec<(u32, u64)> {
    match epoll(file).collect(max) {
        Ok(batch) => batch.events.iter().map(|e| (e.events, e.data)).collect(),
        Err(_) => Vec::new(),
    }
}

fn write(file: &Arc<File>, data: &[u8]) {
    file.ops.write(file, 0, &mut SliceSource(data)).unwrap();
}

fn read(file: &Arc<File>, n: usize) {
    file.ops.read(file, 0, &mut VecSink::new(n)).unwrap();
}

#[test]
fn level_triggered_reports_until_it_is_dealt_with() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    epoll(&ep).add(3, &r, event(IN, 7)).unwrap();
    assert_eq!(wait(&ep), []);
    write(&w, b"x");
    assert_eq!(wait(&ep), [(IN, 7)]);
    assert_eq!(wait(&ep), [(IN, 7)]);
    read(&r, 1);
    assert_eq!(wait(&ep), []);
    drop(w);
    assert_eq!(wait(&ep), [(HUP, 7)]);
}

#[test]
fn edge_triggered_reports_each_arrival_once() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    write(&w, b"x");
    epoll(&ep).add(3, &r, event(IN | EDGE, 7)).unwrap();
    assert_eq!(wait(&ep), [(IN, 7)]);
    assert_eq!(wait(&ep), []);
    write(&w, b"y");
    assert_eq!(wait(&ep), [(IN, 7)]);
    epoll(&ep).modify(3, &r, event(IN | EDGE, 8)).unwrap();
    assert_eq!(wait(&ep), [(IN, 8)]);
}

#[test]
fn one_shot_waits_for_a_modification() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    epoll(&ep).add(3, &r, event(IN | ONESHOT, 7)).unwrap();
    write(&w, b"x");
    assert_eq!(wait(&ep), [(IN, 7)]);
    write(&w, b"y");
    assert_eq!(wait(&ep), []);
    epoll(&ep).modify(3, &r, event(IN | ONESHOT, 9)).unwrap();
    assert_eq!(wait(&ep), [(IN, 9)]);
}

#[test]
fn errors_of_ctl() {
    let (r, _w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    assert_eq!(epoll(&ep).modify(3, &r, event(IN, 0)), Err(Errno::ENOENT));
    assert_eq!(epoll(&ep).delete(3, &r), Err(Errno::ENOENT));
    epoll(&ep).add(3, &r, event(IN, 0)).unwrap();
    assert_eq!(epoll(&ep).add(3, &r, event(IN, 0)), Err(Errno::EEXIST));
    epoll(&ep).add(4, &r, event(IN, 0)).unwrap();
    assert_eq!(epoll(&ep).add(9, &ep, event(IN, 0)), Err(Errno::EINVAL));
    assert_eq!(
        epoll(&ep).add(5, &r, event(IN | EXCLUSIVE | ONESHOT, 0)),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        epoll(&ep).modify(4, &r, event(IN | EXCLUSIVE, 0)),
        Err(Errno::EINVAL)
    );
    epoll(&ep).delete(3, &r).unwrap();
    assert_eq!(epoll(&ep).delete(3, &r), Err(Errno::ENOENT));
}

#[test]
fn a_description_that_goes_leaves_the_set() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    epoll(&ep).add(3, &r, event(IN, 7)).unwrap();
    write(&w, b"x");
    let second = r.clone();
    drop(r);
    assert_eq!(wait(&ep), [(IN, 7)]);
    drop(second);
    assert_eq!(wait(&ep), []);
    assert!(epoll(&ep).set.items.lock().is_empty());
    // The pipe's queue holds nothing of the item any more.
    drop(w);
}

#[test]
fn an_instance_that_goes_leaves_the_queues() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let ep = Epoll::open();
    epoll(&ep).add(3, &r, event(IN, 7)).unwrap();
    write(&w, b"x");
    let ready = Arc::downgrade(&epoll(&ep).set.ready);
    drop(ep);
    assert!(r.ops.wait_queue().unwrap().is_empty());
    assert!(ready.upgrade().is_none());
}

#[test]
fn turns_are_taken_when_there_is_more_than_fits() {
    let ep = Epoll::open();
    let files: Vec<_> = (0..5).map(|_| EventFd::open(1, false, 0)).collect();
    for (n, file) in files.iter().enumerate() {
        epoll(&ep).add(n as i32, file, event(IN, n as u64)).unwrap();
    }
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..5 {
        seen.extend(wait_max(&ep, 2).iter().map(|e| e.1));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[test]
fn an_instance_in_an_instance() {
    let (r, w) = Pipe::pair(0, 0, 0);
    let (inner, outer) = (Epoll::open(), Epoll::open());
    epoll(&outer).add(10, &inner, event(IN, 1)).unwrap();
    epoll(&inner).add(3, &r, event(IN, 2)).unwrap();
    assert_eq!(wait(&outer), []);
    write(&w, b"x");
    assert_eq!(wait(&outer), [(IN, 1)]);
    assert_eq!(wait(&inner), [(IN, 2)]);
    read(&r, 1);
    assert_eq!(wait(&outer), []);
    assert_eq!(
        epoll(&inner).add(11, &outer, event(IN, 0)),
        Err(Errno::ELOOP)
    );
    epoll(&outer).delete(10, &inner).unwrap();
    epoll(&inner).add(11, &outer, event(IN, 0)).unwrap();
}

#[test]
fn chains_end_at_five() {
    let eps: Vec<_> = (0..6).map(|_| Epoll::open()).collect();
    for n in 0..4 {
        epoll(&eps[n])
            .add(n as i32, &eps[n + 1], event(IN, 0))
            .unwrap();
    }
    assert_eq!(
        epoll(&eps[4]).add(9, &eps[5], event(IN, 0)),
        Err(Errno::ELOOP)
    );
    assert_eq!(
        epoll(&eps[5]).add(9, &eps[0], event(IN, 0)),
        Err(Errno::ELOOP)
    );
}

#[test]
fn ways_are_bounded() {
    let bottom = Epoll::open();
    let file = EventFd::open(0, false, 0);
    let mids: Vec<_> = (0..501).map(|_| Epoll::open()).collect();
    for (n, mid) in mids.iter().take(500).enumerate() {
        epoll(mid).add(n as i32, &bottom, event(IN, 0)).unwrap();
    }
    assert_eq!(
        epoll(&mids[500]).add(1, &bottom, event(IN, 0)),
        Err(Errno::EINVAL)
    );
    epoll(&bottom).add(1, &file, event(IN, 0)).unwrap();
    drop(mids);
    epoll(&Epoll::open()).add(1, &bottom, event(IN, 0)).unwrap();
}

#[test]
fn an_exclusive_watch_wakes_one_waiter() {
    struct Waiter(std::sync::atomic::AtomicUsize);
    impl crate::executor::Listener for Waiter {
        fn notify(&self, _: PollEvents) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            true
        }
    }
    let file = EventFd::open(0, false, 0);
    let eps: Vec<_> = (0..3).map(|_| Epoll::open()).collect();
    let waiter = Arc::new(Waiter(AtomicUsize::new(0)));
    for ep in &eps {
        epoll(ep).add(1, &file, event(IN | EXCLUSIVE, 0)).unwrap();
        epoll(ep).queue().add(PollEvents::IN, false, waiter.clone());
    }
    write(&file, &1u64.to_ne_bytes());
    assert_eq!(waiter.0.load(Ordering::SeqCst), 1);
}

#[test]
fn undelivered_events_come_again() {
    let file = EventFd::open(1, false, 0);
    let ep = Epoll::open();
    epoll(&ep)
        .add(1, &file, event(OUT | EDGE | ONESHOT, 5))
        .unwrap();
    let batch = epoll(&ep).collect(10).unwrap();
    epoll(&ep).take_back(&batch, 0);
    assert_eq!(wait(&ep), [(OUT, 5)]);
    assert_eq!(wait(&ep), []);
}
