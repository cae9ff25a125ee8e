# needs: nodejs
cat > a.js <<'EOF'
const http = require('http'), cp = require('child_process'), fs = require('fs');
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) { let s = 0; for (let i = 0; i < 1e6; i++) s += i; parentPort.postMessage(s); } else main();
async function main() {
  const server = http.createServer((q, r) => r.end('hello ' + q.url));
  await new Promise(r => server.listen(0, '127.0.0.1', r));
  const get = p => new Promise(r => http.get({ port: server.address().port, host: '127.0.0.1', path: p, agent: false }, m => { let d = ''; m.on('data', c => d += c); m.on('end', () => r(d)); }));
  for (let i = 0; i < 5; i++) console.log(await get('/' + i));
  server.close();
  const results = await Promise.all([1, 2].map(() => new Promise(r => new Worker(__filename).on('message', r))));
  console.log(results);
  console.log(cp.execSync('echo child').toString().trim());
  const p = cp.spawn('cat'); p.stdout.on('data', d => console.log('cat ' + d)); p.on('close', c => console.log('closed', c)); p.stdin.end('piped');
  fs.writeFileSync('f', 'data'); console.log(fs.readFileSync('f', 'utf8'), (await fs.promises.stat('f')).size);
  setTimeout(() => console.log('timer'), 20);
}
EOF
node a.js | sort
