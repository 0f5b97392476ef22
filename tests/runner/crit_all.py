"""Decodes all images of a directory with Debian's crit library, what `crit decode` does, in one process. Needs Debian's own python3.

crit_all.py [--encode] DIR: with --encode each image is also written back from its own JSON, as `crit encode` does.
"""
import glob
import json
import os
import sys

import pycriu

RAW = ('pages-',)  # raw contents, no framing


def main():
    encode = '--encode' in sys.argv
    directory = sys.argv[-1]
    names = sorted(glob.glob(os.path.join(directory, '*.img')))
    if not names:
        sys.exit(f'{directory}: no image there')
    for path in names:
        name = os.path.basename(path)
        if name.startswith(RAW):
            continue
        try:
            with open(path, 'rb') as f:
                text = json.dumps(pycriu.images.load(f, pretty=False))
            if encode:
                with open(path + '.new', 'wb') as f:
                    pycriu.images.dump(json.loads(text), f)
                os.rename(path + '.new', path)
        except Exception as e:
            sys.exit(f'{name}: {type(e).__name__}: {e}')


main()
