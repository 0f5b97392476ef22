# about: a file that the program had open is missing, or has another size, at restore: refused with its name, nothing is left
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
    box.must('restore with all files back', box.restore())
    run.unharmed('after refused restores')
