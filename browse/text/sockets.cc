// sockets/: what each socket is, in words, and the bytes that wait at it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "browse/text/forms.h"
#include "browse/text/parts.h"
#include "core/image/present.h"

namespace faultline::browse {

namespace {

constexpr char kReceived[] = ".queue", kSent[] = ".out";

uint32_t inode_of(const image::FileEntry& file) { return file.usk ? file.usk->ino : file.isk ? file.isk->ino : file.nlsk ? file.nlsk->ino : 0; }

// By inode: the ids of the files, of which there is one as a rule.
using Sockets = std::map<uint32_t, const image::FileEntry*>;
Sockets sockets_in(const Snapshot::Files& files) {
  Sockets sockets;
  for (const auto& [id, file] : files)
    if (const uint32_t ino = inode_of(file)) sockets.emplace(ino, &file);
  return sockets;
}

std::string tcp_image(uint32_t ino) { return fmt::format("tcp-stream-{:x}.img", ino); }

struct Stream {
  image::TcpStreamEntry entry;
  Piece received, sent;
};

Result<Stream> read_stream(Snapshot& snapshot, uint32_t ino) {
  const auto reader = std::make_shared<image::Reader>(TRY(snapshot.reader(tcp_image(ino), image::kTcpStream)));
  auto entry = TRY(reader->next<image::TcpStreamEntry>());
  if (!entry) return error(ENOENT, "{}/{} is missing or empty", snapshot.name(), tcp_image(ino));
  Stream stream{.entry = *entry, .received = {}, .sent = {}};
  stream.received = {reader, TRY(reader->skip(entry->inq_len)), 0, entry->inq_len};
  stream.sent = {reader, TRY(reader->skip(entry->outq_len)), 0, entry->outq_len};
  return stream;
}

// One name of present.h's dictionary of sockets, or the number.
std::string named(std::string_view field, uint64_t value) {
  const std::string_view name = image::show_name("sk", field, value);
  return name.empty() ? std::to_string(value) : std::string(name);
}

std::string address(uint32_t family, const std::vector<uint32_t>& words, uint32_t port) {
  if (family == AF_INET6 && words.size() == 4) {
    const uint64_t wide[4] = {words[0], words[1], words[2], words[3]};
    return fmt::format("[{}]:{}", image::show_ipv6(wide), port);
  }
  return fmt::format("{}:{}", words.empty() ? "0.0.0.0" : image::show_ipv4(words[0]), port);
}

void add_shutdown(std::string& out, std::optional<image::SkShutdown> shutdown) {
  constexpr const char* kNames[] = {"", "receiving", "sending", "both directions"};
  const auto which = static_cast<size_t>(shutdown.value_or(image::SkShutdown::NONE));
  if (which && which < std::size(kNames)) add(out, "shut down: {}\n", kNames[which]);
}

void add_options(std::string& out, const image::SkOptsEntry& options) {
  add(out, "so_sndbuf: {}\nso_rcvbuf: {}\n", options.so_sndbuf, options.so_rcvbuf);
  if (options.so_snd_tmo_sec || options.so_snd_tmo_usec) add(out, "so_sndtimeo: {}.{:06} s\n", options.so_snd_tmo_sec, options.so_snd_tmo_usec);
  if (options.so_rcv_tmo_sec || options.so_rcv_tmo_usec) add(out, "so_rcvtimeo: {}.{:06} s\n", options.so_rcv_tmo_sec, options.so_rcv_tmo_usec);
  const struct { const char* name; std::optional<bool> set; } kSwitches[] = {
      {"so_reuseaddr", options.reuseaddr}, {"so_reuseport", options.so_reuseport}, {"so_passcred", options.so_passcred}, {"so_broadcast", options.so_broadcast},
      {"so_keepalive", options.so_keepalive}, {"so_dontroute", options.so_dontroute}};
  for (const auto& option : kSwitches)
    if (option.set.value_or(false)) add(out, "{}: on\n", option.name);
}

void add_unix(std::string& out, const image::UnixSkEntry& socket) {
  add(out, "family: UNIX\ntype: {}\nstate: {}\n", named("type", socket.type), named("state", socket.state));
  std::string name = socket.name;
  // A name in the file system ends with a NUL; an abstract one begins with it, as "@" in /proc/net/unix.
  if (name.size() > 1 && name[0] == '\0') name[0] = '@';
  else if (!name.empty() && name.back() == '\0') name.pop_back();
  std::ranges::replace(name, '\0', '@');
  std::ranges::replace(name, '\n', '?');
  if (!name.empty()) add(out, "name: {}{}\n", name, socket.deleted.value_or(false) ? " (deleted)" : "");
  if (socket.name_dir) add(out, "bound in: {}\n", *socket.name_dir);
  if (socket.peer) add(out, "peer: {}\n", socket.peer);
  if (socket.backlog) add(out, "backlog: {}\n", socket.backlog);
  add_shutdown(out, socket.shutdown);
  add_options(out, socket.opts);
}

void add_inet(std::string& out, Snapshot& snapshot, const image::InetSkEntry& socket) {
  add(out, "family: {}\ntype: {}\nprotocol: {}\nstate: {}\n", named("family", socket.family), named("type", socket.type), named("proto", socket.proto), named("state", socket.state));
  add(out, "local: {}\n", address(socket.family, socket.src_addr, socket.src_port));
  if (socket.dst_port) add(out, "remote: {}\n", address(socket.family, socket.dst_addr, socket.dst_port));
  if (socket.backlog) add(out, "backlog: {}\n", socket.backlog);
  add_shutdown(out, socket.shutdown);
  add_options(out, socket.opts);
  if (!snapshot.images().file(tcp_image(socket.ino))) return;
  if (const auto stream = if_readable(snapshot, read_stream(snapshot, socket.ino)))
    add(out, "received, not read: {} bytes\nsent, not acknowledged: {} bytes\nmss: {}\n", stream->entry.inq_len, stream->entry.outq_len, stream->entry.mss_clamp);
}

void add_netlink(std::string& out, const image::NetlinkSkEntry& socket) {
  add(out, "family: NETLINK\nprotocol: {}\nportid: {}\n", socket.protocol, socket.portid);
  if (socket.dst_portid) add(out, "remote portid: {}\n", socket.dst_portid);
  add_options(out, socket.opts);
}

void add_packets(std::string& out, const Queue& queue) {
  add(out, "waiting: {} bytes in {} packets\n", queue.size, queue.pieces.size());
  for (size_t i = 0; i < queue.pieces.size(); ++i) {
    add(out, "  packet {}: {} bytes", i, queue.pieces[i].size);
    if (queue.rights[i]) add(out, ", {} descriptors", queue.rights[i]);
    out += '\n';
  }
}

}  // namespace

Names list_sockets(Snapshot& snapshot) {
  std::vector<std::string> names;
  const auto files = if_readable(snapshot, snapshot.files());
  if (!files) return names;
  const auto queues = TRY(socket_queues(snapshot));
  for (const auto& [ino, file] : sockets_in(**files)) {
    names.push_back(std::to_string(ino));
    const bool stream = file->isk && snapshot.images().file(tcp_image(ino));
    if (stream || queues->contains(file->id)) names.push_back(std::to_string(ino) + kReceived);
    if (stream) names.push_back(std::to_string(ino) + kSent);
  }
  std::ranges::sort(names);
  return names;
}

Opened open_socket(Snapshot& snapshot, const std::string& name) {
  const auto text = numbered(name, "", ""), received = numbered(name, "", kReceived), sent = numbered(name, "", kSent);
  const auto ino = text ? text : received ? received : sent;
  const auto files = TRY(snapshot.files());
  const Sockets sockets = sockets_in(*files);
  if (!ino || !sockets.contains(*ino)) return no_such("sockets", name);
  const image::FileEntry& file = *sockets.at(*ino);
  const auto queues = TRY(socket_queues(snapshot));
  const auto queue = queues->find(file.id);
  if (!text && file.isk && snapshot.images().file(tcp_image(*ino))) {
    const Stream stream = TRY(read_stream(snapshot, *ino));
    const Piece& piece = received ? stream.received : stream.sent;
    return content_of({piece}, piece.size);
  }
  if (received && queue != queues->end()) return content_of(queue->second.pieces, queue->second.size);
  if (!text) return no_such("sockets", name);
  std::string out;
  if (file.usk) add_unix(out, *file.usk);
  if (file.isk) add_inet(out, snapshot, *file.isk);
  if (file.nlsk) add_netlink(out, *file.nlsk);
  if (queue != queues->end()) add_packets(out, queue->second);
  return content_of(std::move(out));
}

}  // namespace faultline::browse
