#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

namespace faultline {

// What went wrong: an errno value for code that decides, a sentence for the person who reads it.
// The sentence says what failed, on what, why, and where one exists the way out.
struct Error {
  int code = 0;
  std::string what;
};

// A value or an Error. A class of its own, so that it cannot be dropped.
template <typename T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

using Failure = std::unexpected<Error>;

// A failure whose cause stands in the sentence itself.
template <typename... Args>
Failure error(int code, fmt::format_string<Args...> format, Args&&... args) {
  return Failure(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The text of an errno value ("No such file or directory"). Thread-safe.
std::string errno_text(int code);

// A failed system call: the sentence gets ": " and the text of errno appended.
template <typename... Args>
Failure sys_error(fmt::format_string<Args...> format, Args&&... args) {
  const int code = errno;
  return Failure(Error{code, fmt::format(format, std::forward<Args>(args)...) + ": " + errno_text(code)});
}

// The same failure, said with its surroundings: "context: what".
template <typename... Args>
Failure wrap(const Error& inner, fmt::format_string<Args...> format, Args&&... args) {
  return Failure(Error{inner.code, fmt::format(format, std::forward<Args>(args)...) + ": " + inner.what});
}

// Our own invariants, checked in all builds. Never used for what comes from an image, a process or a peer.
#define FL_CHECK(condition)                                                  \
  do {                                                                       \
    if (!(condition)) ::faultline::check_failed(#condition, __FILE__, __LINE__); \
  } while (0)

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

// The value of a Result, or return its error from the calling function.
#define TRY(...)                                                     \
  ({                                                                 \
    auto try_result_ = (__VA_ARGS__);                                \
    if (!try_result_) [[unlikely]]                                   \
      return ::faultline::Failure(std::move(try_result_).error());   \
    ::faultline::unwrap(std::move(try_result_));                     \
  })

template <typename T>
T unwrap(std::expected<T, Error>&& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace faultline
