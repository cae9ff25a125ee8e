//! A pseudoterminal pair.

use super::channel::Channel;
use super::line::output::REACH;
use super::line::{Line, Signals};
use super::{PTS_MAJOR, job, termios};
use crate::executor::{PollEvents, WaitQueue};
use crate::kernel::Kernel;
use crate::task::{Pid, tree::Session};
use crate::vfs::Dev;
use arch::abi::{SigInfo, Termios2, Winsize};
use arch::signal::Signal;
use arch::{Errno, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

/// Typed bytes that may wait for the line discipline (the limit of a pty's port buffer).
const TYPED_LIMIT: usize = 8192;

/// Where a pair has its name.
pub trait Home: Send + Sync {
    /// The master has been closed: the name goes, and the number is free again.
    fn gone(&self, index: u32);
}

/// A pseudoterminal: both ends.
pub struct Tty {
    /// N of /dev/pts/N.
    pub index: u32,
    pub(super) kernel: Weak<Kernel>,
    home: Weak<dyn Home>,
    state: Mutex<State>,
    pub(super) control: Mutex<Control>,
    /// Those who read from and write to the master.
    pub(super) master_queue: WaitQueue,
    /// Those who read from and write to the slave.
    pub(super) slave_queue: WaitQueue,
    /// The master's place is taken by the outside.
    pub(super) channel: OnceLock<Arc<Channel>>,
}

/// Whose terminal it is.
#[derive(Default)]
pub struct Control {
    /// The session that it controls.
    pub session: Weak<Session>,
    /// The foreground process group; 0: none.
    pub foreground: Pid,
}

struct State {
    line: Line,
    /// Typed, and not taken by the line discipline yet.
    typed: VecDeque<u8>,
    window: Winsize,
    /// Open descriptions of the slave.
    slaves: usize,
    /// It has been open and no longer is: the master reads EIO.
    slave_closed: bool,
    master_closed: bool,
    /// Descriptions of the slave with a lower number have been hung up.
    generation: u64,
    /// TIOCSPTLCK.
    locked: bool,
    /// TIOCEXCL, of either end.
    exclusive: [bool; 2],
    /// TCOOFF on the master: what is written to it waits.
    master_held: bool,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What the terminal emulator has.
    Master,
    /// What the programs have.
    Slave,
}

/// What reading found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// These bytes; `over`: a line has ended, with it the read.
    Bytes { data: Vec<u8>, over: bool },
    /// Nothing now.
    Nothing,
    /// The slave has been hung up: end of file.
    HungUp,
}

/// What has happened under the lock, for those to be told after it.
#[derive(Default)]
struct News {
    signals: Signals,
    master: PollEvents,
    slave: PollEvents,
}

impl Tty {
    /// A new pair, its slave locked.
    pub fn new(index: u32, kernel: Weak<Kernel>, home: Weak<dyn Home>) -> Arc<Self> {
        Arc::new(Self {
            index,
            kernel,
            home,
            state: Mutex::new(State {
                line: Line::default(),
                typed: VecDeque::new(),
                window: Winsize::default(),
                slaves: 0,
                slave_closed: false,
                master_closed: false,
                generation: 0,
                locked: true,
                exclusive: [false; 2],
                master_held: false,
            }),
            control: Mutex::default(),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
            channel: OnceLock::new(),
        })
    }

    /// Its device number.
    pub fn dev(&self) -> Dev {
        Dev::new(PTS_MAJOR, self.index)
    }

    /// Changes the state, then tells of it.
    fn change<T>(&self, f: impl FnOnce(&mut State, &mut News) -> T) -> T {
        let (result, outside) = self.change_quietly(f);
        if let (true, Some(channel)) = (outside, self.channel.get()) {
            channel.pump();
        }
        result
    }

    /// Changes the state and tells all but the channel; whether that has something to do, too.
    fn change_quietly<T>(&self, f: impl FnOnce(&mut State, &mut News) -> T) -> (T, bool) {
        let mut news = News::default();
        let result = {
            let mut state = self.state.lock();
            let result = f(&mut state, &mut news);
            news.signals = state.line.take_signals();
            result
        };
        for signal in news.signals {
            self.signal_foreground(signal);
        }
        if !news.slave.is_empty() {
            self.slave_queue.notify(news.slave);
        }
        if !news.master.is_empty() {
            self.master_queue.notify(news.master);
        }
        (result, !news.master.is_empty())
    }

