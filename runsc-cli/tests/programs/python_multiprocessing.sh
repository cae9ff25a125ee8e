# needs: python3
cat > mp.py <<'EOF'
import multiprocessing as mp, sys
def square(x): return x * x
def put(q): q.put("from child")
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        ctx = mp.get_context(method)
        with ctx.Pool(2) as pool: print(method, pool.map(square, range(10)))
        q = ctx.Queue(); p = ctx.Process(target=put, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
        v = ctx.Value("i", 0)
        print(v.value)
EOF
python3 mp.py
