"""What --metrics answers, read by Prometheus's own parser (Debian's python3-prometheus-client), and what top shows."""
import json
import subprocess
import urllib.request

from box import Failed

# In the system's Python, as for crit: the package is not installed for any other.
_PARSER = '''
import json, sys
from prometheus_client.parser import text_string_to_metric_families
found = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    if family.type not in ("counter", "gauge", "histogram") or not family.documentation:
        sys.exit(f"{family.name}: type {family.type}, help {family.documentation!r}")
    for sample in family.samples:
        name = sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items()))
        if name in found:
            sys.exit(f"{name}: twice")
        found[name] = sample.value
json.dump(found, sys.stdout)
'''


def scrape(address):
    """{"name,label=value": value} of all samples."""
    with urllib.request.urlopen(f'http://{address}/metrics', timeout=20) as answer:
        kind, text = answer.headers['Content-Type'], answer.read()
    if not kind.startswith('text/plain; version=0.0.4'):
        raise Failed(f'the metrics have the type {kind}')
    read = subprocess.run(['/usr/bin/python3', '-c', _PARSER], input=text, capture_output=True, check=False)
    if read.returncode != 0:
        raise Failed(f'the metrics cannot be parsed: {read.stderr.decode(errors="replace")[-300:]}')
    return json.loads(read.stdout)


def top(box, kind, images):
    """What "top --once --json" shows of the pagers, or the servers, of this directory. (Those of other boxes are in the list as well.)"""
    shown = subprocess.run([box.binary, 'top', '--once', '--json'], capture_output=True, text=True, check=True)
    return [process for process in json.loads(shown.stdout)['processes'] if process['kind'] == kind and process['name'] == images]
