// The table of all kinds of open files. A new kind is one file, and one line here.
#include "core/objects/file_kind.h"

namespace faultline::objects {

extern const FileKind& pipe_kind;
extern const FileKind& event_fd_kind;
extern const FileKind& epoll_kind;
extern const FileKind& inet_socket_kind;
extern const FileKind& unix_socket_kind;
extern const FileKind& timer_fd_kind;
extern const FileKind& signal_fd_kind;
extern const FileKind& fifo_kind;
extern const FileKind& inotify_kind;
extern const FileKind& tty_kind;
extern const FileKind& memfd_kind;
extern const FileKind& regular_file_kind;

std::span<const FileKind* const> file_kinds() {
  static const FileKind* const kinds[] = {
      &pipe_kind,
      &event_fd_kind,
      &epoll_kind,
      &inet_socket_kind,
      &unix_socket_kind,
      &timer_fd_kind,
      &signal_fd_kind,
      &fifo_kind,
      &inotify_kind,
      &tty_kind,
      &memfd_kind,
      &regular_file_kind,
  };
  return kinds;
}

const FileKind* kind_of(image::FdTypes type) {
  for (const FileKind* kind : file_kinds())
    if (kind->type() == type) return kind;
  return nullptr;
}

}  // namespace faultline::objects
