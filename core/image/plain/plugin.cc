// protoc-gen-plain: from our .proto files, the plain structs that everyone outside core/image sees, and their way to the wire and back.
//
//   message reg_file_entry   →  struct RegFileEntry          required → a member with a zero (or its default) value
//   enum fd_types            →  enum class FdTypes           optional → std::optional      repeated → std::vector
//
// So nothing is mirrored by hand: a field that is added to a .proto file appears in the struct and in both directions at once.

#include <google/protobuf/compiler/code_generator.h>
#include <google/protobuf/compiler/cpp/names.h>
#include <google/protobuf/compiler/plugin.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/printer.h>
#include <google/protobuf/io/zero_copy_stream.h>

#include <cctype>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tables.h"

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::io::Printer;

std::string camel(const std::string& snake) {
  std::string out;
  bool up = true;
  for (char c : snake) {
    if (c == '_') up = true;
    else out += up ? static_cast<char>(std::toupper(c)) : c, up = false;
  }
  return out;
}

std::string type_of(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: return "uint32_t";
    case FieldDescriptor::CPPTYPE_UINT64: return "uint64_t";
    case FieldDescriptor::CPPTYPE_INT32: return "int32_t";
    case FieldDescriptor::CPPTYPE_INT64: return "int64_t";
    case FieldDescriptor::CPPTYPE_BOOL: return "bool";
    case FieldDescriptor::CPPTYPE_STRING: return "std::string";
    case FieldDescriptor::CPPTYPE_ENUM: return camel(field->enum_type()->name());
    default: return camel(field->message_type()->name());
  }
}

bool is_message(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }
bool is_enum(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM; }

// Options (extension 1018) and the descriptor messages themselves are not ours to mirror.
bool wanted(const FileDescriptor* file) { return file->package() == "faultline.wire" && file->name() != "show.proto"; }

class Writer {
 public:
  Writer(Printer& header, Printer& source) : h_(header), s_(source) {}

  void files(const std::vector<const FileDescriptor*>& files) {
    h_.Print("// Made from the .proto files by protoc-gen-plain.\n#pragma once\n\n#include <cstdint>\n#include <optional>\n#include <string>\n"
             "#include <string_view>\n#include <vector>\n\nnamespace faultline::image {\n\n");
    s_.Print("#include \"core/image/messages.h\"\n\n");
    for (const FileDescriptor* file : files)
      if (wanted(file)) s_.Print("#include \"core/image/$name$.pb.h\"\n", "name", file->name().substr(0, file->name().size() - 6));
    s_.Print("\nnamespace faultline::image {\n\nnamespace {\n");
    for (const FileDescriptor* file : files) {
      if (!wanted(file)) continue;
      for (int i = 0; i < file->enum_type_count(); ++i) enumeration(file->enum_type(i));
      for (int i = 0; i < file->message_type_count(); ++i) {
        all_.push_back(file->message_type(i));
        for (int k = 0; k < file->message_type(i)->enum_type_count(); ++k) enumeration(file->message_type(i)->enum_type(k));
      }
    }
    for (const Descriptor* message : all_) {
      h_.Print("struct $n$;\n", "n", camel(message->name()));
      s_.Print("void to_wire(const $n$& from, wire::$w$& to);\nvoid from_wire(const wire::$w$& from, $n$& to);\n", "n", camel(message->name()),
               "w", message->name());
    }
    for (const Descriptor* message : all_) message_struct(message);
    for (const Descriptor* message : all_) converters(message);
    s_.Print("\n}  // namespace\n\n");
    for (const Descriptor* message : all_) {
      const std::string n = camel(message->name());
      h_.Print("void append(const $n$& message, std::string& to);\nbool parse(std::string_view bytes, $n$& to, std::string& why);\n", "n", n);
      s_.Print(
          "void append(const $n$& message, std::string& to) {\n  wire::$w$ m;\n  to_wire(message, m);\n  m.AppendPartialToString(&to);\n}\n\n"
          "bool parse(std::string_view bytes, $n$& to, std::string& why) {\n  wire::$w$ m;\n"
          "  if (!m.ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size()))) {\n    why = \"not a $w$\";\n    return false;\n  }\n"
          "  if (!m.IsInitialized()) {\n    why = \"a required field of $w$ is missing\";\n    return false;\n  }\n"
          "  from_wire(m, to);\n  return true;\n}\n\n",
          "n", n, "w", message->name());
    }
    h_.Print("\n}  // namespace faultline::image\n");
    s_.Print("}  // namespace faultline::image\n");
  }

  const std::vector<const Descriptor*>& messages() const { return all_; }

 private:
  void enumeration(const EnumDescriptor* e) {
    h_.Print("enum class $n$ : int {", "n", camel(e->name()));
    for (int i = 0; i < e->value_count(); ++i)
      h_.Print(" $k$ = $v$,", "k", e->value(i)->name(), "v", std::to_string(e->value(i)->number()));
    h_.Print(" };\n");
  }

  std::string initial(const FieldDescriptor* field) {
    if (is_message(field) || field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return "";
    if (is_enum(field)) return " = " + type_of(field) + "{" + std::to_string(field->default_value_enum()->number()) + "}";
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) return field->default_value_bool() ? " = true" : " = false";
    return " = 0";
  }

