// Messages taken apart without protobuf's classes, and the texts of their values.
#include "core/image/wire.h"

#include <catch2/catch.hpp>

#include "core/image/json_writer.h"
#include "core/image/kinds.h"
#include "core/image/present.h"

using namespace faultline;
using namespace faultline::image;

namespace {

std::vector<FieldValues> parsed(std::string_view message, std::string_view bytes) {
  auto values = parse_wire(bytes, *message_info(message));
  if (!values) FAIL(values.error().what);
  return std::move(*values);
}

std::string refused(std::string_view message, std::string_view bytes) {
  const auto values = parse_wire(bytes, *message_info(message));
  REQUIRE(!values);
  CHECK(values.error().code == EBADMSG);
  return values.error().what;
}

}  // namespace

TEST_CASE("the tables know every message that a kind of image holds, with ascending fields") {
  for (const MessageInfo* message : all_messages())
    for (size_t i = 1; i < message->fields.size(); ++i) CHECK(message->fields[i - 1].number < message->fields[i].number);
  CHECK(message_info("no_such_entry") == nullptr);
  for (const Kind& kind : all_kinds()) {
    INFO(kind.magic_name);
    CHECK(message_info(kind.message) != nullptr);
    CHECK((kind.first.empty() || message_info(kind.first) != nullptr));
    CHECK(kind_of(kind.magic, kind.service) == &kind);
  }
}

TEST_CASE("fields come in ascending order, unknown ones are passed over, the last of several values counts") {
  const auto values = parsed("fs_entry", "\x18\x01\x10\x02\x08\x03\x98\x06\x05\x08\x04");
  REQUIRE(values.size() == 3);
  CHECK(values[0].field->name == "cwd_id");
  CHECK(values[0].numbers == std::vector<uint64_t>{4});
  CHECK(values[2].field->name == "umask");
}

TEST_CASE("repeated numbers may be packed") {
  const auto values = parsed("pstree_entry", "\x08\x01\x10\x01\x18\x01\x20\x01\x28\x07\x2a\x02\x08\x09");
  REQUIRE(values.size() == 5);
  CHECK(values[4].numbers == std::vector<uint64_t>{7, 8, 9});
}

TEST_CASE("a message in two parts is the two merged") {
  const auto values = parsed("stats_entry", std::string_view("\x12\x02\x08\x01\x12\x06\x10\x02\x18\x03\x20\x04", 12));
  REQUIRE(values.size() == 1);
  REQUIRE(values[0].texts.size() == 1);
  CHECK(values[0].texts[0] == "\x08\x01\x10\x02\x18\x03\x20\x04");
  CHECK(parsed("restore_stats_entry", values[0].texts[0]).size() == 4);
}

TEST_CASE("signed numbers, and an enum value without a name") {
  const auto lock = parsed("thread_core_entry", std::string_view("\x08\x01\x10\x01\x18\x27", 6));
  CHECK(static_cast<int64_t>(lock[2].numbers[0]) == -20);
  CHECK(parsed("inventory_entry", "\x08\x02\x30\x63").size() == 1);
  CHECK(parsed("inventory_entry", "\x08\x02\x30\x02").size() == 2);
}

TEST_CASE("what is no message is refused with the place") {
  CHECK(refused("fs_entry", "\x08\x05\xd0\xfd\xc7\xfc\xbf\x7b\x01") == "not a fs_entry: the tag at byte 2 of the message is malformed");
  CHECK(refused("fs_entry", "\x08\x05") == "the required field root_id of fs_entry is missing");
  CHECK(refused("fs_entry", "\x08\xff") == "not a fs_entry: the value at byte 1 of the message is malformed or cut off");
  CHECK(refused("reg_file_entry",
                "\x32\x05"
                "ab")
            .starts_with("not a reg_file_entry: the value at byte 1"));
  CHECK(refused("fs_entry", std::string_view("\x08\x01\x00", 3)).starts_with("not a fs_entry: no field begins at byte "));
  CHECK(refused("pstree_entry", "\x2a\x05\x01").starts_with("not a pstree_entry: the value at byte 1"));
}

TEST_CASE("bits without a name are shown in hexadecimal") {
  CHECK(show_flags("mmap.prot", 0) == "");
  CHECK(show_flags("mmap.prot", 5) == "PROT_READ | PROT_EXEC");
  CHECK(show_flags("mmap.prot", 0x18) == "0x18");
  CHECK(show_flags("rfile.flags", 0100002 | 4) == "O_RDWR | O_LARGEFILE | 0x4");
}

TEST_CASE("devices and addresses") {
  CHECK(show_device(254u << 20 | 3, false) == "254:3");
  CHECK(show_device(0x12345678, true) == "1110:74616");
  CHECK(show_ipv4(0x0100007f) == "127.0.0.1");
  const uint64_t loopback[4] = {0, 0, 0, 0x01000000};
  CHECK(show_ipv6(loopback) == "::1");
}

TEST_CASE("base64 in lines of 76 characters") {
  CHECK(show_base64("") == "");
  CHECK(show_base64("a") == "YQ==\n");
  CHECK(show_base64("abcde") == "YWJjZGU=\n");
  CHECK(show_base64(std::string(57, 'x')).size() == 77);
  CHECK(show_base64(std::string(58, 'x')).size() == 77 + 5);
}

TEST_CASE("quoted-printable") {
  CHECK(show_quoted_printable(std::string_view("\0zoo", 4)) == "=00zoo");
  CHECK(show_quoted_printable("a b ") == "a b=20");
  CHECK(show_quoted_printable("a=\xff") == "a=3D=FF");
  CHECK(show_quoted_printable(std::string(100, 'x')) == std::string(75, 'x') + "=\n" + std::string(25, 'x'));
}

TEST_CASE("strings are valid JSON whatever their bytes") {
  JsonWriter out;
  out.text("a\"\\\n\x01\x7f\xc3\xa9\xf0\x9f\x98\x80\xff");
  CHECK(out.take() == "\"a\\\"\\\\\\n\\u0001\\u007f\\u00e9\\ud83d\\ude00\\ufffd\"");
  CHECK(is_utf8("\xc3\xa9"));
  CHECK(!is_utf8("\xc3"));
  CHECK(!is_utf8("\xc0\x80"));
  CHECK(!is_utf8("\xed\xa0\x80"));
  CHECK(!is_utf8("\xf4\x90\x80\x80"));
  CHECK(show_bytes("/x\xff'\n") == "b\"/x\\xff'\\n\"");
}
