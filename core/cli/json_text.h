#pragma once

#include <string>
#include <string_view>

namespace faultline::cli {

// `text` as a JSON string, with the quotes. Bytes that are not ASCII are passed on as they are.
std::string json_string(std::string_view text);

}  // namespace faultline::cli
