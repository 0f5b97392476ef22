// about: open files that were deleted: contents, offset, link count; two openings and a duplicate are still of one file
// differs: fds the name of the deleted file is taken by another file, so that it cannot have that name again

#include "scenario.h"

int main(int argc, char** argv) {
  scenario_init(argc, argv);
  int a = SYS(open("data", O_RDWR | O_CREAT, 0640)), b = SYS(open("data", O_RDONLY)), c = SYS(dup(a));
  static uint64_t contents[4096];
  fill(contents, sizeof contents, 1);
  CHECK(write(a, contents, sizeof contents) == sizeof contents, "write");
  SYS(fchown(a, 1234, 4321));
  SYS(lseek(b, 800, SEEK_SET));
  SYS(unlink("data"));
  int other = SYS(open("data", O_RDWR | O_CREAT, 0600));  // another file under the old name
  SYS(write(other, "another file", 12));
  int empty = SYS(open("empty", O_RDWR | O_CREAT, 0600));
  SYS(unlink("empty"));
  ready();
  wait_for_go();
  static uint64_t seen[4096];
  CHECK(lseek(a, 0, SEEK_CUR) == sizeof contents && lseek(b, 0, SEEK_CUR) == 800, "offsets are %ld, %ld", (long)lseek(a, 0, SEEK_CUR),
        (long)lseek(b, 0, SEEK_CUR));
  CHECK(pread(b, seen, sizeof seen, 0) == sizeof seen, "the deleted file is too short");
  check_filled(seen, sizeof seen, 1, "deleted file");
  struct stat st, st2;
  SYS(fstat(a, &st));
  SYS(fstat(b, &st2));
  CHECK(st.st_nlink == 0 && st.st_size == sizeof contents, "links %d, size %ld", (int)st.st_nlink, (long)st.st_size);
  CHECK(st.st_uid == 1234 && st.st_gid == 4321 && (st.st_mode & 07777) == 0640, "owner %d:%d mode %o", st.st_uid, st.st_gid, st.st_mode);
  CHECK(st.st_ino == st2.st_ino, "two openings of one deleted file are two files now");
  SYS(pwrite(c, "Z", 1, 5));
  char byte;
  CHECK(pread(b, &byte, 1, 5) == 1 && byte == 'Z', "what is written to one opening is not seen in the other");
  char text[32];
  CHECK(slurp("data", text, sizeof text) == 12 && strcmp(text, "another file") == 0, "the file with the old name holds \"%s\"", text);
  SYS(fstat(empty, &st));
  CHECK(st.st_size == 0 && access("empty", F_OK) == -1, "the empty deleted file");
  return 0;
}
