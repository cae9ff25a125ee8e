//! CPython.

use super::tools::{expect, run, run_with_input};
use super::{Found, Unit, Workload};

pub const ALL: &[Workload] = &[
    Workload {
        name: "python-start",
        what: "python3 -c 'print(6*7)', ten times",
        unit: Unit::Seconds,
        needs: &["python3"],
        run: |cx| {
            let n = cx.scale(10);
            let (took, out) = cx.timed(|| {
                (0..n)
                    .map(|_| run("python3", &["-c", "print(6*7)"]))
                    .collect::<Result<String, _>>()
            })?;
            expect("python3", &out, "42\n".repeat(n).trim_end())?;
            Found::time(took, out)
        },
    },
    Workload {
        name: "python-imports",
        what: "python3 with twenty modules of its library, three times",
        unit: Unit::Seconds,
        needs: &["python3"],
        run: |cx| {
            let script = "import json, re, asyncio, http.client, email.message, urllib.request, subprocess, argparse, \
                          logging, unittest, decimal, datetime, hashlib, sqlite3, tarfile, zipfile, csv, xml.dom.minidom, \
                          concurrent.futures, multiprocessing\nprint(json.dumps({'a': [1, 2.5]}))";
            let (took, out) = cx.timed(|| {
                (0..cx.scale(3))
                    .map(|_| run("python3", &["-c", script]))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            for line in &out {
                expect("python3", line, r#"{"a": [1, 2.5]}"#)?;
            }
            Found::time(took, "")
        },
    },
    Workload {
        name: "python-subprocess",
        what: "python3: subprocess.run of a program 100 times, its output read",
        unit: Unit::Seconds,
        needs: &["python3", "echo"],
        run: |cx| {
            let n = cx.scale(100);
            let script = format!(
                "import subprocess\nprint(sum(int(subprocess.run(['/bin/echo', str(i)], capture_output=True, check=True).stdout) \
                 for i in range({n})))"
            );
            let (took, out) = cx.timed(|| run_with_input("python3", &["-"], script.as_bytes()))?;
            expect("python3", &out, &(n * (n - 1) / 2).to_string())?;
            Found::time(took, out)
        },
    },
    Workload {
        name: "python-asyncio",
        what: "python3: asyncio echo server and 16 clients over loopback TCP, 4800 messages",
        unit: Unit::Seconds,
        needs: &["python3"],
        run: |cx| {
            let n = cx.scale(300);
            let script = format!(
                r#"
import asyncio
async def serve(r, w):
    while line := await r.readline():
        w.write(line)
        await w.drain()
    w.close()
async def client(port, k):
    r, w = await asyncio.open_connection('127.0.0.1', port)
    total = 0
    for i in range({n}):
        w.write(b'%d\n' % (i * k))
        total += int(await r.readline())
    w.close()
    return total
async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    port = server.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*(client(port, k) for k in range(16)))))
asyncio.run(main())
"#
            );
            let (took, out) = cx.timed(|| run_with_input("python3", &["-"], script.as_bytes()))?;
            expect("python3", &out, &(120 * n * (n - 1) / 2).to_string())?;
            Found::time(took, out)
        },
    },
    Workload {
        name: "python-threads",
        what: "python3: 4 threads hand 8000 items through queues",
        unit: Unit::Seconds,
        needs: &["python3"],
        run: |cx| {
            let n = cx.scale(8000);
            let script = format!(
                r#"
import threading, queue
first, last = queue.Queue(8), queue.Queue(8)
def work():
    while (x := first.get()) is not None:
        last.put(x * x)
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
def feed():
    for i in range({n}): first.put(i)
    for _ in threads: first.put(None)
feeder = threading.Thread(target=feed); feeder.start()
print(sum(last.get() for _ in range({n})))
for t in threads + [feeder]: t.join()
"#
            );
            let (took, out) = cx.timed(|| run_with_input("python3", &["-"], script.as_bytes()))?;
            let wanted: usize = (0..n).map(|i| i * i).sum();
            expect("python3", &out, &wanted.to_string())?;
            Found::time(took, out)
        },
    },
];