    /// Sends a signal to the foreground process group.
    pub fn signal_foreground(&self, signal: Signal) {
        let pgrp = self.control.lock().foreground;
        if let (true, Some(kernel)) = (pgrp > 0, self.kernel.upgrade()) {
            // A group without members has nobody to hear it.
            let _ = crate::signal::send_to_pgrp(&kernel, pgrp, SigInfo::kernel(signal));
        }
    }

    // ---- the slave ----

    /// Counts an open of the slave; the generation that it belongs to. EIO while it is locked or the master is gone.
    pub(super) fn open_slave(&self, privileged: bool) -> Result<u64> {
        let mut state = self.state.lock();
        if state.exclusive[End::Slave as usize] && !privileged {
            return Err(Errno::EBUSY);
        }
        if state.master_closed || state.locked {
            return Err(Errno::EIO);
        }
        state.slaves += 1;
        state.slave_closed = false;
        Ok(state.generation)
    }

    pub(super) fn close_slave(&self) {
        self.change(|state, news| {
            state.slaves -= 1;
            if state.slaves == 0 {
                state.slave_closed = true;
                news.master = PollEvents::all();
            }
        });
    }

    /// The description of this generation has been hung up.
    pub(super) fn is_hung_up(&self, generation: u64) -> bool {
        self.state.lock().generation != generation
    }

    /// Takes up to `max` bytes of input.
    pub(super) fn read_slave(&self, generation: u64, max: usize) -> Taken {
        self.change(|state, news| {
            if state.generation != generation {
                return Taken::HungUp;
            }
            if !state.line.readable() {
                return Taken::Nothing;
            }
            let mut data = Vec::new();
            let over = state.line.read(max, &mut data);
            state.feed(news);
            // There may be room again for who types.
            news.master |= PollEvents::WRITABLE;
            Taken::Bytes { data, over }
        })
    }

