"""Runs one scenario in one mode, as the init of its box; started by tests/run. Writes [verdict, reason] as JSON into the scenario's directory."""
import importlib.util
import json
import os
import re
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import modes  # noqa: E402
from box import Box, Failed, Skipped  # noqa: E402
from directives import Directives  # noqa: E402


def load_driver(path):
    spec = importlib.util.spec_from_file_location('driver', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Only what a sanitizer writes itself: programs have runtime errors of their own.
REPORT = re.compile(rb'^.*(?::\d+:\d+: runtime error: |ERROR: (?:Address|Leak|Thread)Sanitizer).*', re.MULTILINE)


def sanitizer_report(directory):
    """The first line of a sanitizer's report in the logs: to a test, the end of a process that had one may be a refusal."""
    for folder, _, files in os.walk(directory):
        for name in files:
            if name.endswith(('.log', '.out')) and os.path.isfile(os.path.join(folder, name)):
                with open(os.path.join(folder, name), 'rb') as f:
                    found = REPORT.search(f.read())
                if found:
                    return f'{name}: {found.group().decode(errors="replace")}'
    return None


def run(job):
    directives = Directives(job['source'])
    box = Box(job['dir'], job['binary'], job['programs'], directives.options, job['timeout'])
    if job['source'].endswith('.c'):
        subject = modes.Program(box, [os.path.join(box.programs, job['name']), box.dir], directives)
    else:
        driver = load_driver(job['source'])
        if job['mode'] == 'check':
            driver.check(box)
            box.expect_empty('at the end')
            return
        subject = driver.make(box, directives)
    modes.ALL[job['mode']](box, subject)


def main():
    job = json.loads(sys.argv[1])
    try:
        run(job)
        verdict = ['passed', '']
    except Failed as e:
        verdict = ['failed', str(e)]
    except Skipped as e:
        verdict = ['skipped', str(e)]
    except Exception as e:
        verdict = ['failed', f'the runner: {type(e).__name__}: {e}']
        traceback.print_exc()
    report = sanitizer_report(job['dir'])
    if report:
        verdict = ['failed', f'a sanitizer reports: {report}']
    with open(os.path.join(job['dir'], 'verdict.json.new'), 'w', encoding='utf-8') as f:
        json.dump(verdict, f)
    os.rename(os.path.join(job['dir'], 'verdict.json.new'), os.path.join(job['dir'], 'verdict.json'))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # with it all processes of the box end


main()
