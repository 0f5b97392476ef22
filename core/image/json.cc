#include "core/image/json.h"

#include <sys/stat.h>

#include <cstring>

#include "core/image/fields.h"
#include "core/image/image_dir.h"
#include "core/image/json_writer.h"
#include "core/image/present.h"
#include "core/image/wire.h"

namespace faultline::image {

namespace {

// Only cgroup directories nest at all, as deep as the cgroup tree is. Protobuf's limit.
constexpr int kDepthLimit = 100;

// Bytes of text; a few bytes of image may stand for hundreds of text.
constexpr size_t kTextLimit = size_t{1} << 30;

Result<void> room(const JsonWriter& out, uint64_t more = 0) {
  if (more > kTextLimit || out.size() > kTextLimit - more) return error(EFBIG, "as JSON this is longer than {} MiB", kTextLimit >> 20);
  return {};
}

void show_text(JsonWriter& out, std::string_view bytes) {
  if (is_utf8(bytes))
    out.text(bytes);
  else
    out.text(show_bytes(bytes));
}

void show_number(JsonWriter& out, const FieldInfo& field, uint64_t value, bool hex) {
  const auto is_signed = field.type == FieldType::kInt32 || field.type == FieldType::kInt64 || field.type == FieldType::kSint32 ||
                         field.type == FieldType::kSint64;
  if (field.type == FieldType::kBool) return out.boolean(value != 0);
  if (field.type == FieldType::kEnum) return out.text(enum_name(field, static_cast<int64_t>(value))->name);
  switch (field.form) {
    case Form::kFlags:
      return out.text(show_flags(field.table, value));
    case Form::kDevice:
      return out.text(show_device(value, false));
    case Form::kUserDevice:
      return out.text(show_device(value, true));
    case Form::kIpAddress:
      return out.text(show_ipv4(static_cast<uint32_t>(value)));
    case Form::kDictionary:
      if (const auto name = show_name(field.table, field.name, value); !name.empty()) return out.text(name);
      break;
    case Form::kHex:
      hex = true;
      break;
    default:
      break;
  }
  if (hex)
    out.text(fmt::format("{:#x}", value));
  else if (is_signed)
    out.number(static_cast<int64_t>(value));
  else
    out.number(value);
}

// Writes one message as members of the object that is open.
Result<void> show_message(JsonWriter& out, std::string_view bytes, const MessageInfo& info, bool hex, int depth);

Result<void> show_values(JsonWriter& out, const FieldValues& values, bool hex, int depth) {
  const FieldInfo& field = *values.field;
  if (field.form == Form::kIpAddress && values.numbers.size() == 4) {
    out.text(show_ipv6(std::span<const uint64_t, 4>(values.numbers)));
    return {};
  }
  for (const uint64_t value : values.numbers) {
    TRY(room(out));
    show_number(out, field, value, hex);
  }
  for (const std::string_view text : values.texts) {
    TRY(room(out));
    if (field.type == FieldType::kMessage) {
      out.open_object();
      TRY(show_message(out, text, *field.message, hex || field.form == Form::kHex, depth + 1));
      out.close_object();
    } else if (field.form == Form::kUnixName) {
      out.text(show_quoted_printable(text));
    } else if (field.type == FieldType::kBytes) {
      out.text(show_base64(text));
    } else {
      show_text(out, text);
    }
  }
  return {};
}

Result<void> show_message(JsonWriter& out, std::string_view bytes, const MessageInfo& info, bool hex, int depth) {
  if (depth > kDepthLimit) return error(EBADMSG, "{}: messages are nested deeper than {}", info.name, kDepthLimit);
  for (const FieldValues& values : TRY(parse_wire(bytes, info))) {
    out.key(values.field->name);
    const bool array = values.field->label == Label::kRepeated;
    if (array) out.open_array();
    TRY(show_values(out, values, hex, depth));
    if (array) out.close_array();
  }
  return {};
}

// Shows one image: each entry an object, its payload the member "extra".
class Decoder {
 public:
  explicit Decoder(Reader reader) : in_(std::move(reader)) {}

  Result<std::string> run() {
    const Kind& kind = in_.kind();
    out_.open_object();
    out_.key("magic");
    out_.text(kind.magic_name);
    out_.key("entries");
    out_.open_array();
    for (bool first = true; !in_.at_end(); first = false) {
      const std::string_view name = first && !kind.first.empty() ? kind.first : kind.message;
      const std::string bytes = TRY(entry(name));
      TRY(payload(kind.payload, bytes));
      out_.close_object();
      if (kind.payload == Payload::kGhost && first) TRY(chunks());
    }
    out_.close_array();
    out_.close_object();
    return out_.take();
  }

 private:
  template <typename Message>
  Result<Message> typed(const std::string& bytes) {
    Message message;
    std::string why;
    if (!parse(bytes, message, why)) return in_.bad(entry_at_, why);
    return message;
  }

