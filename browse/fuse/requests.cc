#include "browse/fuse/requests.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "browse/fuse/read.h"
#include "browse/fuse/server.h"
#include "browse/tree/tree.h"

namespace faultline::browse {

namespace {

// Nothing ever changes: the kernel may remember everything as long as it likes.
constexpr double kForever = 1e9;
// "." and ".." come first.
constexpr off_t kDots = 2;

Connection& connection(fuse_req_t request) { return *static_cast<Connection*>(fuse_req_userdata(request)); }

// An image may name a mapped file that lies below our own mount. The thread that opens it would wait for itself.
bool from_ourselves(fuse_req_t request) {
  const pid_t asking = fuse_req_ctx(request)->pid;
  if (asking <= 0) return false;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d", asking);
  return ::access(path, F_OK) == 0;
}

int errno_of(const Error& failure) { return failure.code > 0 ? failure.code : EIO; }

// The node of an inode number, if there is one and somebody else asks for it; otherwise the request is answered.
std::optional<Node> asked_for(fuse_req_t request, fuse_ino_t ino) {
  const auto node = Node::of(ino);
  if (!node) fuse_reply_err(request, ENOENT);
  else if (from_ourselves(request)) fuse_reply_err(request, EDEADLK);
  else return node;
  return std::nullopt;
}

Result<fuse_entry_param> entry_of(Tree& tree, Node node) {
  fuse_entry_param entry = {};
  entry.ino = node.ino();
  entry.attr = TRY(tree.stat(node));
  entry.attr_timeout = entry.entry_timeout = kForever;
  return entry;
}

void init(void*, fuse_conn_info* conn) {
  // Replies go from the images' files to the kernel without passing through us. Moving pages is not asked for: they would be
  // taken out of the page cache of the images' files.
  conn->want |= conn->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_PARALLEL_DIROPS);
  conn->want &= ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA);
  conn->max_write = kLargestRead;  // libfuse derives the size of reads from it
  conn->max_readahead = kLargestRead;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const auto folder = asked_for(request, parent);
  if (!folder) return;
  auto& [tree, server] = connection(request);
  if (tree.far()) server.hand_over();
  const auto node = tree.find(*folder, name);
  if (!node) {
    if (node.error().code != ENOENT) return void(fuse_reply_err(request, errno_of(node.error())));
    const fuse_entry_param nothing = {.entry_timeout = kForever};
    return void(fuse_reply_entry(request, &nothing));
  }
  if (tree.slow(*node)) server.hand_over();
  const auto entry = entry_of(tree, *node);
  if (!entry) return void(fuse_reply_err(request, errno_of(entry.error())));
  fuse_reply_entry(request, &*entry);
}

// Nothing is kept of what was looked at.
void forget(fuse_req_t request, fuse_ino_t, uint64_t) { fuse_reply_none(request); }
void forget_multi(fuse_req_t request, size_t, fuse_forget_data*) { fuse_reply_none(request); }

void getattr(fuse_req_t request, fuse_ino_t ino, fuse_file_info*) {
  const auto node = asked_for(request, ino);
  if (!node) return;
  auto& [tree, server] = connection(request);
  if (tree.slow(*node)) server.hand_over();
  const auto st = tree.stat(*node);
  if (!st) return void(fuse_reply_err(request, errno_of(st.error())));
  fuse_reply_attr(request, &*st, kForever);
}

void readlink(fuse_req_t request, fuse_ino_t ino) {
  const auto node = asked_for(request, ino);
  if (!node) return;
  auto& [tree, server] = connection(request);
  if (tree.far()) server.hand_over();
  const auto target = tree.link(*node);
  if (!target) return void(fuse_reply_err(request, errno_of(target.error())));
  fuse_reply_readlink(request, target->c_str());
}

void open(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  const auto node = asked_for(request, ino);
  if (!node) return;
  if ((info->flags & O_ACCMODE) != O_RDONLY) return void(fuse_reply_err(request, EROFS));
  auto& [tree, server] = connection(request);
  if (tree.slow(*node)) server.hand_over();
  auto content = tree.open(*node);
  if (!content) return void(fuse_reply_err(request, errno_of(content.error())));
  auto handle = std::make_unique<FileHandle>(FileHandle{std::move(*content), Tree::sparse(*node)});
  info->fh = reinterpret_cast<uint64_t>(handle.get());
  info->direct_io = handle->direct;
  info->keep_cache = 1;
  info->noflush = 1;
  // The caller was interrupted meanwhile, and there will be no release.
  if (fuse_reply_open(request, info) == 0) (void)handle.release();
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete reinterpret_cast<FileHandle*>(info->fh);
  fuse_reply_err(request, 0);
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  reply_read(request, *reinterpret_cast<const FileHandle*>(info->fh), static_cast<uint64_t>(offset), size, connection(request));
}

void lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
  const FileData& content = *reinterpret_cast<const FileHandle*>(info->fh)->content;
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return void(fuse_reply_err(request, EINVAL));
  if (offset < 0 || static_cast<uint64_t>(offset) >= content.size()) return void(fuse_reply_err(request, ENXIO));
  const uint64_t found = content.next(whence == SEEK_DATA, static_cast<uint64_t>(offset));
  if (whence == SEEK_DATA && found >= content.size()) return void(fuse_reply_err(request, ENXIO));
  fuse_reply_lseek(request, static_cast<off_t>(found));
}

void opendir(fuse_req_t request, fuse_ino_t ino, fuse_file_info* info) {
  const auto node = asked_for(request, ino);
  if (!node) return;
  auto& [tree, server] = connection(request);
  if (tree.far()) server.hand_over();
  auto folder = tree.folder(*node);
  if (!folder) return void(fuse_reply_err(request, errno_of(folder.error())));
  info->fh = reinterpret_cast<uint64_t>(folder->get());
  info->cache_readdir = 1;
  info->keep_cache = 1;
  if (fuse_reply_open(request, info) == 0) (void)folder->release();
}

void releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete reinterpret_cast<Folder*>(info->fh);
  fuse_reply_err(request, 0);
}

// One entry at the front of `to`; gives its size, which may be more than there is room.
size_t put_entry(fuse_req_t request, std::span<char> to, const Folder::Entry& entry, off_t next, bool plus) {
  auto& tree = connection(request).tree;
  fuse_entry_param param = {};
  param.attr.st_mode = Tree::type_of(entry.node);
  param.attr.st_ino = entry.node.ino();
  if (!plus) return fuse_add_direntry(request, to.data(), to.size(), entry.name.c_str(), &param.attr, next);
  // An inode number of 0: what it takes to tell its size is only done if somebody wants to know.
  if (!Tree::costly(entry.node))
    if (auto full = entry_of(tree, entry.node)) param = *full;
  return fuse_add_direntry_plus(request, to.data(), to.size(), entry.name.c_str(), &param, next);
}

void list(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info, bool plus) {
  const Folder& folder = *reinterpret_cast<const Folder*>(info->fh);
  std::vector<char> buffer(size);
  size_t used = 0;
  for (auto at = static_cast<size_t>(offset); at < folder.count() + kDots; ++at) {
    Folder::Entry entry;
    if (at < kDots) entry = {at == 0 ? "." : "..", at == 0 ? *Node::of(ino) : Node()};
    else entry = folder.at(at - kDots);
    const bool with_attributes = plus && at >= kDots;
    const auto to = std::span(buffer).subspan(used);
    size_t needed;
    if (plus && !with_attributes) {
      fuse_entry_param dot = {};
      dot.attr.st_mode = S_IFDIR;
      dot.attr.st_ino = entry.node.ino();
      needed = fuse_add_direntry_plus(request, to.data(), to.size(), entry.name.c_str(), &dot, static_cast<off_t>(at + 1));
    } else {
      needed = put_entry(request, to, entry, static_cast<off_t>(at + 1), plus);
    }
    if (needed > to.size()) break;
    used += needed;
  }
  fuse_reply_buf(request, buffer.data(), used);
}

void readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) { list(request, ino, size, offset, info, false); }
void readdirplus(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) { list(request, ino, size, offset, info, true); }

void statfs(fuse_req_t request, fuse_ino_t) {
  struct statvfs st = {};
  st.f_bsize = st.f_frsize = kPageSize;
  st.f_blocks = page_up(connection(request).tree.image_bytes()) / kPageSize;
  st.f_namemax = 255;
  st.f_flag = ST_RDONLY;
  fuse_reply_statfs(request, &st);
}

}  // namespace

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops table = [] {
    fuse_lowlevel_ops ops = {};
    ops.init = init;
    ops.lookup = lookup;
    ops.forget = forget;
    ops.forget_multi = forget_multi;
    ops.getattr = getattr;
    ops.readlink = readlink;
    ops.open = open;
    ops.release = release;
    ops.read = read;
    ops.lseek = lseek;
    ops.opendir = opendir;
    ops.releasedir = releasedir;
    ops.readdir = readdir;
    ops.readdirplus = readdirplus;
    ops.statfs = statfs;
    return ops;
  }();
  return table;
}

}  // namespace faultline::browse
