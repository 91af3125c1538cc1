// Writes buffers to a file on a thread of its own, so that whoever fills them goes on meanwhile.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace ptq {

class WriteBehind {
 public:
  using Write = std::function<void(const std::string&)>;

  /// `write` is called on the thread, once for each buffer and in their order.
  explicit WriteBehind(Write write);
  /// Writes what was handed over; a failure that nobody has heard of by then is lost.
  ~WriteBehind();
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  /// Takes the content of `buffer`, which is empty afterwards; waits while too much is waiting.
  /// Rethrows what `write` threw for an earlier buffer.
  void Hand(std::string& buffer);
  /// Returns when everything is written; rethrows what `write` threw.
  void Drain();

 private:
  void Work();
  void Rethrow();
  Write write_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> waiting_;
  std::deque<std::string> spare_;
  bool writing_ = false;
  bool stop_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace ptq
