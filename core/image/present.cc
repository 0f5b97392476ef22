#include "core/image/present.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/image/json_writer.h"

namespace faultline::image {

namespace {

struct Name {
  std::string_view table;
  uint64_t value;
  std::string_view name;
};

constexpr Name kBits[] = {
    {"mmap.prot", 1, "PROT_READ"},
    {"mmap.prot", 2, "PROT_WRITE"},
    {"mmap.prot", 4, "PROT_EXEC"},

    {"mmap.flags", 0x1, "MAP_SHARED"},
    {"mmap.flags", 0x2, "MAP_PRIVATE"},
    {"mmap.flags", 0x8, "MAP_DROPPABLE"},
    {"mmap.flags", 0x20, "MAP_ANON"},
    {"mmap.flags", 0x100, "MAP_GROWSDOWN"},

    {"mmap.status", 1u << 0, "VMA_AREA_REGULAR"},
    {"mmap.status", 1u << 1, "VMA_AREA_STACK"},
    {"mmap.status", 1u << 2, "VMA_AREA_VSYSCALL"},
    {"mmap.status", 1u << 3, "VMA_AREA_VDSO"},
    {"mmap.status", 1u << 5, "VMA_AREA_HEAP"},
    {"mmap.status", 1u << 6, "VMA_FILE_PRIVATE"},
    {"mmap.status", 1u << 7, "VMA_FILE_SHARED"},
    {"mmap.status", 1u << 8, "VMA_ANON_SHARED"},
    {"mmap.status", 1u << 9, "VMA_ANON_PRIVATE"},
    {"mmap.status", 1u << 10, "VMA_AREA_SYSVIPC"},
    {"mmap.status", 1u << 11, "VMA_AREA_SOCKET"},
    {"mmap.status", 1u << 12, "VMA_AREA_VVAR"},
    {"mmap.status", 1u << 13, "VMA_AREA_AIORING"},
    {"mmap.status", 1u << 14, "VMA_AREA_MEMFD"},
    {"mmap.status", 1u << 15, "VMA_AREA_SHSTK"},
    {"mmap.status", 1u << 17, "VMA_AREA_UPROBES"},
    {"mmap.status", 1u << 31, "VMA_UNSUPP"},

    {"rfile.flags", 01, "O_WRONLY"},
    {"rfile.flags", 02, "O_RDWR"},
    {"rfile.flags", 0100, "O_CREAT"},
    {"rfile.flags", 0200, "O_EXCL"},
    {"rfile.flags", 0400, "O_NOCTTY"},
    {"rfile.flags", 01000, "O_TRUNC"},
    {"rfile.flags", 02000, "O_APPEND"},
    {"rfile.flags", 04000, "O_NONBLOCK"},
    {"rfile.flags", 010000, "O_DSYNC"},
    {"rfile.flags", 020000, "FASYNC"},
    {"rfile.flags", 040000, "O_DIRECT"},
    {"rfile.flags", 0100000, "O_LARGEFILE"},
    {"rfile.flags", 0200000, "O_DIRECTORY"},
    {"rfile.flags", 0400000, "O_NOFOLLOW"},
    {"rfile.flags", 01000000, "O_NOATIME"},
    {"rfile.flags", 02000000, "O_CLOEXEC"},

    {"pmap.flags", 1, "PE_PARENT"},
    {"pmap.flags", 2, "PE_LAZY"},
    {"pmap.flags", 4, "PE_PRESENT"},

    {"seals.flags", 0x1, "F_SEAL_SEAL"},
    {"seals.flags", 0x2, "F_SEAL_SHRINK"},
    {"seals.flags", 0x4, "F_SEAL_GROW"},
    {"seals.flags", 0x8, "F_SEAL_WRITE"},
    {"seals.flags", 0x10, "F_SEAL_FUTURE_WRITE"},
};

// By dictionary and field.
constexpr Name kValues[] = {
    {"sk.family", 1, "UNIX"},
    {"sk.family", 2, "INET"},
    {"sk.family", 10, "INET6"},
    {"sk.family", 16, "NETLINK"},
    {"sk.family", 17, "PACKET"},

    {"sk.type", 1, "STREAM"},
    {"sk.type", 2, "DGRAM"},
    {"sk.type", 3, "RAW"},
    {"sk.type", 5, "SEQPACKET"},
    {"sk.type", 10, "PACKET"},

    {"sk.state", 1, "ESTABLISHED"},
    {"sk.state", 2, "SYN_SENT"},
    {"sk.state", 3, "SYN_RECV"},
    {"sk.state", 4, "FIN_WAIT1"},
    {"sk.state", 5, "FIN_WAIT2"},
    {"sk.state", 6, "TIME_WAIT"},
    {"sk.state", 7, "CLOSE"},
    {"sk.state", 8, "CLOSE_WAIT"},
    {"sk.state", 9, "LAST_ACK"},
    {"sk.state", 10, "LISTEN"},

    {"sk.proto", 0, "IP"},
    {"sk.proto", 6, "TCP"},
    {"sk.proto", 17, "UDP"},
    {"sk.proto", 136, "UDPLITE"},

    // crit's names stand at other numbers than images use (there 2 is dead, 3 is stopped); so a stopped task is shown as a zombie.
    {"gen.task_state", 1, "Alive"},
    {"gen.task_state", 3, "Zombie"},
    {"gen.task_state", 6, "Stopped"},
};

constexpr size_t kLineLength = 76;

}  // namespace

std::string show_flags(std::string_view table, uint64_t value) {
  std::string out;
  const auto add = [&](std::string_view text) {
    if (!out.empty()) out += " | ";
    out += text;
  };
  for (const Name& bit : kBits)
    if (bit.table == table && value & bit.value) {
      add(bit.name);
      value &= ~bit.value;
    }
  if (value) add(fmt::format("{:#x}", value));
  return out;
}

std::string_view show_name(std::string_view dictionary, std::string_view field, uint64_t value) {
  for (const Name& entry : kValues)
    if (entry.value == value && entry.table.starts_with(dictionary) && entry.table.substr(dictionary.size() + 1) == field)
      return entry.name;
  return {};
}

std::string show_device(uint64_t value, bool user) {
  if (!user) return fmt::format("{}:{}", value >> 20, value & 0xfffff);
  return fmt::format("{}:{}", (value >> 8 & 0xfff) | (value >> 32 & ~0xfffull), (value & 0xff) | (value >> 12 & 0xffffff00));
}

std::string show_ipv4(uint32_t word) {
  const auto bytes = std::bit_cast<std::array<uint8_t, 4>>(word);
  return fmt::format("{}.{}.{}.{}", bytes[0], bytes[1], bytes[2], bytes[3]);
}

std::string show_ipv6(std::span<const uint64_t, 4> words) {
  std::array<uint16_t, 8> groups;
  for (size_t i = 0; i < 4; ++i) {
    const auto bytes = std::bit_cast<std::array<uint8_t, 4>>(static_cast<uint32_t>(words[i]));
    groups[2 * i] = static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
    groups[2 * i + 1] = static_cast<uint16_t>(bytes[2] << 8 | bytes[3]);
  }
  // The first of the longest runs of zero groups becomes "::", if it has at least two.
  size_t best = 8, best_length = 1;
  for (size_t i = 0; i < 8; ++i) {
    size_t length = 0;
    while (i + length < 8 && groups[i + length] == 0) ++length;
    if (length > best_length) best = i, best_length = length;
    i += length;
  }
  std::string out;
  for (size_t i = 0; i < 8; ++i) {
    if (i == best) {
      out += "::";
      i += best_length - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    out += fmt::format("{:x}", groups[i]);
  }
  return out;
}

std::string show_base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4 + bytes.size() / (kLineLength / 4 * 3) + 1);
  size_t column = 0;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k) three = three << 8 | (k < have ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += k <= have ? kDigits[three >> (18 - 6 * k) & 63] : '=';
    if ((column += 4) == kLineLength) out += '\n', column = 0;
  }
  if (column) out += '\n';
  return out;
}

