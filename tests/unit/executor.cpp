// SPDX-License-Identifier: MIT
#include "loglinear/parallel/executor.hpp"

#include <atomic>
#include <chrono>
#include <ctime>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"
#include "refused_allocations.hpp"
#include "support.hpp"

#ifdef __unix__
#  include <sys/wait.h>
#  include <unistd.h>
#endif
#if defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define WITHOUT_FORKS  // the sanitizer knows no threads in a child process
#  endif
#endif
#ifdef __SANITIZE_THREAD__
#  define WITHOUT_FORKS
#endif

namespace {

using namespace loglinear;
using Eigen::Index;

/// Passes of a loop by how often each has run.
std::vector<int> counts(Index n, int most) {
  std::vector<std::atomic<int>> ran(static_cast<std::size_t>(n));
  detail::parallel_for<double>(n, most, [&](Index i) { ++ran[static_cast<std::size_t>(i)]; });
  return {ran.begin(), ran.end()};
}

/// The threads that run a loop whose passes wait for each other.
std::set<std::thread::id> threads_of_loop(int n) {
  std::vector<std::thread::id> ids(static_cast<std::size_t>(n));
  std::atomic<int> here{0};
  detail::parallel_for<double>(n, n, [&](Index i) {
    ids[static_cast<std::size_t>(i)] = std::this_thread::get_id();
    here.fetch_add(1);
    while (here.load() < n) std::this_thread::yield();
  });
  return {ids.begin(), ids.end()};
}

}  // namespace

TEST_CASE("every pass of a loop runs once, whatever the number of threads") {
  for (const int count : {1, 2, 3, 8, 2}) {
    set_thread_count(count);
    CHECK(thread_count() == count);
    for (const Index n : {0, 1, 2, 3, 7, 100, 4096}) {
      for (int repetition = 0; repetition < 20; ++repetition) {
        CHECK(counts(n, 1024) == std::vector<int>(static_cast<std::size_t>(n), 1));
      }
    }
  }
}

TEST_CASE("a loop has as many threads as are set and as it asks for") {
  set_thread_count(5);
  CHECK(threads_of_loop(5).size() == 5);
  CHECK(threads_of_loop(3).size() == 3);
  std::set<std::thread::id> alone;
  detail::parallel_for<double>(50, 1, [&](Index) { alone.insert(std::this_thread::get_id()); });
  CHECK(alone == std::set<std::thread::id>{std::this_thread::get_id()});
  CHECK(
      test::mentions(test::error_of([] { set_thread_count(0); }), {"number of threads is 0", "1"}));
  CHECK_THROWS_AS(set_thread_count(-3), std::invalid_argument);
  CHECK_THROWS_AS(set_thread_count(1025), std::invalid_argument);
  CHECK(thread_count() == 5);
}

TEST_CASE("what the lowest failing pass throws comes back, after all before it have run") {
  for (const int count : {1, 2, 4}) {
    set_thread_count(count);
    for (int repetition = 0; repetition < 50; ++repetition) {
      std::vector<std::atomic<int>> ran(40);
      const auto run = [&] {
        detail::parallel_for<double>(40, 4, [&](Index i) {
          ++ran[static_cast<std::size_t>(i)];
          if (i % 10 == 9) throw std::runtime_error(std::to_string(i));
        });
      };
      CHECK_THROWS_WITH(run(), "9");
      for (std::size_t i = 0; i < 10; ++i) CHECK(ran[i] == 1);
      CHECK(counts(40, 4) == std::vector<int>(40, 1));  // and the next loop is whole
    }
  }
}

TEST_CASE("a loop within a loop runs on its own thread") {
  set_thread_count(4);
  std::atomic<int> elsewhere{0}, ran{0};
  detail::parallel_for<double>(8, 4, [&](Index) {
    const auto here = std::this_thread::get_id();
    detail::parallel_for<double>(8, 4, [&](Index) {
      ++ran;
      if (std::this_thread::get_id() != here) ++elsewhere;
    });
  });
  CHECK(ran == 64);
  CHECK(elsewhere == 0);
}

