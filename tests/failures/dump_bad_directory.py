# about: the images directory is read-only, missing, or a file: the dump says so before it touches the program
# modes: check
import os

from drive import Run, mount, refused


def check(box):
    run = Run(box, 'threads_16')
    where = os.path.join(box.dir, 'read-only')
    mount(box, 'ro,size=1m', where)
    refused(box, 'dump to a read-only directory', box.dump(run.pid, images=where), 'Read-only file system')
    refused(box, 'dump to a directory that is not there', box.faultline('dump', '-t', str(run.pid), images='/nowhere/at/all'), '/nowhere/at/all')
    refused(box, 'dump to a file', box.faultline('dump', '-t', str(run.pid), images='/etc/passwd'), '/etc/passwd')
    run.unharmed('after dumps to bad directories')
