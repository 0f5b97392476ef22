// about: a child in a ipc namespace of its own is refused
// expect: refused (ipc|mount).*namespace|namespace.*(ipc|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWIPC, "ipc"); }