  // Opens an object with the members of the next entry, leaves it open, and gives the entry's bytes.
  Result<std::string> entry(std::string_view message) {
    entry_at_ = in_.offset();
    TRY(fits(0));
    auto bytes = TRY(in_.next_bytes());
    if (!bytes) return in_.bad(entry_at_, fmt::format("a {} is expected here", message));
    const MessageInfo* info = message_info(message);
    FL_CHECK(info);
    out_.open_object();
    if (auto shown = show_message(out_, *bytes, *info, false, 0); !shown)
      return wrap(shown.error(), "{}: at offset {}", in_.name(), entry_at_);
    return std::move(*bytes);
  }

  Result<void> fits(uint64_t more) {
    if (auto fit = room(out_, more); !fit) return wrap(fit.error(), "{}: at offset {}", in_.name(), in_.offset());
    return {};
  }

  Result<void> base64(uint64_t size) {
    TRY(fits(size));
    out_.text(show_base64(TRY(in_.payload(size))));
    return {};
  }

  Result<void> payload(Payload payload, const std::string& bytes) {
    switch (payload) {
      case Payload::kNone:
        return {};
      case Payload::kPipeData:
        return extra(TRY(typed<PipeDataEntry>(bytes)).bytes);
      case Payload::kSocketPacket:
        return extra(TRY(typed<SkPacketEntry>(bytes)).length);
      case Payload::kTcpStream:
        return tcp_stream(TRY(typed<TcpStreamEntry>(bytes)));
      case Payload::kGhost:
        chunked_ = TRY(typed<GhostFileEntry>(bytes)).chunks.value_or(false);
        return chunked_ ? Result<void>() : extra(in_.size() - in_.offset());
      case Payload::kIpcShm:
        return shm(TRY(typed<IpcShmEntry>(bytes)));
      case Payload::kIpcMsg:
        return messages(TRY(typed<IpcMsgEntry>(bytes)));
      case Payload::kIpcSem:
        return semaphores(TRY(typed<IpcSemEntry>(bytes)));
      case Payload::kBpfMap: {
        const auto map = TRY(typed<BpfmapDataEntry>(bytes));
        return extra(uint64_t{map.keys_bytes} + map.values_bytes);
      }
    }
    return {};
  }

  Result<void> extra(uint64_t size) {
    out_.key("extra");
    return base64(size);
  }

  Result<void> tcp_stream(const TcpStreamEntry& stream) {
    out_.key("extra");
    out_.open_object();
    out_.key("inq");
    TRY(base64(stream.inq_len));
    out_.key("outq");
    TRY(base64(stream.outq_len));
    out_.close_object();
    return {};
  }

  Result<void> padding(uint64_t size, uint64_t unit) {
    TRY(in_.skip((unit - size % unit) % unit));
    return {};
  }

  Result<void> shm(const IpcShmEntry& segment) {
    if (segment.in_pagemaps.value_or(false)) return {};
    TRY(extra(segment.size));
    return padding(segment.size, 4);
  }

  Result<void> messages(const IpcMsgEntry& queue) {
    out_.key("extra");
    out_.open_array();
    for (uint32_t i = 0; i < queue.qnum; ++i) {
      const auto message = TRY(typed<IpcMsg>(TRY(entry("ipc_msg"))));
      out_.close_object();
      TRY(base64(message.msize));
      TRY(padding(message.msize, 8));
    }
    out_.close_array();
    return {};
  }

  Result<void> semaphores(const IpcSemEntry& set) {
    const uint64_t size = uint64_t{set.nsems} * sizeof(uint16_t);
    TRY(fits(size));
    const std::string bytes = TRY(in_.payload(size));
    TRY(padding(size, 8));
    out_.key("extra");
    out_.open_array();
    for (size_t at = 0; at < bytes.size(); at += sizeof(uint16_t)) {
      uint16_t value;
      std::memcpy(&value, bytes.data() + at, sizeof value);
      out_.number(uint64_t{value});
    }
    out_.close_array();
    return {};
  }

  // After the first entry of a ghost file whose body is given in pieces, each piece is an entry of its own.
  Result<void> chunks() {
    while (chunked_ && !in_.at_end()) {
      const auto chunk = TRY(typed<GhostChunkEntry>(TRY(entry("ghost_chunk_entry"))));
      TRY(extra(chunk.len));
      out_.close_object();
    }
    return {};
  }

  Reader in_;
  JsonWriter out_;
  uint64_t entry_at_ = 0;
  bool chunked_ = false;
};

}  // namespace

Result<std::string> decode_json(int fd, std::string name) { return Decoder(TRY(Reader::open_any(fd, std::move(name)))).run(); }

Result<void> append_json(JsonWriter& out, std::string_view bytes, std::string_view message) {
  const MessageInfo* info = message_info(message);
  FL_CHECK(info);
  return show_message(out, bytes, *info, false, 0);
}

}  // namespace faultline::image
