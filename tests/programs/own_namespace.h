// What the scenarios of children in a namespace of their own share: the child enters it, and must be in the same one at the end.
#pragma once

#include "scenario.h"

static int own_namespace_flag;
static const char* own_namespace_name;

static void own_namespace_link(char (*link)[64]) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/ns/%s", own_namespace_name);
  ssize_t length = SYS(readlink(path, *link, sizeof *link - 1));
  (*link)[length] = 0;
}

static int own_namespace_child(void* arg) {
  if (unshare(own_namespace_flag) != 0) {
    mark("impossible");
    return 0;
  }
  char before[64], after[64];
  own_namespace_link(&before);
  mark("child");
  wait_for_go();
  own_namespace_link(&after);
  CHECK(strcmp(before, after) == 0, "namespace %s became %s", before, after);
  return 0;
}

// `name`: the file in /proc/PID/ns.
static int own_namespace(int argc, char** argv, int flag, const char* name) {
  scenario_init(argc, argv);
  own_namespace_flag = flag, own_namespace_name = name;
  pid_t pid = spawn(own_namespace_child, NULL);
  while (!has_mark("child"))
    if (has_mark("impossible"))
      skip("no %s namespaces here", name);
    else
      sleep_ms(1);
  ready();
  wait_for_go();
  join_child(pid);
  return 0;
}
