#include "browse/heat.h"
#include "core/image/json_writer.h"
#include "core/image/present.h"

namespace faultline::browse {

namespace {

// HTML, with the delimiters of a string literal around it.
constexpr std::string_view kPage =
#include "browse/heat_page.inc"
    ;

// Without line breaks and indents, of which tens of thousands of numbers would have too many; and with nothing that ends a script in HTML.
std::string compact(std::string_view json) {
  std::string out;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '<') out += "\\u003c";
    else if (json[i] != '\n') out += json[i];
    else
      while (i + 1 < json.size() && json[i + 1] == ' ') ++i;
  }
  return out;
}

}  // namespace

std::string heat_html(std::span<const Heat> heats, const std::string& name) {
  constexpr std::string_view kMark = "@DATA@";
  image::JsonWriter title;
  title.text(image::is_utf8(name) ? name : image::show_bytes(name));
  const size_t at = kPage.find(kMark);
  FL_CHECK(at != kPage.npos);
  std::string page(kPage.substr(0, at));
  page += fmt::format("{{\"checkpoint\":{},\"processes\":", compact(title.take()));
  page += compact(heat_json(heats)) + "}";
  return page.append(kPage.substr(at + kMark.size()));
}

}  // namespace faultline::browse
