// The second half of protoc-gen-plain: the field tables from which `decode` shows messages.
#include "tables.h"

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <set>

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownFieldSet;
using google::protobuf::io::Printer;

constexpr int kShowExtension = 1018;

// Members of message Show, show.proto.
enum ShowMember { kHex = 1, kIpadd = 2, kFlags = 3, kDev = 4, kOdev = 5, kDict = 6, kConv = 7 };

struct Show {
  bool hex = false, ipadd = false, dev = false, odev = false;
  std::string flags, dict, conv;
};

Show show_of(const FieldDescriptor* field) {
  // The plugin does not know the extension's class, so that it arrives as an unknown field.
  Show show;
  const UnknownFieldSet& options = field->options().unknown_fields();
  for (int i = 0; i < options.field_count(); ++i) {
    if (options.field(i).number() != kShowExtension) continue;
    UnknownFieldSet members;
    members.ParseFromString(options.field(i).length_delimited());
    for (int k = 0; k < members.field_count(); ++k) {
      const auto& member = members.field(k);
      switch (member.number()) {
        case kHex:
          show.hex = member.varint();
          break;
        case kIpadd:
          show.ipadd = member.varint();
          break;
        case kDev:
          show.dev = member.varint();
          break;
        case kOdev:
          show.odev = member.varint();
          break;
        case kFlags:
          show.flags = member.length_delimited();
          break;
        case kDict:
          show.dict = member.length_delimited();
          break;
        case kConv:
          show.conv = member.length_delimited();
          break;
      }
    }
  }
  return show;
}

// Empty for a type without a row in FieldType.
std::string type_name(FieldDescriptor::Type type) {
  switch (type) {
    case FieldDescriptor::TYPE_UINT32:
      return "kUint32";
    case FieldDescriptor::TYPE_UINT64:
      return "kUint64";
    case FieldDescriptor::TYPE_INT32:
      return "kInt32";
    case FieldDescriptor::TYPE_INT64:
      return "kInt64";
    case FieldDescriptor::TYPE_SINT32:
      return "kSint32";
    case FieldDescriptor::TYPE_SINT64:
      return "kSint64";
    case FieldDescriptor::TYPE_BOOL:
      return "kBool";
    case FieldDescriptor::TYPE_ENUM:
      return "kEnum";
    case FieldDescriptor::TYPE_FIXED64:
      return "kFixed64";
    case FieldDescriptor::TYPE_STRING:
      return "kString";
    case FieldDescriptor::TYPE_BYTES:
      return "kBytes";
    case FieldDescriptor::TYPE_MESSAGE:
      return "kMessage";
    default:
      return "";
  }
}

std::string enum_table(const EnumDescriptor* e) {
  return "kNames_" + (e->containing_type() ? e->containing_type()->name() + "_" : std::string()) + e->name();
}

bool print_field(const FieldDescriptor* field, Printer& out, std::string& why) {
  const Show show = show_of(field);
  std::string form = "kPlain", table;
  if (show.hex) form = "kHex";
  if (show.ipadd) form = "kIpAddress";
  if (show.dev) form = show.odev ? "kUserDevice" : "kDevice";
  if (!show.flags.empty()) form = "kFlags", table = show.flags;
  if (!show.dict.empty()) form = "kDictionary", table = show.dict;
  if (show.conv == "unix_name")
    form = "kUnixName";
  else if (!show.conv.empty())
    return why = field->full_name() + ": conv=" + show.conv + " is not known", false;
  const std::string type = type_name(field->type());
  if (type.empty()) return why = field->full_name() + ": this type is not known to plain/tables.cc", false;
  out.Print("    {$number$, \"$name$\", FieldType::$type$, Label::$label$, Form::$form$, \"$table$\", $message$, $names$},\n", "number",
            std::to_string(field->number()), "name", field->name(), "type", type, "label",
            field->is_repeated()   ? "kRepeated"
            : field->is_required() ? "kRequired"
                                   : "kOptional",
            "form", form, "table", table, "message", type == "kMessage" ? "&kInfo_" + field->message_type()->name() : "nullptr", "names",
            type == "kEnum" ? enum_table(field->enum_type()) : "{}");
  return true;
}

void print_enums(const std::vector<const Descriptor*>& messages, Printer& out) {
  std::set<std::string> done;
  for (const Descriptor* message : messages)
    for (int i = 0; i < message->field_count(); ++i) {
      const EnumDescriptor* e = message->field(i)->enum_type();
      if (!e || !done.insert(enum_table(e)).second) continue;
      out.Print("constexpr EnumName $table$[] = {\n", "table", enum_table(e));
      for (int k = 0; k < e->value_count(); ++k)
        out.Print("    {$number$, \"$name$\"},\n", "number", std::to_string(e->value(k)->number()), "name", e->value(k)->name());
      out.Print("};\n");
    }
}

}  // namespace

bool print_tables(const std::vector<const Descriptor*>& messages, Printer& out, std::string& why) {
  out.Print(
      "// Made from the .proto files by protoc-gen-plain.\n#include \"core/image/fields.h\"\n\nnamespace faultline::image {\n\nnamespace "
      "{\n\n");
  print_enums(messages, out);
  // Messages refer to each other in circles (cgroup directories), so that all are declared first.
  for (const Descriptor* message : messages) out.Print("extern const MessageInfo kInfo_$m$;\n", "m", message->name());
  for (const Descriptor* message : messages) {
    std::vector<const FieldDescriptor*> fields;
    for (int i = 0; i < message->field_count(); ++i) fields.push_back(message->field(i));
    std::sort(fields.begin(), fields.end(), [](auto* a, auto* b) { return a->number() < b->number(); });
    if (fields.empty()) {
      out.Print("constinit const MessageInfo kInfo_$m$ = {\"$m$\", {}};\n", "m", message->name());
      continue;
    }
    out.Print("constinit const FieldInfo kFields_$m$[] = {\n", "m", message->name());
    for (const FieldDescriptor* field : fields)
      if (!print_field(field, out, why)) return false;
    out.Print("};\nconstinit const MessageInfo kInfo_$m$ = {\"$m$\", kFields_$m$};\n", "m", message->name());
  }
  out.Print("constexpr const MessageInfo* kAll[] = {\n");
  for (const Descriptor* message : messages) out.Print("    &kInfo_$m$,\n", "m", message->name());
  out.Print(
      "};\n\n}  // namespace\n\nstd::span<const MessageInfo* const> all_messages() { return kAll; }\n\n}  // namespace faultline::image\n");
  return true;
}
