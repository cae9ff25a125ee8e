# needs: golang-go
export HOME=$PWD GOFLAGS=-mod=mod GO111MODULE=off
cat > main.go <<'EOF'
package main
import ("fmt"; "net"; "os/exec"; "runtime"; "sync"; "time"; "os"; "io")
func main() {
	var wg sync.WaitGroup; var mu sync.Mutex; n := 0
	for i := 0; i < 100; i++ { wg.Add(1); go func() { defer wg.Done(); for j := 0; j < 100; j++ { mu.Lock(); n++; mu.Unlock(); if j%10 == 0 { runtime.Gosched() } } }() }
	wg.Wait(); fmt.Println(n)
	for i := 0; i < 50; i++ { _ = make([]byte, 1<<20) }; runtime.GC()
	l, err := net.Listen("tcp", "127.0.0.1:0"); if err != nil { fmt.Println(err); return }
	go func() { c, _ := l.Accept(); c.Write([]byte("from go")); c.Close() }()
	c, err := net.Dial("tcp", l.Addr().String()); if err != nil { fmt.Println(err); return }
	b, _ := io.ReadAll(c); fmt.Println(string(b))
	out, err := exec.Command("echo", "exec").Output(); fmt.Print(string(out), err, "\n")
	select { case <-time.After(20 * time.Millisecond): fmt.Println("after") }
	func() { defer func() { fmt.Println("recovered", recover() != nil) }(); var p *int; *p = 1 }()
	os.WriteFile("f", []byte("x"), 0o644); st, _ := os.Stat("f"); fmt.Println(st.Size(), st.Mode())
}
EOF
go build -o prog main.go && ./prog