std::string show_quoted_printable(std::string_view in) {
  std::string out;
  size_t column = 0;
  // Lines end as the first one does.
  const size_t first_end = in.find('\n');
  const bool crlf = first_end != in.npos && first_end > 0 && in[first_end - 1] == '\r';
  const std::string_view line_end = crlf ? "\r\n" : "\n";
  const auto soft_break = [&] {
    out += '=';
    out += line_end;
    column = 0;
  };
  for (size_t i = 0; i < in.size(); ++i) {
    const auto c = static_cast<uint8_t>(in[i]);
    const bool last = i + 1 == in.size();
    const bool blank = c == ' ' || c == '\t';
    const bool dot_alone = c == '.' && column == 0 && (last || in[i + 1] == '\n' || in[i + 1] == '\r' || in[i + 1] == 0);
    if (c > 126 || c == '=' || dot_alone || (blank && last) || (c < 32 && c != '\r' && c != '\n' && c != '\t')) {
      if (column + 3 >= kLineLength) soft_break();
      out += fmt::format("={:02X}", c);
      column += 3;
    } else if (c == '\n' || (c == '\r' && !last && in[i + 1] == '\n')) {
      // A blank at the end of a line would be lost on the way.
      if (!out.empty() && (out.back() == ' ' || out.back() == '\t')) out.replace(out.size() - 1, 1, fmt::format("={:02X}", out.back()));
      out += line_end;
      if (c == '\r') ++i;
      column = 0;
    } else {
      if (!last && in[i + 1] != '\n' && column + 1 >= kLineLength) soft_break();
      out += static_cast<char>(c);
      ++column;
    }
  }
  return out;
}

std::string show_bytes(std::string_view bytes) {
  const char quote = bytes.find('\'') != bytes.npos && bytes.find('"') == bytes.npos ? '"' : '\'';
  std::string out = {'b', quote};
  for (const char c : bytes) {
    if (c == quote || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c >= 0x20 && c < 0x7f)
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  }
  return out + quote;
}

std::string printable(std::string_view text) {
  const bool utf8 = is_utf8(text);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls are two bytes in UTF-8; some terminals obey them.
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || c1 || (byte >= 0x80 && !utf8)) out += fmt::format("\\x{:02x}", byte);
    else out += text[i];
    if (c1) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
  }
  return out;
}

}  // namespace faultline::image
