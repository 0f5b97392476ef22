"""The comments at the head of a scenario (`// about: ...` in C, `# about: ...` in Python) that tell the runner what to do with it."""
import re

MODES = ['native', 'leave-running', 'eager', 'lazy', 'remote', 'twice', 'crit']
DEFAULT_MODES = list(MODES)
REFUSED_MODES = ['native', 'refused']
_KNOWN = {'about', 'expect', 'options', 'modes', 'timeout', 'lazy-options', 'differs', 'no-crit', 'session', 'terminal'}


class Directives:
    def __init__(self, path):
        self.about = ''
        self.refused = []        # regular expressions, each must be found in what the refused dump says
        self.options = []        # for dump and restore
        self.lazy_options = []   # for a lazy restore
        self.modes = None        # None: the default ones
        self.timeout = 30.0      # seconds for one mode
        self.differs = {}        # key of the witness → why it may differ
        self.session = 'own'     # 'outside': the program is in the session and group of the box, as a shell's job is
        self.terminal = None     # 'outside': a terminal of the box as stdin, stdout, stderr of the program and of restore
        self.no_crit = None      # why crit's encode half does not apply
        with open(path, encoding='utf-8') as f:
            for line in f:
                if not line.startswith(('//', '#')):
                    if line.strip() and self.about:
                        break
                    continue
                found = re.match(r'(?://|#) ?([a-z-]+):\s*(.*?)\s*$', line)
                if found and found.group(1) in _KNOWN:
                    self._take(found.group(1), found.group(2), path)
        if not self.about:
            raise ValueError(f'{path}: no "about:" line at its head')
        if self.modes is None:
            self.modes = list(REFUSED_MODES if self.refused else DEFAULT_MODES)

    def _take(self, name, value, path):
        if name == 'about':
            self.about = value
        elif name == 'expect':
            word, _, part = value.partition(' ')
            if word != 'refused' or not part:
                raise ValueError(f'{path}: "expect: {value}": only "expect: refused PART" is known')
            self.refused.append(part)
        elif name == 'options':
            self.options += value.split()
        elif name == 'lazy-options':
            self.lazy_options += value.split()
        elif name == 'modes':
            self.modes = value.split()
            for mode in self.modes:
                if mode not in MODES + ['refused', 'check']:
                    raise ValueError(f'{path}: unknown mode {mode}')
        elif name == 'timeout':
            self.timeout = float(value)
        elif name == 'differs':
            key, _, why = value.partition(' ')
            if not why:
                raise ValueError(f'{path}: "differs: {key}" gives no reason')
            self.differs[key] = why
        elif name in ('session', 'terminal'):
            if value != 'outside':
                raise ValueError(f'{path}: "{name}: {value}": only "outside" is known')
            setattr(self, name, value)
        elif name == 'no-crit':
            self.no_crit = value
