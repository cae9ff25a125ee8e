//! Random lives of sockets.

use super::*;

/// Does at random what programs do to each other's sockets, on sockets that other threads may use too.
fn live(st: &Arc<Stack>, all: &Mutex<Vec<Arc<TcpSocket>>>, seed: u64, steps: usize) {
    let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut random = move |n: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let addrs = ["127.0.0.1:5000", "127.0.0.1:5001", "127.0.0.2:5000"];
    for _ in 0..steps {
        let pick = {
            let all = all.lock();
            all.get(random(1000) % all.len().max(1)).map(Arc::clone)
        };
        let Some(s) = pick.filter(|_| random(12) > 0) else {
            if all.lock().len() < 40 {
                let s = socket(st);
                s.base().set(Flags::REUSEADDR, random(2) == 0);
                s.base().set(Flags::OOBINLINE, random(4) == 0);
                all.lock().push(s);
            }
            continue;
        };
        let size = [0, 1, 100, 3000, 70_000, 400_000][random(6)];
        let flags = [0, 0, 0, 1, 2, 0x20][random(6)];
        match random(16) {
            0 => _ = bind(&s, addrs[random(3)]),
            1 => _ = s.listen_with(random(4) as u32),
            2 | 3 => _ = s.connect_to(&name(addrs[random(3)])),
            4 => _ = s.connect_status(),
            5 | 6 => {
                if let Ok(new) = s.accept_one() {
                    all.lock().push(new);
                }
            }
            7 | 8 => {
                let flags = MsgFlags::from_bits_retain(flags & 1);
                _ = s.send(&mut SliceSource(&vec![7; size]), None, flags);
            }
            9..12 => _ = recv_flags(&s, size, MsgFlags::from_bits_retain(flags)),
            12 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][random(3)];
                _ = s.shut(how);
            }
            13 if random(4) == 0 => _ = s.connect_to(&SockAddr::new(&[0; 16]).unwrap()),
            14 => {
                let linger = if random(2) == 0 { 0 } else { -1 };
                s.base().linger.store(linger, Ordering::Relaxed);
            }
            15 if random(3) == 0 => {
                // As with descriptors: only one gives a socket up, and only when nobody else uses it.
                let mut all = all.lock();
                if let Some(at) = all.iter().position(|o| Arc::ptr_eq(o, &s))
                    && Arc::strong_count(&s) == 2
                {
                    all.swap_remove(at);
                    drop(all);
                    s.release();
                }
            }
            _ => _ = s.readiness(),
        }
        assert!(st.queued() < 1 << 30);
    }
}

/// Closes the sockets, and looks for what they have left.
fn bury(st: &Arc<Stack>, all: &Mutex<Vec<Arc<TcpSocket>>>) {
    for s in std::mem::take(&mut *all.lock()) {
        s.release();
    }
    assert_eq!(st.queued(), 0);
    assert_eq!(st.stats.tcp_curr_estab.get(), 0);
    assert!(st.listeners.all().is_empty());
    let later = crate::net::inet::stack::now() + 2 * crate::net::inet::ports::TIME_WAIT_NS;
    assert!(st.conns.all(later).is_empty());
    st.tcp_ports.lock().purge(later);
    assert_eq!(st.tcp_ports.lock().in_use(), 0);
}

#[test]
fn random_lives_leave_nothing() {
    let (mut connections, mut bytes) = (0, 0);
    for round in 0..60 {
        let (st, all) = (stack(), Mutex::default());
        live(&st, &all, round, 3000);
        bury(&st, &all);
        connections += st.stats.tcp_passive_opens.get();
        bytes += st.stats.lo_bytes.get();
    }
    // The lives were not empty ones.
    assert!(
        connections > 300 && bytes > 1 << 20,
        "{connections} {bytes}"
    );
}

#[test]
fn random_lives_in_threads_leave_nothing() {
    within(PATIENCE, "ten rounds of random lives", || {
        (0..10).for_each(lives_in_threads)
    });
}

fn lives_in_threads(round: u64) {
    let (st, all) = (stack(), Mutex::default());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (st, all) = (&st, &all);
            scope.spawn(move || live(st, all, round * 10 + thread, 3000));
        }
    });
    bury(&st, &all);
}
