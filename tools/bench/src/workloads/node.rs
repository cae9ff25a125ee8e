//! Node.js.

use super::tools::{Server, expect, run, tree};
use super::web::load;
use super::{Found, Unit, Workload};
use crate::place::SCRATCH;
use std::path::Path;

pub const ALL: &[Workload] = &[
    Workload {
        name: "node-start",
        what: "node -e 'console.log(6*7)', ten times",
        unit: Unit::Seconds,
        needs: &["node"],
        run: |cx| {
            let n = cx.scale(10);
            let (took, out) = cx.timed(|| {
                (0..n)
                    .map(|_| run("node", &["-e", "console.log(6*7)"]))
                    .collect::<Result<String, _>>()
            })?;
            expect("node", &out, "42\n".repeat(n).trim_end())?;
            Found::time(took, "")
        },
    },
    Workload {
        name: "node-http",
        what: "node: an HTTP server under wrk over 16 connections that stay open",
        unit: Unit::PerSecond,
        needs: &["node"],
        run: |cx| {
            let script = "require('http').createServer((q, s) => {\n  s.setHeader('Content-Type', 'text/plain');\n  \
                          s.end('hello from ' + q.url + '\\n');\n}).listen(8081, '127.0.0.1');\n";
            std::fs::write(format!("{SCRATCH}/server.js"), script)?;
            let mut server = Server::start("node", &["server.js"])?;
            server.wait_for_port(8081)?;
            load(cx, 8081, "/page", b"hello from /page\n", &mut server)
        },
    },
    Workload {
        name: "node-files",
        what: "node: 400 files read, transformed and written through its thread pool",
        unit: Unit::Seconds,
        needs: &["node"],
        run: |cx| {
            let n = cx.scale(400);
            tree(Path::new(&format!("{SCRATCH}/in")), n)?;
            let script = r"
const fs = require('fs').promises, path = require('path');
(async () => {
  let bytes = 0, files = 0;
  await fs.mkdir('out');
  const one = async f => {
    const text = await fs.readFile(f, 'utf8');
    await fs.writeFile(path.join('out', path.basename(f)), text.toUpperCase());
    const written = await fs.stat(path.join('out', path.basename(f)));
    bytes += written.size; files++;
  };
  for (const d of (await fs.readdir('in')).sort())
    await Promise.all((await fs.readdir(path.join('in', d))).map(f => one(path.join('in', d, f))));
  console.log(files, bytes);
})();
";
            std::fs::write(format!("{SCRATCH}/files.js"), script)?;
            let (took, out) = cx.timed(|| run("node", &["files.js"]))?;
            let mut bytes = 0;
            for entry in std::fs::read_dir(format!("{SCRATCH}/out"))? {
                bytes += entry?.metadata()?.len();
            }
            expect("node", &out, &format!("{n} {bytes}"))?;
            Found::time(took, out)
        },
    },
];
