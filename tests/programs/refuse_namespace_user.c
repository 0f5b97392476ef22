// about: a child in a user namespace of its own is refused
// expect: refused (user|mount).*namespace|namespace.*(user|mount)

#include "own_namespace.h"

int main(int argc, char** argv) { return own_namespace(argc, argv, CLONE_NEWUSER, "user"); }
