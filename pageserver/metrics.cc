#include "pageserver/metrics.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <charconv>
#include <vector>

namespace faultline::pageserver {

namespace {

// A request has no body, and nobody needs long headers. Who is slower than this is no Prometheus.
constexpr int kMaxHeaders = 8192;
constexpr int kMaxBody = 1024;
constexpr int kPatience = 3;  // seconds
// Connections at a time: they share their descriptors with a server, or a pager. Others wait in the kernel's queue.
constexpr size_t kMostVisitors = 32;
constexpr timeval kLookAgain = {.tv_sec = 0, .tv_usec = 100'000};

struct FreeBase {
  void operator()(event_base* base) const { event_base_free(base); }
};
struct FreeHttp {
  void operator()(evhttp* http) const { evhttp_free(http); }
};
struct FreeEvent {
  void operator()(event* e) const { event_free(e); }
};

void answer(evhttp_request* request, void* page) {
  const std::unique_ptr<evbuffer, decltype(&evbuffer_free)> body(evbuffer_new(), evbuffer_free);
  const std::string text = metrics_text(*static_cast<const LivePage*>(page));
  if (!body || evbuffer_add(body.get(), text.data(), text.size()) != 0) return evhttp_send_error(request, HTTP_SERVUNAVAIL, nullptr);
  evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  evhttp_send_reply(request, HTTP_OK, "OK", body.get());
}

// The connections, counted, as libevent 2.1 has no limit of its own. It does not tell when it has freed one either: so we hold each, and see that its
// callbacks are gone, which is what bufferevent_free() does first.
class Visitors {
 public:
  Visitors() = default;
  Visitors(const Visitors&) = delete;
  ~Visitors() {
    for (bufferevent* visitor : all_) (void)bufferevent_decref(visitor);
  }

  // `listener` is the one by which `http` gets its connections. Errors: ENOMEM.
  Result<void> watch(event_base* base, evhttp* http, evconnlistener* listener) {
    listener_ = listener;
    again_.reset(evtimer_new(base, [](evutil_socket_t, short, void* self) { static_cast<Visitors*>(self)->look_again(); }, this));
    if (!again_) return error(ENOMEM, "--metrics: libevent does not start");
    evhttp_set_bevcb(http, [](event_base* b, void* self) { return static_cast<Visitors*>(self)->arrived(b); }, this);
    return {};
  }

 private:
  bufferevent* arrived(event_base* base) {
    bufferevent* const visitor = bufferevent_socket_new(base, -1, 0);  // as libevent makes it
    if (visitor == nullptr) return nullptr;
    bufferevent_incref(visitor);
    forget_the_gone();
    all_.push_back(visitor);
    if (all_.size() >= kMostVisitors) {
      (void)evconnlistener_disable(listener_);
      (void)evtimer_add(again_.get(), &kLookAgain);
    }
    return visitor;
  }

  void look_again() {
    forget_the_gone();
    if (all_.size() < kMostVisitors) (void)evconnlistener_enable(listener_);
    else (void)evtimer_add(again_.get(), &kLookAgain);
  }

  void forget_the_gone() {
    std::erase_if(all_, [](bufferevent* visitor) {
      bufferevent_event_cb told = nullptr;
      bufferevent_getcb(visitor, nullptr, nullptr, &told, nullptr);
      if (told != nullptr) return false;
      (void)bufferevent_decref(visitor);
      return true;
    });
  }

  evconnlistener* listener_ = nullptr;
  std::unique_ptr<event, FreeEvent> again_;
  std::vector<bufferevent*> all_;
};

void stop(evutil_socket_t, short, void* base) { event_base_loopbreak(static_cast<event_base*>(base)); }

}  // namespace

struct MetricsServer::State {
  // In the order in which they are needed: the base must go last.
  UniqueFd end;  // readable when the thread is to end
  std::unique_ptr<event_base, FreeBase> base;
  std::unique_ptr<event, FreeEvent> on_end;
  Visitors visitors;
  std::unique_ptr<evhttp, FreeHttp> http;
  pthread_t thread = {};
  bool running = false;
};

MetricsServer::MetricsServer() : state_(std::make_unique<State>()) {}

MetricsServer::~MetricsServer() {
  if (!state_->running) return;
  const uint64_t one = 1;
  (void)!::write(state_->end.get(), &one, sizeof one);
  ::pthread_join(state_->thread, nullptr);
}

Result<MetricsAddress> parse_metrics_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  MetricsAddress address;
  if (colon != text.npos) address.host = text.substr(0, colon);
  if (address.host.starts_with('[') && address.host.ends_with(']')) address.host = address.host.substr(1, address.host.size() - 2);
  else if (address.host.find(':') != address.host.npos) return error(EINVAL, "\"{}\" is ambiguous; write [ADDRESS]:PORT", text);
  const std::string port = colon == text.npos ? text : text.substr(colon + 1);
  const auto [end, code] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (code != std::errc() || end != port.data() + port.size()) return error(EINVAL, "\"{}\" is not an address; write PORT, or ADDRESS:PORT", text);
  return address;
}

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(UniqueFd listener, const LivePage& page) {
  std::unique_ptr<MetricsServer> made(new MetricsServer);
  State& s = *made->state_;
  s.end = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!s.end) return sys_error("cannot make an eventfd");
  s.base.reset(event_base_new());
  if (!s.base) return error(ENOMEM, "--metrics: libevent does not start");
  s.on_end.reset(event_new(s.base.get(), s.end.get(), EV_READ, stop, s.base.get()));
  s.http.reset(evhttp_new(s.base.get()));
  if (!s.on_end || event_add(s.on_end.get(), nullptr) != 0 || !s.http) return error(ENOMEM, "--metrics: libevent does not start");
  evhttp_set_allowed_methods(s.http.get(), EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
  evhttp_set_max_headers_size(s.http.get(), kMaxHeaders);
  evhttp_set_max_body_size(s.http.get(), kMaxBody);
  evhttp_set_timeout(s.http.get(), kPatience);
  evhttp_bound_socket* bound = nullptr;
  if (evhttp_set_cb(s.http.get(), "/metrics", answer, const_cast<LivePage*>(&page)) == 0) bound = evhttp_accept_socket_with_handle(s.http.get(), listener.get());
  if (bound == nullptr) return error(ENOMEM, "--metrics: libevent does not listen");
  listener.release();  // libevent's now
  TRY(s.visitors.watch(s.base.get(), s.http.get(), evhttp_bound_socket_get_listener(bound)));

  // The process's signals are for its other threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int failed = ::pthread_create(
      &s.thread, nullptr,
      [](void* base) -> void* {
        event_base_dispatch(static_cast<event_base*>(base));
        return nullptr;
      },
      s.base.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed) return error(failed, "--metrics: cannot start a thread: {}", errno_text(failed));
  s.running = true;
  return made;
}

}  // namespace faultline::pageserver
