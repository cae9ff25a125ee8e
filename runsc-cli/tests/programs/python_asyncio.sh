# needs: python3
python3 - <<'EOF'
import asyncio
async def handle(r, w):
    while data := await r.readline():
        w.write(data.upper()); await w.drain()
    w.close()
async def client(port, n):
    r, w = await asyncio.open_connection("127.0.0.1", port)
    out = []
    for i in range(20):
        w.write(f"line {n} {i}\n".encode()); out.append((await r.readline()).decode())
    w.close(); await w.wait_closed()
    return "".join(out)
async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for text in await asyncio.gather(*(client(port, n) for n in range(5))): print(text, end="")
    server.close()
    p = await asyncio.create_subprocess_exec("echo", "sub", stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0], p.returncode)
    try: await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError: print("timeout")
asyncio.run(main())
EOF
python3 - <<'EOF'
import http.server, threading, urllib.request, socketserver
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"path " + self.path.encode())
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
for i in range(5): print(urllib.request.urlopen(f"http://127.0.0.1:{s.server_port}/{i}").read())
s.shutdown()
EOF
