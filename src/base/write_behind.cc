// Queues full buffers for the thread that writes them, and hands written ones out again.
#include "write_behind.h"

#include <utility>

namespace ptq {
namespace {

/// Buffers that may wait: enough for the thread never to idle, and memory that a slow disk fills.
constexpr size_t kMostWaiting = 2;

}  // namespace

WriteBehind::WriteBehind(Write write) : write_(std::move(write)), thread_([this] { Work(); }) {}

WriteBehind::~WriteBehind() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void WriteBehind::Hand(std::string& buffer) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_.size() < kMostWaiting || error_ != nullptr; });
  Rethrow();
  waiting_.push_back(std::move(buffer));
  buffer.clear();
  if (!spare_.empty()) {  // memory that has been touched already
    buffer = std::move(spare_.front());
    spare_.pop_front();
    buffer.clear();
  }
  changed_.notify_all();
}

void WriteBehind::Drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return (waiting_.empty() && !writing_) || error_ != nullptr; });
  Rethrow();
}

void WriteBehind::Rethrow() {
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void WriteBehind::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
    if (waiting_.empty() || error_ != nullptr) return;
    std::string buffer = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      write_(buffer);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    writing_ = false;
    if (error != nullptr) error_ = error;
    spare_.push_back(std::move(buffer));
    changed_.notify_all();
  }
}

}  // namespace ptq
