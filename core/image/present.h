#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace faultline::image {

// The texts in which crit shows values (formats/messages.md, "Conventions"; what is not said there was seen at crit itself).

// The names of the bits in the order of the table, then what no name covers in hexadecimal; empty for 0.
std::string show_flags(std::string_view table, uint64_t value);

// The name of the value; empty if the dictionary has none.
std::string_view show_name(std::string_view dictionary, std::string_view field, uint64_t value);

// "major:minor". `user` tells the encoding of dev_t in user space from that of the kernel (major << 20 | minor).
std::string show_device(uint64_t value, bool user);

// One word is an IPv4 address, four are an IPv6 address, each in network order. Other counts are shown as IPv4 addresses, one by one,
// by the caller.
std::string show_ipv4(uint32_t word);
std::string show_ipv6(std::span<const uint64_t, 4> words);

// Lines of 76 characters, each closed by a newline.
std::string show_base64(std::string_view bytes);

// RFC 2045 for text: line ends stay, lines are at most 76 characters.
std::string show_quoted_printable(std::string_view bytes);

// `text` for a terminal or a log: control characters and bytes that are not UTF-8 as "\x1b".
std::string printable(std::string_view text);

// A string of bytes that are not UTF-8: b'...' with escapes.
std::string show_bytes(std::string_view bytes);

}  // namespace faultline::image
