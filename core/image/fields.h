#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace faultline::image {

// What the .proto files say about each field, as constant tables: enough to show any message without protobuf's reflection, whose
// set-up at program start would be paid by every restore (0.15 ms). The tables are made by plain/tables.cc.

enum class FieldType : uint8_t { kUint32, kUint64, kInt32, kInt64, kSint32, kSint64, kBool, kEnum, kFixed64, kString, kBytes, kMessage };
enum class Label : uint8_t { kOptional, kRequired, kRepeated };

// How a value is shown: the options of extension 1018 (show.proto).
enum class Form : uint8_t { kPlain, kHex, kIpAddress, kFlags, kDevice, kUserDevice, kDictionary, kUnixName };

struct EnumName {
  int32_t number;
  std::string_view name;
};

struct MessageInfo;

struct FieldInfo {
  uint32_t number;
  std::string_view name;
  FieldType type;
  Label label;
  Form form;                        // kHex on a message holds for all numbers inside
  std::string_view table;           // of kFlags and kDictionary
  const MessageInfo* message;       // of kMessage
  std::span<const EnumName> names;  // of kEnum
};

struct MessageInfo {
  std::string_view name;
  std::span<const FieldInfo> fields;  // by ascending number

  const FieldInfo* field(uint32_t number) const;
};

// All messages of the .proto files.
std::span<const MessageInfo* const> all_messages();
// nullptr if there is no message of this name.
const MessageInfo* message_info(std::string_view name);

}  // namespace faultline::image
