"""The program inside of tests/soak.rs: does what the lines of its standard input ask for.

A line is a name and a number. The answer is `all` while what was asked for exists (only where that is of interest; it
goes on with the next line), then `done` once it is over.
"""

import mmap
import os
import resource
import select
import signal
import socket
import sys
import threading


def say(word):
    print(word, flush=True)
    if not sys.stdin.readline():
        sys.exit(9)


def processes(count):
    """So many at once."""
    hold, held = os.pipe()
    here, there = os.pipe()
    children = []
    for n in range(count):
        child = os.fork()
        if child == 0:
            os.close(held)
            os.write(there, b"x")
            os.read(hold, 1)
            os._exit(n % 100)
        children.append(child)
    os.close(hold)
    os.close(there)
    arrived = 0
    while arrived < count:
        arrived += len(os.read(here, 4096))
    os.close(here)
    say("all")
    os.close(held)
    for n, child in enumerate(children):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == n % 100


def threads(count):
    """So many in this process."""
    threading.stack_size(64 << 10)
    over = threading.Event()
    arrived = threading.Semaphore(0)

    def body():
        arrived.release()
        over.wait()

    all = [threading.Thread(target=body) for _ in range(count)]
    for thread in all:
        thread.start()
    for _ in all:
        arrived.acquire()
    say("all")
    over.set()
    for thread in all:
        thread.join()


def forks(count):
    """One after the other."""
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def spawns(count):
    """Of another program, one after the other."""
    for _ in range(count):
        child = os.posix_spawn("/bin/true", ["true"], {})
        assert os.waitpid(child, 0)[1] == 0


def killed(count):
    """Processes with threads of their own, ended by a signal in the middle of it."""
    for _ in range(count):
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            threading.stack_size(64 << 10)
            for _ in range(3):
                threading.Thread(target=threading.Event().wait, daemon=True).start()
            os.write(there, b"x")
            while True:
                os.getppid()
        os.read(here, 1)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        os.close(here)
        os.close(there)


def objects(count):
    """Descriptors of many kinds, and memory, made and dropped."""
    name = f"{os.environ.get('TMPDIR', '/tmp')}/soak-{os.getpid()}"
    for _ in range(count):
        with open(name, "wb") as file:
            file.write(b"x" * 5000)
        with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[0] = 1
        os.unlink(name)
        with open("/etc/passwd", "rb") as file:
            file.read()
        os.listdir("/proc/self/fd")
        for fd in (*os.pipe(), os.eventfd(0), os.memfd_create("x")):
            os.close(fd)
        a, b = socket.socketpair()
        with a, b, select.epoll() as poll:
            poll.register(a, select.EPOLLIN)
            # A descriptor in flight that nobody takes.
            socket.send_fds(b, [b"x"], [b.fileno()])
            assert poll.poll(1)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname()) as out:
                with listener.accept()[0] as back:
                    out.sendall(b"x" * 1000)
                    back.recv(10)
        with mmap.mmap(-1, 1 << 20) as view:
            view[0] = 1


def bomb(count):
    """Every process forks until that is refused. There may be so many."""
    child = os.fork()
    if child == 0:
        os.setgid(54321)
        os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
        os.setpgid(0, 0)
        here, there = os.pipe()
        first = os.getpid()
        while True:
            try:
                if os.fork() == 0:
                    os.write(there, b"x")
            except BlockingIOError:
                break
        if os.getpid() != first:
            signal.pause()
        made = 1
        # So many, and not one more.
        while select.select([here], [], [], 10 if made < count else 0.1)[0]:
            made += len(os.read(here, 4096))
        if made != count:
            print(f"{made} processes instead of {count}", file=sys.stderr)
            os.killpg(0, signal.SIGKILL)
        say("all")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        try:
            while True:
                os.wait()
        except ChildProcessError:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, status
    # Those whose parents ended first are ours now (we are process 1).
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


for line in sys.stdin:
    what, count = line.split()
    globals()[what](int(count))
    print("done", flush=True)
