#include "core/image/wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

namespace faultline::image {

namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using WireType = WireFormatLite::WireType;

WireType wire_type(FieldType type) {
  switch (type) {
    case FieldType::kFixed64:
      return WireFormatLite::WIRETYPE_FIXED64;
    case FieldType::kString:
    case FieldType::kBytes:
    case FieldType::kMessage:
      return WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    default:
      return WireFormatLite::WIRETYPE_VARINT;
  }
}

constexpr int kLongestTag = 5;  // bytes

bool is_number(FieldType type) { return wire_type(type) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED; }

// The value that a varint stands for: too wide ones are cut, as protobuf cuts them.
uint64_t number_of(FieldType type, uint64_t raw) {
  switch (type) {
    case FieldType::kUint32:
      return static_cast<uint32_t>(raw);
    case FieldType::kInt32:
    case FieldType::kEnum:
      return static_cast<uint64_t>(int64_t{static_cast<int32_t>(raw)});
    case FieldType::kSint32:
      return static_cast<uint64_t>(int64_t{WireFormatLite::ZigZagDecode32(static_cast<uint32_t>(raw))});
    case FieldType::kSint64:
      return static_cast<uint64_t>(WireFormatLite::ZigZagDecode64(raw));
    case FieldType::kBool:
      return raw != 0;
    default:
      return raw;
  }
}

class Parser {
 public:
  Parser(std::string_view bytes, const MessageInfo& message)
      : bytes_(bytes), message_(message), in_(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size())) {}

  Result<std::vector<FieldValues>> run() {
    for (int begin = 0; const uint32_t tag = in_.ReadTag(); begin = in_.CurrentPosition()) {
      const FieldInfo* field = message_.field(WireFormatLite::GetTagFieldNumber(tag));
      const int at = in_.CurrentPosition();
      // protobuf's own messages refuse tags of more bytes than their 32 bits can need; this stream would cut them.
      if (at - begin > kLongestTag) return error(EBADMSG, "not a {}: the tag at byte {} of the message is malformed", message_.name, begin);
      if (!known(field, tag) ? !WireFormatLite::SkipField(&in_, tag) : !value(*field, WireFormatLite::GetTagWireType(tag)))
        return error(EBADMSG, "not a {}: the value at byte {} of the message is malformed or cut off", message_.name, at);
    }
    if (!in_.ConsumedEntireMessage())
      return error(EBADMSG, "not a {}: no field begins at byte {} of the message", message_.name, in_.CurrentPosition());
    for (const FieldInfo& field : message_.fields)
      if (field.label == Label::kRequired && !find(field))
        return error(EBADMSG, "the required field {} of {} is missing", field.name, message_.name);
    std::sort(found_.begin(), found_.end(), [](const FieldValues& a, const FieldValues& b) { return a.field->number < b.field->number; });
    return std::move(found_);
  }

 private:
  static bool packed(const FieldInfo& field, WireType type) {
    return type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED && field.label == Label::kRepeated && is_number(field.type);
  }
  static bool known(const FieldInfo* field, uint32_t tag) {
    const WireType type = WireFormatLite::GetTagWireType(tag);
    return field && (type == wire_type(field->type) || packed(*field, type));
  }

  FieldValues* find(const FieldInfo& field) {
    for (FieldValues& values : found_)
      if (values.field == &field) return &values;
    return nullptr;
  }
  FieldValues& values(const FieldInfo& field) {
    if (FieldValues* values = find(field)) return *values;
    return found_.emplace_back(FieldValues{&field, {}, {}, nullptr});
  }

  // The next `size` bytes of the message, which stay where they are.
  bool view(std::string_view& out) {
    uint32_t size;
    if (!in_.ReadVarint32(&size) || size > bytes_.size() - static_cast<size_t>(in_.CurrentPosition())) return false;
    out = bytes_.substr(static_cast<size_t>(in_.CurrentPosition()), size);
    return in_.Skip(static_cast<int>(size));
  }

  bool value(const FieldInfo& field, WireType type) {
    if (!is_number(field.type)) {
      std::string_view bytes;
      if (!view(bytes)) return false;
      add(field, bytes);
      return true;
    }
    if (!packed(field, type)) return number(field);
    uint32_t size;
    if (!in_.ReadVarint32(&size) || size > bytes_.size() - static_cast<size_t>(in_.CurrentPosition())) return false;
    const auto limit = in_.PushLimit(static_cast<int>(size));
    while (in_.BytesUntilLimit() > 0)
      if (!number(field)) return false;
    in_.PopLimit(limit);
    return true;
  }

  void add(const FieldInfo& field, std::string_view bytes) {
    FieldValues& to = values(field);
    if (field.type != FieldType::kMessage || field.label == Label::kRepeated || to.texts.empty()) return put(field, to.texts, bytes);
    // Two messages one after the other are, on the wire, the two merged.
    if (!to.merged) to.merged = std::make_unique<std::string>(to.texts[0]);
    *to.merged += bytes;
    to.texts[0] = *to.merged;
  }

  bool number(const FieldInfo& field) {
    uint64_t raw;
    if (field.type == FieldType::kFixed64 ? !in_.ReadLittleEndian64(&raw) : !in_.ReadVarint64(&raw)) return false;
    const uint64_t value = number_of(field.type, raw);
    if (field.type == FieldType::kEnum && !enum_name(field, static_cast<int64_t>(value))) return true;
    put(field, values(field).numbers, value);
    return true;
  }

  template <typename T>
  static void put(const FieldInfo& field, std::vector<T>& to, T value) {
    if (field.label != Label::kRepeated) to.clear();
    to.push_back(value);
  }

  std::string_view bytes_;
  const MessageInfo& message_;
  CodedInputStream in_;
  std::vector<FieldValues> found_;
};

}  // namespace

const EnumName* enum_name(const FieldInfo& field, int64_t number) {
  for (const EnumName& name : field.names)
    if (name.number == number) return &name;
  return nullptr;
}

Result<std::vector<FieldValues>> parse_wire(std::string_view bytes, const MessageInfo& message) { return Parser(bytes, message).run(); }

}  // namespace faultline::image
