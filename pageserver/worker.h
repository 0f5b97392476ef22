#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "pageserver/connection.h"
#include "pageserver/helper.h"
#include "pageserver/strangers.h"

namespace faultline::pageserver {

// What all workers of a server share.
struct Shared {
  Sources& sources;
  Counters& counters;
  Compress compress;
  size_t max_clients;
  // Makes the stream of an accepted connection.
  std::function<Result<std::unique_ptr<Stream>>(UniqueFd)> make_stream;
  std::atomic<size_t> clients = 0;
  std::atomic<uint64_t> last_refusal_ns = 0;  // that the log has
  std::function<void()> none_left;            // called by the thread that has ended the last connection
  std::atomic<size_t> working = 0;            // workers that have not failed
  std::function<void(size_t left)> failed;    // called by a worker that has; `left` go on
  bool newer_uring = true;
  Patience patience = {};
  Strangers strangers = {};
  Helper* helper = nullptr;
};

// One thread with one ring, which serves the connections that it has accepted.
//
// The order of work: completions are looked at; all urgent requests are answered; then one chunk of what is not urgent is sent, of the
// connection whose turn it is; then completions are looked at again. So a page that somebody waits for comes after one chunk at most.
class Worker final : public Desk {
 public:
  // `listener` may be -1, and must stay open as long as the worker.
  static Result<std::unique_ptr<Worker>> make(Shared& shared, int listener);
  ~Worker();

  Result<void> start();
  // It has given up, because its ring does not work; its clients are put out, and may connect again.
  bool has_failed() const { return failed_; }
  // The rest may be called by any thread. stop() makes the thread end and waits for it.
  void stop();
  void adopt(UniqueFd connection);
  void drain() { tell(kDrain); }
  void revoke() { tell(kRevoke); }
  // Ends this one of Shared::strangers, if it is still there.
  void put_out(uint64_t stranger);

  void has_work(Connection& connection, bool urgent) override;
  void has_ended(Connection& connection) override;
  void has_opened(Connection& connection) override { shared_.strangers.remove(connection.stranger); }
  void send_for(Session::Errand errand, Connection& connection) override;
  bool lately_urgent() const override;

 private:
  enum Order : unsigned { kStop = 1, kDrain = 2, kRevoke = 4, kAdopt = 8, kErrand = 16, kPutOut = 32 };

  Worker(Shared& shared, int listener, std::unique_ptr<Ring> ring, UniqueFd wake);
  void tell(Order order);
  void run();
  Result<void> serve();
  void produce_urgent();
  void produce_bulk();
  void client_gone();
  void bury();
  void on_accepted(int result, uint32_t flags);
  void on_told(int result, uint32_t);
  void take_errands();
  void take_put_out();
  void on_tick(int result, uint32_t);
  void accept_more();
  // `handed_over`: its protection is the business of whoever has connected it (--ps-socket).
  void add(UniqueFd socket, bool handed_over);
  void give_up(const Error& why);
  bool make_room(const std::string& peer);
  void refuse(const std::string& peer);
  bool may_tell_of_refusal();

  Shared& shared_;
  const int listener_;
  const std::unique_ptr<Ring> own_ring_;
  const UniqueFd wake_;  // eventfd
  uint64_t wake_value_ = 0;
  std::atomic<unsigned> orders_ = 0;
  std::mutex mutex_;
  std::vector<UniqueFd> adopted_;  // guarded by mutex_
  std::vector<uint64_t> put_out_;  // guarded by mutex_
  std::vector<std::pair<Connection*, Session::Text>> errands_;  // that are done; guarded by mutex_
  Op<Worker, &Worker::on_accepted> accepted_{*this};
  Op<Worker, &Worker::on_told> told_{*this};
  Op<Worker, &Worker::on_tick> tick_{*this};
  bool accepting_ = false, draining_ = false, stopping_ = false;
  bool accept_trouble_ = false;  // told of already
  std::atomic<bool> failed_ = false;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
  std::deque<Connection*> urgent_, bulk_;
  std::vector<Connection*> ended_;
  std::chrono::steady_clock::time_point last_urgent_{}, awake_until_{};
  std::thread thread_;
};

}  // namespace faultline::pageserver
