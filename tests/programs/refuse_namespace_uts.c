// about: a child in a uts namespace of its own is refused
// expect: refused (uts|mount).*namespace|namespace.*(uts|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWUTS, "uts"); }
