# about: a file that the program had open is missing, or has another size or other permissions, at restore: refused with its name, nothing is left
# modes: check
import os

from drive import Run, refused


def check(box):
    run = Run(box, 'file_regular')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    data = run.box.path('rw')
    os.rename(data, data + '.away')
    refused(box, 'restore without its file', box.restore(), data)
    box.expect_empty('after the restore without its file')
    with open(data, 'w', encoding='ascii') as f:
        f.write('of another size')
    refused(box, 'restore with a changed file', box.restore(), data)
    box.expect_empty('after the restore with a changed file')
    os.rename(data + '.away', data)
    mode = os.stat(data).st_mode & 0o777
    os.chmod(data, mode ^ 0o020)
    refused(box, 'restore with other permissions', box.restore(), data, '--skip-file-rwx-check')
    box.expect_empty('after the restore with other permissions')
    box.must('restore with --skip-file-rwx-check', box.restore('--skip-file-rwx-check'))
    os.chmod(data, mode)
    run.unharmed('after refused restores')
