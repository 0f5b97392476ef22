# about: node with timers, a child process, a listening server and a large heap
# timeout: 60
import shutil

from box import Skipped
from modes import Program

PROGRAM = r'''
const fs = require('fs'), http = require('http'), crypto = require('crypto'), path = require('path');
const dir = process.argv[process.argv.length - 1];
const fail = (text) => { fs.writeSync(2, 'FAIL: ' + text + '\n'); process.exit(1); };
const store = new Map();
for (let i = 0; i < 200000; i++) store.set('key' + i, {i, text: 'value ' + i * 7, list: [i, i + 1]});
const digest = () => { const h = crypto.createHash('sha256'); for (const [k, v] of store) h.update(k + JSON.stringify(v)); return h.digest('hex'); };
const before = digest();
let ticks = 0, late = 0;
setInterval(() => ticks++, 10);
setTimeout(() => fail('a timer of an hour fired'), 3600e3);
const server = http.createServer((request, response) => { response.setHeader('Connection', 'close'); response.end(JSON.stringify({url: request.url, ticks})); });
const get = (port, done) => http.get({port, host: '127.0.0.1', path: '/question', agent: false}, (r) => {
  let text = ''; r.on('data', (d) => text += d); r.on('end', () => done(JSON.parse(text)));
}).on('error', (e) => fail('http: ' + e));
server.listen(0, '127.0.0.1', () => {
  const port = server.address().port;
  // ready once the first connection is closed on both sides
  get(port, () => { const t = setInterval(() => server.getConnections((e, n) => { if (n === 0) { clearInterval(t); setTimeout(() => fs.writeFileSync(path.join(dir, 'ready'), ''), 50); } }), 20); });
  const poll = setInterval(() => {
    if (!fs.existsSync(path.join(dir, 'go'))) return;
    clearInterval(poll);
    if (digest() !== before) fail('the contents of the map have changed');
    const seen = ticks;
    setTimeout(() => {
      if (ticks <= seen) fail('the interval does not go on');
      get(port, (answer) => {
        if (answer.url !== '/question' || answer.ticks < seen) fail('answer ' + JSON.stringify(answer));
        crypto.pbkdf2('a', 'b', 1000, 32, 'sha256', (e, key) => {  // in a thread of the pool
          if (e || key.length !== 32) fail('thread pool');
          process.exit(0);
        });
      });
    }, 100);
  }, 20);
});
'''


def make(box, directives):
    node = shutil.which('node')
    if not node:
        raise Skipped('node is not installed')
    return Program(box, [node, '-e', PROGRAM, box.dir], directives)