  void message_struct(const Descriptor* message) {
    if (!printed_.insert(message).second) return;
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor* field = message->field(i);
      if (is_message(field) && !field->is_repeated()) message_struct(field->message_type());
    }
    h_.Print("\nstruct $n$ {\n", "n", camel(message->name()));
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor* field = message->field(i);
      const std::string type = type_of(field);
      if (field->is_repeated()) h_.Print("  std::vector<$t$> $f$;\n", "t", type, "f", field->name());
      else if (field->is_optional()) h_.Print("  std::optional<$t$> $f$;\n", "t", type, "f", field->name());
      else h_.Print("  $t$ $f$$i$;\n", "t", type, "f", field->name(), "i", initial(field));
    }
    h_.Print("};\n");
  }

  void converters(const Descriptor* message) {
    s_.Print("\nvoid to_wire([[maybe_unused]] const $n$& from, [[maybe_unused]] wire::$w$& to) {\n", "n", camel(message->name()), "w", message->name());
    for (int i = 0; i < message->field_count(); ++i) to_wire_field(message->field(i));
    s_.Print("}\n\nvoid from_wire([[maybe_unused]] const wire::$w$& from, [[maybe_unused]] $n$& to) {\n", "n", camel(message->name()), "w",
             message->name());
    for (int i = 0; i < message->field_count(); ++i) from_wire_field(message->field(i));
    s_.Print("}\n");
  }

  // The name of the enumeration in protobuf's classes, where nested ones are prefixed.
  static std::string wire_enum(const FieldDescriptor* field) {
    const EnumDescriptor* e = field->enum_type();
    return "wire::" + (e->containing_type() ? e->containing_type()->name() + "_" : std::string()) + e->name();
  }

  void to_wire_field(const FieldDescriptor* field) {
    const std::string f = field->name();
    const std::string a = google::protobuf::compiler::cpp::FieldName(field);
    std::string value = field->is_repeated() ? "v" : field->is_optional() ? "*from." + f : "from." + f;
    if (is_enum(field)) value = "static_cast<" + wire_enum(field) + ">(" + value + ")";
    if (field->is_repeated()) {
      if (is_message(field)) s_.Print("  for (const auto& v : from.$f$) to_wire(v, *to.add_$a$());\n", "f", f, "a", a);
      else s_.Print("  for (const auto& v : from.$f$) to.add_$a$($v$);\n", "f", f, "a", a, "v", value);
      return;
    }
    s_.Print("  ");
    if (field->is_optional()) s_.Print("if (from.$f$) ", "f", f);
    if (is_message(field)) s_.Print("to_wire($v$, *to.mutable_$a$());\n", "v", value, "a", a);
    else s_.Print("to.set_$a$($v$);\n", "a", a, "v", value);
  }

  void from_wire_field(const FieldDescriptor* field) {
    const std::string f = field->name();
    const std::string a = google::protobuf::compiler::cpp::FieldName(field);
    const std::string cast = is_enum(field) ? "static_cast<" + type_of(field) + ">" : "";
    if (field->is_repeated()) {
      s_.Print("  to.$f$.reserve(static_cast<size_t>(from.$a$_size()));\n", "f", f, "a", a);
      if (is_message(field)) s_.Print("  for (const auto& v : from.$a$()) from_wire(v, to.$f$.emplace_back());\n", "f", f, "a", a);
      else s_.Print("  for (const auto& v : from.$a$()) to.$f$.push_back($c$(v));\n", "f", f, "a", a, "c", cast);
      return;
    }
    s_.Print("  ");
    if (field->is_optional()) s_.Print("if (from.has_$a$()) ", "a", a);
    if (is_message(field)) s_.Print("from_wire(from.$a$(), to.$f$$e$);\n", "a", a, "f", f, "e", field->is_optional() ? ".emplace()" : "");
    else s_.Print("to.$f$ = $c$(from.$a$());\n", "f", f, "c", cast, "a", a);
  }

  Printer& h_;
  Printer& s_;
  std::vector<const Descriptor*> all_;
  std::set<const Descriptor*> printed_;
};

class Generator : public google::protobuf::compiler::CodeGenerator {
  bool GenerateAll(const std::vector<const FileDescriptor*>& files, const std::string&, google::protobuf::compiler::GeneratorContext* context,
                   std::string* why) const override {
    std::unique_ptr<google::protobuf::io::ZeroCopyOutputStream> header(context->Open("messages.h")), source(context->Open("messages.cc")),
        tables(context->Open("tables.cc"));
    Printer h(header.get(), '$'), s(source.get(), '$'), t(tables.get(), '$');
    Writer writer(h, s);
    writer.files(files);
    return print_tables(writer.messages(), t, *why);
  }
  bool Generate(const FileDescriptor*, const std::string&, google::protobuf::compiler::GeneratorContext*, std::string*) const override { return false; }
};

}  // namespace

int main(int argc, char** argv) {
  Generator generator;
  return google::protobuf::compiler::PluginMain(argc, argv, &generator);
}
