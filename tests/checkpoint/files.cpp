// SPDX-License-Identifier: MIT
// A file is replaced in one step: whatever fails, and whenever the writer dies, a whole one is
// there.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "bytes.hpp"
#include "catch.hpp"

namespace test = loglinear::test;

namespace {

using loglinear::LogLinearState;
namespace fs = std::filesystem;

LogLinearState<double> state_of(double value, int d_v = 64) {
  LogLinearState<double> state(3, 4, d_v);
  state.push_leaf(Eigen::VectorXd::Constant(4, value), Eigen::VectorXd::Ones(d_v));
  return state;
}

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The message of the std::system_error that `call` throws.
template <class Call>
std::string system_error_of(Call&& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return error.what();
  }
  return {};
}

/// Runs `work` in a process of its own; its result is the exit status.
template <class Work>
pid_t child(Work work) {
  const pid_t process = fork();
  if (process != 0) return process;
  int status = 99;
  try {
    status = work();
  } catch (...) {
  }
  _exit(status);
}
int status_of(pid_t process) {
  int status = 0;
  waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("A file is written and replaced; nothing is left beside it") {
  const test::Folder folder;
  const fs::path path = folder / "state.safetensors";
  LogLinearState<double> back(3, 4, 64);
  for (const double value : {1.0, 2.0}) {
    save(path, state_of(value));
    load(path, back);
    CHECK(back == state_of(value));
  }
  CHECK(!fs::exists(folder / "state.safetensors.tmp"));
  CHECK(content(path) == test::saved(state_of(2)));
}

TEST_CASE("What a crash left is taken over") {
  const test::Folder folder;
  const fs::path path = folder / "s";
  std::ofstream(folder / "s.tmp") << std::string(100000, 'x');
  save(path, state_of(1));
  CHECK(content(path) == test::saved(state_of(1)));
  CHECK(!fs::exists(folder / "s.tmp"));
}

TEST_CASE("A device that is full leaves the old file") {
  const test::Folder folder;
  const fs::path path = folder / "s";
  save(path, state_of(1));
  const pid_t process = child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
    const std::string error = system_error_of([&] { save(path, state_of(2)); });
    return test::mentions(error, {path.string() + ".tmp: cannot be written", "File too large"}) ? 0
                                                                                                : 1;
  });
  CHECK(status_of(process) == 0);
  CHECK(content(path) == test::saved(state_of(1)));
  CHECK(!fs::exists(folder / "s.tmp"));
}

TEST_CASE("A writer that is killed at any moment leaves a whole file") {
  const test::Folder folder;
  const fs::path path = folder / "s";
  const std::string one = test::saved(state_of(1, 4096)), two = test::saved(state_of(2, 4096));
  save(path, state_of(1, 4096));
  int ones = 0, twos = 0;
  for (unsigned i = 0; i < 25; ++i) {
    const pid_t process = child([&] {
      for (int k = 0;; ++k) save(path, state_of(k % 2 == 0 ? 2 : 1, 4096));
      return 0;
    });
    usleep(1000 + i * 1237 % 9000);
    kill(process, SIGKILL);
    CHECK(status_of(process) == -SIGKILL);
    const std::string bytes = content(path);
    ones += bytes == one ? 1 : 0;
    twos += bytes == two ? 1 : 0;
  }
  CHECK(ones + twos == 25);
}

TEST_CASE("Writers of one path wait for each other") {
  const test::Folder folder;
  const fs::path path = folder / "s";
  std::vector<pid_t> processes;
  for (const double value : {1.0, 2.0, 3.0}) {
    processes.push_back(child([&] {
      for (int i = 0; i < 40; ++i) save(path, state_of(value, value == 2.0 ? 4096 : 64));
      return 0;
    }));
  }
  std::thread here([&] {
    for (int i = 0; i < 40; ++i) save(path, state_of(4));
  });
  here.join();
  for (const pid_t process : processes) CHECK(status_of(process) == 0);
  const std::string bytes = content(path);
  CHECK((bytes == test::saved(state_of(1)) || bytes == test::saved(state_of(2, 4096)) ||
         bytes == test::saved(state_of(3)) || bytes == test::saved(state_of(4))));
  CHECK(!fs::exists(folder / "s.tmp"));
}

TEST_CASE("Only regular files are replaced; links are followed and permissions stay") {
  const test::Folder folder;
  save(folder / "target", state_of(1));
  chmod((folder / "target").c_str(), 0640);
  fs::create_symlink(folder / "target", folder / "link");
  save(folder / "link", state_of(2));
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(content(folder / "target") == test::saved(state_of(2)));
  struct stat about {};
  stat((folder / "target").c_str(), &about);
  CHECK((about.st_mode & 07777) == 0640);

  fs::create_directory(folder / "directory");
  mkfifo((folder / "pipe").c_str(), 0600);
  for (const fs::path& path : {folder / "directory", folder / "pipe", fs::path("/dev/full")}) {
    if (!fs::exists(path)) continue;
    const std::string message = "loglinear: " + path.string() + ": is no regular file";
    LogLinearState<double> state = state_of(1);
    CHECK(test::error_of([&] { save(path, state); }) == message);
    CHECK(test::error_of([&] { load(path, state); }) == message);
    CHECK(!fs::is_regular_file(path));
  }
}

TEST_CASE("A file that is long and no safetensors file is refused before its data are read") {
  const test::Folder folder;
  const auto refuses = [&](const std::string& begin, const std::string& message) {
    const fs::path path = folder / "long";
    std::ofstream(path, std::ios::binary) << begin;
    std::error_code error;
    fs::resize_file(path, std::uintmax_t{1} << 42, error);  // 4 TiB, none of them on the disk
    if (error) return;
    CHECK(test::mentions(test::error_of([&] { (void)loglinear::read_safetensors(path); }),
                         {"loglinear: " + path.string() + ": " + message}));
  };
  refuses("", "the header must begin with {");
  refuses("GGUF\x03", "the header's length is 14064895815; it must be at most 100000000");
  refuses("not a safetensors file", "the header's length is ");
  refuses(test::with_header("{}"), "the tensors end at byte 0 of 4398046511094 bytes of data");
  refuses(
      test::with_header(R"({"t":{"dtype":"F32","shape":[4],"data_offsets":[0,4398046510000]}})"),
      "the tensors end at byte 4398046510000 of ");
  // As long as the file, and longer than its shape.
  refuses(
      test::with_header(R"({"t":{"dtype":"F32","shape":[4],"data_offsets":[0,4398046511030]}})"),
      "tensor \"t\": is F32[4] and has 4398046511030 bytes; it must have 16");
}

TEST_CASE("What the system refuses is a std::system_error with the path") {
  const test::Folder folder;
  LogLinearState<double> state = state_of(1);
  const fs::path path = folder / "nowhere/s";
  CHECK(test::mentions(system_error_of([&] { save(path, state); }),
                       {path.string() + ".tmp: cannot be opened for writing", "No such file"}));
  CHECK(test::mentions(system_error_of([&] { load(path, state); }),
                       {path.string() + ": cannot be opened for reading", "No such file"}));
  CHECK(state == state_of(1));
}
