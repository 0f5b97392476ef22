#include "core/image/json_writer.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace faultline::image {

namespace {

constexpr char32_t kInvalid = 0xffffffff;

// The code point that starts at `at`, which moves behind it; kInvalid if none does (overlong forms and surrogates are none).
char32_t next_code_point(std::string_view bytes, size_t& at) {
  const auto byte = [&](size_t i) -> uint8_t { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t first = byte(at);
  if (first < 0x80) return bytes[at++];
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || bytes.size() - at < length) return kInvalid;
  char32_t point = first & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return kInvalid;
    point = point << 6 | (byte(at + i) & 0x3fu);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < kLeast[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return kInvalid;
  at += length;
  return point;
}

void escape(char32_t point, std::string& out) {
  auto to = std::back_inserter(out);
  switch (point) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
  }
  if (point >= 0x20 && point < 0x7f)
    out += static_cast<char>(point);
  else if (point < 0x10000)
    fmt::format_to(to, "\\u{:04x}", static_cast<uint32_t>(point));
  else
    fmt::format_to(to, "\\u{:04x}\\u{:04x}", 0xd800 + ((point - 0x10000) >> 10), 0xdc00 + ((point - 0x10000) & 0x3ff));
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();)
    if (next_code_point(bytes, at) == kInvalid) return false;
  return true;
}

void JsonWriter::line(size_t depth) {
  out_ += '\n';
  out_.append(4 * depth, ' ');
}

// Called before every value and key: the comma and the line that it needs.
void JsonWriter::value() {
  if (std::exchange(after_key_, false) || filled_.empty()) return;
  if (filled_.back()) out_ += ',';
  filled_.back() = true;
  line(filled_.size());
}

void JsonWriter::open(char bracket) {
  value();
  out_ += bracket;
  filled_.push_back(false);
}

void JsonWriter::close(char bracket) {
  const bool filled = filled_.back();
  filled_.pop_back();
  if (filled) line(filled_.size());
  out_ += bracket;
}

void JsonWriter::quote(std::string_view utf8) {
  out_ += '"';
  for (size_t at = 0; at < utf8.size();) {
    const char32_t point = next_code_point(utf8, at);
    if (point == kInvalid) ++at;
    escape(point == kInvalid ? 0xfffd : point, out_);
  }
  out_ += '"';
}

void JsonWriter::key(std::string_view name) {
  value();
  quote(name);
  out_ += ": ";
  after_key_ = true;
}

void JsonWriter::text(std::string_view utf8) {
  value();
  quote(utf8);
}

void JsonWriter::number(int64_t n) {
  value();
  fmt::format_to(std::back_inserter(out_), "{}", n);
}

void JsonWriter::number(uint64_t n) {
  value();
  fmt::format_to(std::back_inserter(out_), "{}", n);
}

void JsonWriter::boolean(bool b) {
  value();
  out_ += b ? "true" : "false";
}

}  // namespace faultline::image
