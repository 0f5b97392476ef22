// about: inotify: watches of a file and a directory keep their numbers and masks, events come afterwards

#include <sys/inotify.h>

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int fd = SYS(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  SYS(mkdir("watched", 0755));
  close(SYS(open("file", O_CREAT | O_WRONLY, 0600)));
  close(SYS(open("gap", O_CREAT | O_WRONLY, 0600)));
  int gap = SYS(inotify_add_watch(fd, "gap", IN_MODIFY)), dir = SYS(inotify_add_watch(fd, "watched", IN_CREATE | IN_DELETE | IN_ONLYDIR));
  int file = SYS(inotify_add_watch(fd, "file", IN_MODIFY));
  SYS(inotify_rm_watch(fd, gap));
  char buffer[4096];
  CHECK(read(fd, buffer, sizeof buffer) > 0, "no IN_IGNORED for the removed watch");
  ready();
  wait_for_go();
  ssize_t n = read(fd, buffer, sizeof buffer);
  CHECK(n == -1 && errno == EAGAIN, "%zd bytes of events that nobody caused", n);
  close(SYS(open("watched/new", O_CREAT | O_WRONLY, 0600)));
  int out = SYS(open("file", O_WRONLY));
  SYS(write(out, "x", 1));
  n = SYS(read(fd, buffer, sizeof buffer));
  struct inotify_event *first = (void*)buffer, *second = (void*)(buffer + sizeof *first + first->len);
  CHECK(first->wd == dir && first->mask == IN_CREATE && strcmp(first->name, "new") == 0, "first event: watch %d mask %#x", first->wd,
        first->mask);
  CHECK((char*)second < buffer + n && second->wd == file && second->mask == IN_MODIFY, "second event: watch %d mask %#x", second->wd,
        second->mask);
  CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFL) == O_NONBLOCK, "flags");
  int next = SYS(inotify_add_watch(fd, "gap", IN_OPEN));
  CHECK(next != dir && next != file, "a new watch gets the used number %d", next);
  return 0;
}
