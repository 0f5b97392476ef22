#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace faultline::image {

// Writes JSON text with an indent of four spaces, in ASCII. The caller opens and closes in the right order.
class JsonWriter {
 public:
  void open_object() { open('{'); }
  void close_object() { close('}'); }
  void open_array() { open('['); }
  void close_array() { close(']'); }
  void key(std::string_view name);

  // `utf8` must be valid UTF-8 (see is_utf8).
  void text(std::string_view utf8);
  void number(int64_t value);
  void number(uint64_t value);
  void boolean(bool value);

  size_t size() const { return out_.size(); }
  std::string take() { return std::move(out_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void value();
  void line(size_t depth);
  void quote(std::string_view utf8);

  std::string out_;
  std::vector<bool> filled_;  // one per open bracket: does it hold something?
  bool after_key_ = false;
};

bool is_utf8(std::string_view bytes);

}  // namespace faultline::image
