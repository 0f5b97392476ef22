// The main program of all unit tests; compiled once, because Catch2 2 is a large header.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
