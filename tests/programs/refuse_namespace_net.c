// about: a child in a net namespace of its own is refused
// expect: refused (net|mount).*namespace|namespace.*(net|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWNET, "net"); }