    /// EAGAIN unless a read of the slave would find something.
    pub(super) fn slave_ready(&self, generation: u64) -> Result<()> {
        let state = self.state.lock();
        if state.generation != generation || state.line.readable() {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    }

    /// Writes what there is room for: EIO once hung up.
    pub(super) fn write_slave(&self, generation: u64, data: &[u8]) -> Result<usize> {
        self.change(|state, news| {
            if state.generation != generation {
                return Err(Errno::EIO);
            }
            let before = state.line.out.len();
            let n = state.line.write(data);
            if state.line.out.len() > before {
                news.master = PollEvents::READABLE;
            }
            Ok(n)
        })
    }

    pub(super) fn poll_slave(&self, generation: u64) -> PollEvents {
        let state = self.state.lock();
        if state.generation != generation {
            return PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::ALWAYS;
        }
        let mut events = PollEvents::empty();
        if state.line.poll_readable() {
            events |= PollEvents::READABLE;
        }
        if state.line.out.room() > 0 {
            events |= PollEvents::WRITABLE;
        }
        events
    }

    // ---- the master ----

    /// Takes up to `max` bytes of output; in packet mode a status byte first, or a zero byte before the data.
    pub(super) fn read_master(&self, max: usize) -> Result<Vec<u8>> {
        self.change(|state, news| {
            if max == 0 {
                return Ok(Vec::new());
            }
            if state.line.packet && state.line.status != 0 {
                return Ok(vec![std::mem::take(&mut state.line.status)]);
            }
            if state.line.out.is_empty() {
                return Err(if state.slave_closed {
                    Errno::EIO
                } else {
                    Errno::EAGAIN
                });
            }
            let mut data = Vec::new();
            if state.line.packet {
                data.push(0);
            }
            data.extend(state.line.out.take((max - data.len()).min(REACH)));
            state.line.process_echoes();
            news.slave = PollEvents::WRITABLE;
            Ok(data)
        })
    }

    /// Output without taking it, and taking it: for a channel that may not take all.
    pub(super) fn peek_output(&self, max: usize) -> Vec<u8> {
        self.state.lock().line.out.peek(max)
    }

    /// Takes `n` bytes that [`Tty::peek_output`] has shown. Whoever pumps the channel calls this, so it isn't pumped again.
    pub(super) fn advance_output(&self, n: usize) {
        {
            let mut state = self.state.lock();
            state.line.out.advance(n);
            state.line.process_echoes();
        }
        self.slave_queue.notify(PollEvents::WRITABLE);
    }

    /// How many bytes may be typed now.
    pub(super) fn typing_room(&self) -> usize {
        let state = self.state.lock();
        TYPED_LIMIT - state.typed.len().min(TYPED_LIMIT)
    }

    /// Types: what there is room for.
    pub(super) fn write_master(&self, data: &[u8]) -> usize {
        self.change(|state, news| {
            if state.master_held {
                return 0;
            }
            let n = data.len().min(TYPED_LIMIT - state.typed.len());
            state.typed.extend(&data[..n]);
            state.feed(news);
            n
        })
    }

    /// Types what comes from the channel, which knows of the room there is and looks at the output itself.
    pub(super) fn type_in(&self, data: &[u8]) {
        self.change_quietly(|state, news| {
            state.typed.extend(data);
            state.feed(news);
        });
    }

    /// As if `c` had been typed (TIOCSTI).
    pub(super) fn inject(&self, c: u8) {
        self.change(|state, news| {
            state.line.receive(&[c]);
            state.after_input(news);
        });
    }

    pub(super) fn poll_master(&self) -> PollEvents {
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if !state.line.out.is_empty() {
            events |= PollEvents::READABLE;
        }
        if state.line.packet && state.line.status != 0 {
            events |= PollEvents::READABLE | PollEvents::PRI;
        }
        if state.slave_closed {
            events |= PollEvents::HUP;
        }
        if state.typed.len() < TYPED_LIMIT && !state.master_held {
            events |= PollEvents::WRITABLE;
        }
        events
    }

    /// The last description of the master is gone: the slave is hung up for good.
    pub(super) fn close_master(&self) {
        self.state.lock().master_closed = true;
        if let Some(home) = self.home.upgrade() {
            home.gone(self.index);
        }
        self.hang_up();
    }

    /// vhangup(2): whoever has the slave open gets nothing more through it.
    pub(super) fn hang_up(&self) {
        self.change(|state, news| {
            state.generation += 1;
            state.exclusive = [false; 2];
            state.typed.clear();
            state.line.flush_input();
            state.line.flush_output();
            state.line.set_settings(termios::initial());
            state.line.status = 0;
            news.slave = PollEvents::all();
            news.master = PollEvents::all();
        });
        job::lose_session(self);
    }

    // ---- both ----

    /// The settings.
    pub fn settings(&self) -> Termios2 {
        *self.state.lock().line.settings()
    }

    /// Changes the settings; `flush`: drops unread input first.
    pub(super) fn set_settings(&self, new: Termios2, flush: bool) {
        self.change(|state, news| {
            if flush {
                state.line.flush_input();
            }
            state.line.set_settings(new);
            state.feed(news);
            news.slave = PollEvents::READABLE | PollEvents::WRITABLE;
            news.master |= PollEvents::READABLE | PollEvents::PRI;
        });
    }

    /// The window's size.
    pub fn window(&self) -> Winsize {
        self.state.lock().window
    }

    /// Changes the window's size and, if it is another, tells the foreground process group.
    pub fn set_window(&self, window: Winsize) {
        let old = std::mem::replace(&mut self.state.lock().window, window);
        if old != window {
            self.signal_foreground(Signal::SIGWINCH);
        }
    }

    /// FIONREAD.
    pub(super) fn readable_bytes(&self, end: End) -> usize {
        let state = self.state.lock();
        match end {
            End::Slave => state.line.input_bytes(),
            End::Master => state.line.out.len().min(REACH),
        }
    }

    /// TCIFLUSH: what has not been read at `end`.
    pub(super) fn flush_unread(&self, end: End) {
        self.change(|state, news| match end {
            End::Slave => {
                state.typed.clear();
                state.line.flush_input();
                news.master = PollEvents::WRITABLE | PollEvents::READABLE | PollEvents::PRI;
            }
            End::Master => {
                state.line.out.clear();
                state.line.process_echoes();
                news.slave = PollEvents::WRITABLE;
            }
        });
    }

    /// TCOFLUSH: what `end` has written and the other has not got yet.
    pub(super) fn flush_unsent(&self, end: End) {
        self.change(|state, news| match end {
            End::Slave => {
                state.line.flush_output();
                news.slave = PollEvents::WRITABLE;
                news.master = PollEvents::READABLE | PollEvents::PRI;
            }
            End::Master => {
                state.typed.clear();
                news.master = PollEvents::WRITABLE;
            }
        });
    }

    /// TCOOFF, TCOON.
    pub(super) fn hold(&self, end: End, hold: bool) {
        self.change(|state, news| match end {
            End::Slave => {
                state.line.hold(hold);
                news.slave = PollEvents::WRITABLE;
                news.master = PollEvents::READABLE | PollEvents::PRI;
            }
            End::Master => {
                state.master_held = hold;
                news.master = PollEvents::WRITABLE;
            }
        });
    }

    /// Sends a control character from `end`, held or not (TCIOFF, TCION).
    pub(super) fn send_control(&self, end: End, which: usize) {
        self.change(|state, news| {
            let c = match end {
                End::Slave => state.line.settings().cc[which],
                End::Master => termios::initial().cc[which],
            };
            match end {
                _ if c == termios::DISABLED => {}
                End::Slave => {
                    let stopped = std::mem::take(&mut state.line.out.stopped);
                    if state.line.out.room() > 0 {
                        state.line.out.put(&[c]);
                    }
                    state.line.out.stopped = stopped;
                    news.master = PollEvents::READABLE;
                }
                End::Master => {
                    if state.typed.len() < TYPED_LIMIT {
                        state.typed.push_back(c);
                    }
                    state.feed(news);
                }
            }
        });
    }

    /// TIOCPKT.
    pub(super) fn set_packet(&self, on: bool) {
        let mut state = self.state.lock();
        if on && !state.line.packet {
            state.line.status = 0;
        }
        state.line.packet = on;
    }

    /// TIOCGPKT.
    pub(super) fn packet(&self) -> bool {
        self.state.lock().line.packet
    }

    /// TIOCSPTLCK.
    pub fn set_locked(&self, locked: bool) {
        self.state.lock().locked = locked;
    }

    /// TIOCGPTLCK.
    pub(super) fn locked(&self) -> bool {
        self.state.lock().locked
    }

    /// TIOCEXCL, TIOCNXCL.
    pub(super) fn set_exclusive(&self, end: End, exclusive: bool) {
        self.state.lock().exclusive[end as usize] = exclusive;
    }

    /// TIOCGEXCL.
    pub(super) fn exclusive(&self, end: End) -> bool {
        self.state.lock().exclusive[end as usize]
    }
}

impl State {
    /// Gives what has been typed to the line discipline.
    fn feed(&mut self, news: &mut News) {
        while !self.typed.is_empty() {
            let n = self.line.receive(self.typed.make_contiguous());
            self.typed.drain(..n);
            if n == 0 {
                break;
            }
        }
        self.after_input(news);
    }

