#pragma once

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

// The answers to the kernel's requests. The session's user data is a Connection.
namespace faultline::browse {

class Server;
class Tree;

struct Connection {
  Tree& tree;
  Server& server;
};

const fuse_lowlevel_ops& operations();

}  // namespace faultline::browse
