// shm/: what shared memory objects are; ttys/: terminals.
#include <algorithm>
#include <set>

#include "browse/text/forms.h"
#include "browse/text/parts.h"

namespace faultline::browse {

namespace {

using Ttys = std::vector<image::TtyInfoEntry>;

Snapshot::Shared<Ttys> ttys_of(Snapshot& snapshot) {
  constexpr size_t kWeight = 1 << 12;
  return snapshot.cached<Ttys>("text/ttys", kWeight, [&]() -> Snapshot::Shared<Ttys> {
    return std::make_shared<const Ttys>(TRY(snapshot.entries<image::TtyInfoEntry>("tty-info.img", image::kTtyInfo)));
  });
}

const image::MemfdInodeEntry* memfd_of(const std::vector<image::MemfdInodeEntry>& memfds, uint64_t shmid) {
  const auto at = std::ranges::find(memfds, shmid, [](const image::MemfdInodeEntry& m) { return uint64_t{m.shmid}; });
  return at == memfds.end() ? nullptr : &*at;
}

// "pts3", "ptmx3", or the kind with the id.
std::string tty_name(const image::TtyInfoEntry& tty) {
  if (tty.pty) return fmt::format("{}{}", tty.id % 2 ? "ptmx" : "pts", tty.pty->index);
  constexpr std::pair<image::TtyType, const char*> kNames[] = {{image::TtyType::CONSOLE, "console"}, {image::TtyType::VT, "vt"}, {image::TtyType::CTTY, "ctty"},
                                                               {image::TtyType::EXT_TTY, "external"}, {image::TtyType::SERIAL, "serial"}};
  for (const auto& [type, name] : kNames)
    if (type == tty.type) return fmt::format("{}-{}", name, tty.id);
  return fmt::format("tty-{}", tty.id);
}

void add_settings(std::string& out, const char* name, const std::optional<image::TermiosEntry>& settings) {
  if (!settings) return;
  add(out, "{}: iflag {:#x} oflag {:#x} cflag {:#x} lflag {:#x} line {} speed {} {} cc", name, settings->c_iflag, settings->c_oflag, settings->c_cflag, settings->c_lflag,
      settings->c_line, settings->c_ispeed, settings->c_ospeed);
  for (const uint32_t c : settings->c_cc) add(out, " {:02x}", c);
  out += '\n';
}

std::string tty_text(const image::TtyInfoEntry& tty, Snapshot& snapshot) {
  std::string out = fmt::format("id: {}\ndevice: {}:{}\n", tty.id, tty.rdev >> 8 & 0xfff, (tty.rdev & 0xff) | (tty.rdev >> 12 & 0xfff00));
  add(out, "session: {}\nforeground group: {}\nlocked: {}\nexclusive: {}\npacket mode: {}\n", tty.sid, tty.pgrp, tty.locked, tty.exclusive, tty.packet_mode);
  if (tty.winsize) add(out, "window: {} rows, {} columns, {}x{} pixels\n", tty.winsize->ws_row, tty.winsize->ws_col, tty.winsize->ws_xpixel, tty.winsize->ws_ypixel);
  if (tty.uid) add(out, "owner: {}:{}\n", *tty.uid, tty.gid.value_or(0));
  if (!tty.termios) out += "hung up\n";
  add_settings(out, "settings", tty.termios);
  add_settings(out, "locked settings", tty.termios_locked);
  const auto data = if_readable(snapshot, snapshot.entries<image::TtyDataEntry>("tty-data.img", image::kTtyData));
  if (data)
    for (const image::TtyDataEntry& waiting : *data)
      if (waiting.tty_id == tty.id) add(out, "unread input: {} bytes\n", waiting.data.size());
  return out;
}

}  // namespace

Terminal terminal_of(Snapshot& snapshot, const Process& process) {
  Terminal terminal;
  const auto ttys = if_readable(snapshot, ttys_of(snapshot));
  if (!ttys || process.sid == 0) return terminal;
  for (const image::TtyInfoEntry& tty : **ttys) {
    // Of a pair, the slave is the terminal of the session.
    if (tty.sid != process.sid || (tty.pty && tty.id % 2)) continue;
    terminal.device = tty.rdev;
    terminal.group = static_cast<int32_t>(tty.pgrp);
  }
  return terminal;
}

uint64_t shared_object_size(Snapshot& snapshot, uint64_t shmid) {
  if (const auto memfds = if_readable(snapshot, snapshot.memfds()))
    if (const image::MemfdInodeEntry* memfd = memfd_of(**memfds, shmid)) return memfd->size;
  const auto pages = if_readable(snapshot, snapshot.shared_pages(shmid));
  if (!pages || (*pages)->index().extents().empty()) return 0;
  return (*pages)->index().extents().back().end();
}

Names list_shm(Snapshot& snapshot) {
  std::set<uint64_t> ids;
  for (const uint32_t id : snapshot.shared_objects()) ids.insert(id);
  if (const auto memfds = if_readable(snapshot, snapshot.memfds()))
    for (const image::MemfdInodeEntry& memfd : **memfds) ids.insert(memfd.shmid);
  std::vector<std::string> names;
  for (const uint64_t id : ids) names.push_back(fmt::format("{}.txt", id));
  std::ranges::sort(names);
  return names;
}

Opened open_shm(Snapshot& snapshot, const std::string& name) {
  const auto id = numbered(name, "", ".txt");
  const auto memfds = if_readable(snapshot, snapshot.memfds());
  const image::MemfdInodeEntry* memfd = id && memfds ? memfd_of(**memfds, *id) : nullptr;
  const auto numbers = snapshot.shared_objects();
  const bool stored = id && std::ranges::find(numbers, *id) != numbers.end();
  if (!id || (!memfd && !stored)) return no_such("shm", name);
  std::string out = fmt::format("shmid: {}\nsize: {}\n", *id, shared_object_size(snapshot, *id));
  if (memfd) {
    add(out, "name: {}\nowner: {}:{}\nseals: {:#x}\n", memfd->name, memfd->uid, memfd->gid, memfd->seals);
    if (memfd->mode) add(out, "mode: {:04o}\n", *memfd->mode & 07777);
  }
  const auto pages = stored ? if_readable(snapshot, snapshot.shared_pages(*id)) : std::nullopt;
  add(out, "stored: {} bytes\n", pages ? (*pages)->index().pages() * kPageSize : 0);
  if (pages && !(*pages)->damage().empty()) add(out, "damaged: {}\n", (*pages)->damage());
  return content_of(std::move(out));
}

Names list_ttys(Snapshot& snapshot) {
  std::set<std::string> names;
  for (const image::TtyInfoEntry& tty : *TRY(ttys_of(snapshot))) names.insert(tty_name(tty));
  return std::vector<std::string>(names.begin(), names.end());
}

Opened open_tty(Snapshot& snapshot, const std::string& name) {
  for (const image::TtyInfoEntry& tty : *TRY(ttys_of(snapshot)))
    if (tty_name(tty) == name) return content_of(tty_text(tty, snapshot));
  return no_such("ttys", name);
}

}  // namespace faultline::browse