    /// Input may be readable, echoes may be seen, output may have been started or flushed.
    fn after_input(&mut self, news: &mut News) {
        if self.line.readable() {
            news.slave |= PollEvents::READABLE;
        }
        if self.line.out.room() > 0 {
            news.slave |= PollEvents::WRITABLE;
        }
        if !self.line.out.is_empty() {
            news.master |= PollEvents::READABLE;
        }
        if self.line.status != 0 {
            news.master |= PollEvents::READABLE | PollEvents::PRI;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tty::line::packet;

    struct Nowhere;
    impl Home for Nowhere {
        fn gone(&self, _: u32) {}
    }

    /// An unlocked pair with its slave open, and the generation of that.
    fn pair() -> (Arc<Tty>, u64) {
        let tty = Tty::new(3, Weak::new(), Weak::<Nowhere>::new());
        assert_eq!(tty.open_slave(false), Err(Errno::EIO));
        tty.set_locked(false);
        let generation = tty.open_slave(false).unwrap();
        (tty, generation)
    }

    fn bytes(data: &[u8], over: bool) -> Taken {
        Taken::Bytes {
            data: data.to_vec(),
            over,
        }
    }

    #[test]
    fn what_is_typed_is_echoed_and_read() {
        let (tty, slave) = pair();
        assert_eq!(tty.read_slave(slave, 10), Taken::Nothing);
        assert_eq!(tty.write_master(b"ls\n"), 3);
        assert_eq!(tty.read_master(100).unwrap(), b"ls\r\n");
        assert_eq!(tty.read_master(100), Err(Errno::EAGAIN));
        assert_eq!(tty.readable_bytes(End::Slave), 3);
        assert_eq!(
            tty.poll_slave(slave),
            PollEvents::READABLE | PollEvents::WRITABLE
        );
        assert_eq!(tty.read_slave(slave, 10), bytes(b"ls\n", true));
        assert_eq!(tty.write_slave(slave, b"a\nb"), Ok(3));
        assert_eq!(tty.readable_bytes(End::Master), 4);
        assert_eq!(tty.read_master(2).unwrap(), b"a\r");
        assert_eq!(tty.read_master(100).unwrap(), b"\nb");
    }

    #[test]
    fn the_master_sees_the_slave_close_and_open_again() {
        let (tty, slave) = pair();
        tty.write_slave(slave, b"bye").unwrap();
        tty.close_slave();
        assert!(tty.poll_master().contains(PollEvents::HUP | PollEvents::IN));
        assert_eq!(tty.read_master(10).unwrap(), b"bye");
        assert_eq!(tty.read_master(10), Err(Errno::EIO));
        // Writing goes on, and the next one who opens the slave reads it.
        assert_eq!(tty.write_master(b"x\n"), 2);
        let slave = tty.open_slave(false).unwrap();
        assert_eq!(tty.read_slave(slave, 10), bytes(b"x\n", true));
        assert_eq!(tty.read_master(10).unwrap(), b"x\r\n");
        assert_eq!(tty.read_master(10), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_slave_is_hung_up_when_the_master_closes() {
        let (tty, slave) = pair();
        tty.write_master(b"lost\n");
        tty.close_master();
        assert_eq!(tty.read_slave(slave, 10), Taken::HungUp);
        assert_eq!(tty.write_slave(slave, b"x"), Err(Errno::EIO));
        let all = PollEvents::READABLE | PollEvents::WRITABLE | PollEvents::ALWAYS;
        assert_eq!(tty.poll_slave(slave), all);
        assert_eq!(tty.slave_ready(slave), Ok(()));
        assert_eq!(tty.open_slave(true), Err(Errno::EIO));
    }

    #[test]
    fn a_hangup_leaves_the_pair_to_others() {
        let (tty, old) = pair();
        tty.hang_up();
        assert!(tty.is_hung_up(old));
        let new = tty.open_slave(false).unwrap();
        assert_eq!(tty.write_slave(new, b"x"), Ok(1));
        assert_eq!(tty.write_slave(old, b"x"), Err(Errno::EIO));
    }

    #[test]
    fn an_exclusive_slave_opens_for_the_privileged_only() {
        let (tty, _) = pair();
        tty.set_exclusive(End::Slave, true);
        assert_eq!(tty.open_slave(false), Err(Errno::EBUSY));
        assert!(tty.open_slave(true).is_ok());
    }

    #[test]
    fn both_directions_are_bounded_and_go_on() {
        let (tty, slave) = pair();
        let much = vec![b'x'; 100_000];
        let written = tty.write_slave(slave, &much).unwrap();
        assert!(written < much.len());
        assert_eq!(tty.write_slave(slave, b"y"), Ok(0));
        assert!(!tty.poll_slave(slave).contains(PollEvents::OUT));
        let mut seen = 0;
        while let Ok(data) = tty.read_master(1000) {
            seen += data.len();
        }
        assert_eq!(seen, written);
        let mut raw = tty.settings();
        raw.lflag = 0;
        raw.iflag = 0;
        tty.set_settings(raw, false);
        let typed = tty.write_master(&much) + tty.write_master(&much);
        assert!(typed > 8192 && typed < much.len());
        assert!(!tty.poll_master().contains(PollEvents::OUT));
        let mut read = 0;
        while let Taken::Bytes { data, .. } = tty.read_slave(slave, 1000) {
            read += data.len();
        }
        assert_eq!(read, typed);
    }

    #[test]
    fn packet_mode_marks_data_and_changes() {
        let (tty, slave) = pair();
        tty.set_packet(true);
        tty.write_slave(slave, b"hi").unwrap();
        assert_eq!(tty.read_master(10).unwrap(), b"\0hi");
        tty.flush_unread(End::Slave);
        assert!(tty.poll_master().contains(PollEvents::PRI));
        assert_eq!(tty.read_master(10).unwrap(), [packet::FLUSH_READ]);
        assert_eq!(tty.read_master(10), Err(Errno::EAGAIN));
    }

    #[test]
    fn flushes_drop_one_direction() {
        let (tty, slave) = pair();
        tty.write_master(b"a\nb");
        tty.flush_unread(End::Slave);
        assert_eq!(tty.read_slave(slave, 10), Taken::Nothing);
        assert_eq!(tty.read_master(10).unwrap(), b"a\r\nb");
        tty.write_slave(slave, b"out").unwrap();
        tty.flush_unread(End::Master);
        assert_eq!(tty.read_master(10), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_master_that_is_held_takes_nothing() {
        let (tty, slave) = pair();
        tty.hold(End::Master, true);
        assert_eq!(tty.write_master(b"x"), 0);
        tty.hold(End::Master, false);
        assert_eq!(tty.write_master(b"x\n"), 2);
        tty.send_control(End::Slave, crate::tty::termios::VSTOP);
        assert_eq!(tty.read_master(10).unwrap(), b"x\r\n\x13");
        assert_eq!(tty.read_slave(slave, 9), bytes(b"x\n", true));
    }
}
