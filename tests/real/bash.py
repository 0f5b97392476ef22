# about: a bash pipeline in full run, with builtins, subshells and short-lived commands: every line arrives once and in order
# timeout: 60
import os

from box import Failed
from modes import Program

SCRIPT = r'''
cd "$1"
{
  i=0
  while [ ! -e go ] || [ $((stop += 1)) -lt 20 ]; do
    echo "line $i"
    i=$((i + 1))
    sleep 0.01
    [ $i = 20 ] && : > ready
  done
  echo "$i" > count
} | tee copy | sed -u 's/line/number/' | while read -r word n; do
  x=$(/bin/echo "$n")
  echo "$word $x"
done > out
[ "${PIPESTATUS[*]}" = "0 0 0 0" ] || { echo "FAIL: the pipeline ended with ${PIPESTATUS[*]}" >&2; exit 1; }
wait
'''


class Pipeline(Program):
    moving = True

    def verify(self, pid):
        super().verify(pid)
        with open(self.box.path('count'), encoding='utf-8') as f:
            count = int(f.read())
        for name, word in (('copy', 'line'), ('out', 'number')):
            with open(self.box.path(name), encoding='utf-8') as f:
                lines = f.read().splitlines()
            if lines != [f'{word} {i}' for i in range(count)]:
                wrong = next((i for i, line in enumerate(lines) if line != f'{word} {i}'), len(lines))
                raise Failed(f'{name}: {len(lines)} lines of {count}, the first wrong one is {wrong}: {lines[wrong:wrong + 1]}')


def make(box, directives):
    return Pipeline(box, [os.path.realpath('/bin/bash'), '-c', SCRIPT, 'pipeline', box.dir], directives)
