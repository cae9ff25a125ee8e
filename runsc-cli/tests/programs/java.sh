# needs: openjdk-17-jdk-headless
cat > T.java <<'EOF'
import java.util.concurrent.*; import java.util.*; import java.io.*; import java.net.*; import java.nio.file.*;
public class T {
  static Object n;
  public static void main(String[] a) throws Exception {
    ExecutorService e = Executors.newFixedThreadPool(8); List<Future<Integer>> l = new ArrayList<>();
    for (int i = 0; i < 50; i++) { int j = i; l.add(e.submit(() -> j * j)); }
    int s = 0; for (var f : l) s += f.get(); System.out.println(s); e.shutdown();
    long t = 0; for (int i = 0; i < 200; i++) { byte[] b = new byte[1 << 20]; t += b.length; } System.gc(); System.out.println(t);
    int npe = 0; for (int i = 0; i < 20000; i++) try { n.hashCode(); } catch (NullPointerException x) { npe++; } System.out.println(npe);
    Process p = new ProcessBuilder("sh", "-c", "echo out; exit 5").start(); System.out.println(new String(p.getInputStream().readAllBytes()).trim() + " " + p.waitFor());
    ServerSocket ss = new ServerSocket(0, 5, InetAddress.getLoopbackAddress());
    Thread th = new Thread(() -> { try (Socket c = ss.accept()) { c.getOutputStream().write("tcp".getBytes()); } catch (IOException x) { System.out.println(x); } }); th.start();
    try (Socket c = new Socket(InetAddress.getLoopbackAddress(), ss.getLocalPort())) { System.out.println(new String(c.getInputStream().readAllBytes())); } th.join();
    Files.writeString(Path.of("f"), "nio"); System.out.println(Files.readString(Path.of("f")));
    int d = 0; try { recurse(0); } catch (StackOverflowError x) { d = 1; } System.out.println("overflow " + d);
  }
  static int recurse(int i) { return recurse(i + 1) + 1; }
}
EOF
javac T.java && java -Xmx256m T
