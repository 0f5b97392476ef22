// about: a child in a mnt namespace of its own is refused
// expect: refused (mnt|mount).*namespace|namespace.*(mnt|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWNS, "mnt"); }
