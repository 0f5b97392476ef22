#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "browse/fuse/requests.h"
#include "browse/tree/tree.h"
#include "core/base/unique_fd.h"

namespace faultline::browse {

// A tree, mounted through FUSE. Which thread answers what stands in browse/README.md.
class Server {
 public:
  struct Options {
    std::string mountpoint;  // absolute, without links
    std::string source;      // what mount(8) shows as the device
    bool allow_other = false;
  };

  // Mounts, and answers from then on in threads of its own. `tree` must outlive the server. Signals should be blocked before: threads inherit that.
  // Errors: those of mount(2), or what fusermount3 says.
  static Result<std::unique_ptr<Server>> start(Tree& tree, const Options& options);
  // Unmounts, and waits for the threads.
  ~Server();

  // A descriptor that becomes readable once the file system is unmounted, by whomever.
  int ended() const { return ended_.get(); }
  // Unmounts; at once, also if somebody has a file open there, who gets errors from then on. False: it was in use.
  bool unmount();
  // Waits until all threads have ended; false if one of them still waits for something.
  bool join(std::chrono::milliseconds limit);

  // For the answering thread, before it does what may take long: another one takes the next requests meanwhile.
  void hand_over();

 private:
  struct Worker;

  Server(Tree& tree, const Options& options) : tree_(tree), options_(options), connection_{tree, *this} {}
  Result<void> mount();
  // With the lock.
  void add_worker();
  void work();
  // Reads requests, waiting for them, and answers, until the leadership is handed over or all is over.
  void lead(Worker& worker);
  // Reads and answers as long as any request waits.
  void help(Worker& worker);
  enum class Got { kRequest, kNothing, kEnd };
  Got answer_one(Worker& worker, bool wait);
  void call_helper();
  // Sets the read-ahead of the mount, which the kernel has set when it was answered first.
  void enlarge_reads();
  void end();

  Tree& tree_;
  const Options options_;
  Connection connection_;
  std::unique_ptr<fuse_session, void (*)(fuse_session*)> session_{nullptr, fuse_session_destroy};
  UniqueFd ended_;
  std::atomic<bool> begun_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<std::jthread> threads_;
  bool unmounted_ = false;
  bool ending_ = false;
  bool led_ = false;          // somebody waits for requests
  bool help_wanted_ = false;  // more of them come than the leader answers
  bool helped_ = false;
  size_t parked_ = 0;         // threads that have nothing to do
  size_t running_ = 0;        // threads that have not ended
};

}  // namespace faultline::browse
