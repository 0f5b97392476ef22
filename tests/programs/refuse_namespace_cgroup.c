// about: a child in a cgroup namespace of its own is refused
// expect: refused (cgroup|mount).*namespace|namespace.*(cgroup|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWCGROUP, "cgroup"); }
