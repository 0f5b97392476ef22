# about: java with threads, a garbage-collected heap that keeps moving, and locks
# differs: status.Threads the virtual machine grows its heap and makes threads as it likes
# differs: stat.num_threads the virtual machine grows its heap and makes threads as it likes
# differs: vmflags the virtual machine grows its heap and makes threads as it likes
# differs: maps the virtual machine grows its heap and makes threads as it likes
# differs: threads the virtual machine parks and wakes its threads as it likes
# timeout: 120
import shutil
import subprocess

from box import Failed, Skipped
from modes import Program

SOURCE = r'''
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class Scenario {
  static void fail(String text) {
    System.err.println("FAIL: " + text);
    Runtime.getRuntime().halt(1);
  }
  static long digest(Map<String, byte[]> map) {
    long sum = 0;
    for (var e : map.entrySet()) sum += e.getKey().hashCode() * 31L + Arrays.hashCode(e.getValue());
    return sum;
  }
  public static void main(String[] args) throws Exception {
    Path dir = Path.of(args[0]);
    var map = new ConcurrentHashMap<String, byte[]>();
    var random = new Random(7);
    for (int i = 0; i < 100000; i++) { byte[] b = new byte[100]; random.nextBytes(b); map.put("key" + i, b); }
    long before = digest(map);
    var pool = Executors.newFixedThreadPool(8);
    var stop = new CountDownLatch(1);
    var garbage = new Thread(() -> { try { while (!stop.await(5, TimeUnit.MILLISECONDS)) { var x = new byte[1 << 16]; x[5] = 1; } } catch (InterruptedException e) {} });
    garbage.start();
    Files.createFile(dir.resolve("ready"));
    while (!Files.exists(dir.resolve("go"))) Thread.sleep(10);
    if (digest(map) != before) fail("the contents of the map have changed");
    var tasks = new ArrayList<Future<Long>>();
    for (int i = 0; i < 100; i++) { final int n = i; tasks.add(pool.submit(() -> (long) n * n)); }
    for (int i = 0; i < 100; i++) if (tasks.get(i).get(20, TimeUnit.SECONDS) != (long) i * i) fail("task " + i);
    System.gc();
    if (digest(map) != before) fail("the contents of the map have changed after a collection");
    stop.countDown();
    garbage.join();
    pool.shutdown();
    System.exit(0);
  }
}
'''


class Java(Program):
    def start(self):
        with open(self.box.path('Scenario.java'), 'w', encoding='utf-8') as f:
            f.write(SOURCE)
        done = subprocess.run(['javac', '-d', self.box.dir, self.box.path('Scenario.java')], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed('javac: ' + done.stderr)
        return super().start()


def make(box, directives):
    if not shutil.which('java') or not shutil.which('javac'):
        raise Skipped('java or javac is not installed')
    # The performance data are a file in /tmp named after the pid, which virtual machines in other boxes remove.
    return Java(box, [shutil.which('java'), '-Xmx256m', '-XX:-UsePerfData', '-cp', box.dir, 'Scenario', box.dir], directives)