TEST_CASE("several threads of the program may have loops at once") {
  set_thread_count(3);
  std::atomic<int> ran{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int repetition = 0; repetition < 200; ++repetition) {
        detail::parallel_for<double>(10, 3, [&](Index) { ++ran; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(ran == 8000);
}

TEST_CASE("passes take denormal numbers for zero, on every thread, and the threads do not") {
  set_thread_count(3);
  if (!detail::flushes_to_zero<double>) return;
  std::atomic<int> kept{0};
  detail::parallel_for<double>(30, 3, [&](Index) {
    volatile double tiny = 1e-310;
    tiny = tiny * 1.5;
    if (tiny != 0) ++kept;
  });
  CHECK(kept == 0);
  const auto outside = [&](Index) {
    volatile double tiny = 1e-310;
    tiny = tiny * 1.5;
    if (tiny != 0) ++kept;
  };
  CHECK(detail::run_on_threads(30, 3, LoopBody(outside)));
  CHECK(kept == 30);
}

TEST_CASE("an executor of the caller's takes the place of the threads") {
  set_thread_count(3);
  int calls = 0;
  set_executor([&](Index n, const LoopBody& body) {
    ++calls;
    for (Index i = n; i-- > 0;) body(i);  // any order
  });
  CHECK(counts(9, 4) == std::vector<int>(9, 1));
  CHECK(calls == 1);
  detail::parallel_for<double>(4, 4, [&](Index) { counts(5, 4); });
  CHECK(calls == 2);  // not for loops within a loop
  const auto failing = [] {
    detail::parallel_for<double>(4, 4, [](Index i) {
      if (i > 0) throw std::runtime_error(std::to_string(i));
    });
  };
  CHECK_THROWS_WITH(failing(), "1");  // though 3 has failed first
  set_executor({});
  CHECK(threads_of_loop(3).size() == 3);
}

TEST_CASE("every pass runs once, whatever an executor does") {
  set_thread_count(3);
  const Executor wrong[] = {
      [](Index n, const LoopBody& body) {  // one is left out
        for (Index i = 1; i < n; ++i) body(i);
      },
      [](Index n, const LoopBody& body) {  // one runs twice in the place of another
        for (Index i = 0; i + 1 < n; ++i) body(i);
        body(0);
      },
      [](Index n, const LoopBody& body) {  // all run twice, at the same time
        std::thread other([&] {
          for (Index i = 0; i < n; ++i) body(i);
        });
        for (Index i = n; i-- > 0;) body(i);
        other.join();
      },
      [](Index n, const LoopBody& body) {  // and some that there are not
        for (Index i = -3; i < n + 3; ++i) body(i);
      },
      [](Index, const LoopBody& body) {  // an error after some
        body(2);
        throw std::runtime_error("no more");
      },
      [](Index, const LoopBody&) {},
  };
  for (const Executor& executor : wrong) {
    set_executor(executor);
    CHECK(counts(9, 4) == std::vector<int>(9, 1));
    const auto failing = [] {
      detail::parallel_for<double>(9, 4, [](Index i) {
        if (i > 3) throw std::runtime_error(std::to_string(i));
      });
    };
    CHECK_THROWS_WITH(failing(), "4");
  }
  set_executor({});
}

TEST_CASE("a loop is whole where there is no memory for its executor") {
  set_thread_count(3);
  set_executor([](Index n, const LoopBody& body) {
    for (Index i = 0; i < n; ++i) body(i);
  });
  std::atomic<int> ran{0};
  const auto run = [&] { detail::parallel_for<double>(9, 4, [&](Index) { ++ran; }); };
  test::allocations_left = 0;
  const std::exception_ptr thrown = detail::caught(run);
  const bool is_refused = test::allocations_left < 0;
  test::allocations_left = -1;
  CHECK(thrown == nullptr);
  CHECK(is_refused == test::refuses_allocations);
  CHECK(ran == 9);
  set_executor({});
}
TEST_CASE("a loop waits for passes that its executor has not waited for") {
  set_thread_count(3);
  std::thread other;
  std::atomic<bool> has_begun{false};
  std::atomic<int> ended{0};
  set_executor([&](Index, const LoopBody& body) {
    other = std::thread([&has_begun, body] { body(0); });
    while (!has_begun) std::this_thread::yield();
    throw std::runtime_error("too early");
  });
  detail::parallel_for<double>(4, 4, [&](Index i) {
    if (i == 0) {
      has_begun = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
    ++ended;
  });
  CHECK(ended == 4);
  other.join();
  set_executor({});
}

TEST_CASE("idle threads take no time") {
  set_thread_count(4);
  CHECK(threads_of_loop(4).size() == 4);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::clock_t before = std::clock();  // of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.1);  // of 0.9 if they spun
}

#if defined(__unix__) && !defined(WITHOUT_FORKS)
TEST_CASE("a child process has threads of its own") {
  set_thread_count(3);
  CHECK(threads_of_loop(3).size() == 3);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(threads_of_loop(3).size() == 3 ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(threads_of_loop(3).size() == 3);
}

TEST_CASE("threads that there is no memory for are started by a later loop") {
  set_thread_count(4);
  for (int refused = 1; refused <= 8; ++refused) {
    CAPTURE(refused);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      alarm(20);
      std::atomic<int> ran{0};
      bool has_thrown = false;
      test::allocations_left = refused - 1;
      try {
        detail::parallel_for<double>(4, 4, [&](Index) { ++ran; });
      } catch (...) {
        has_thrown = true;
      }
      test::allocations_left = -1;
      _exit(!has_thrown && ran == 4 && threads_of_loop(4).size() == 4 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
}
#endif
