# needs: python3
python3 - <<'EOF'
import os, sys, subprocess, threading, signal, mmap, ctypes, sqlite3, tempfile, time, socket, select, struct
print(subprocess.run(["sh", "-c", "cat; exit 3"], input=b"in", capture_output=True))
lock = threading.Lock(); total = 0
def work():
    global total
    for _ in range(1000):
        with lock: total += 1
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]; print(total)
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 8192); f.flush()
    m = mmap.mmap(f.fileno(), 8192); m[0:3] = b"abc"; m.flush(); f.seek(0); print(f.read(4)); m.close()
libc = ctypes.CDLL(None); print(libc.getpid() == os.getpid(), libc.strlen(b"four"))
db = sqlite3.connect(":memory:"); db.execute("create table t(a int)"); db.executemany("insert into t values(?)", [(i,) for i in range(100)])
print(db.execute("select sum(a) from t").fetchone())
got = []
signal.signal(signal.SIGALRM, lambda *a: got.append("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2); print(got)
signal.signal(signal.SIGUSR1, lambda *a: got.append("usr1")); os.kill(os.getpid(), signal.SIGUSR1); print(got)
r, w = os.pipe(); pid = os.fork()
if pid == 0: os.write(w, b"child"); os._exit(7)
print(os.read(r, 10), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
a, b = socket.socketpair(); a.sendall(b"ping"); print(b.recv(10), select.select([a], [], [], 0))
print(os.sched_getaffinity(0) != set(), os.cpu_count() > 0)
p = select.poll(); p.register(b, select.POLLIN); a.send(b"y"); print([e for _, e in p.poll(1000)])
EOF
