// SPDX-License-Identifier: MIT
// Symbolic links: the file that they lead to is written, whether it is there or not, and they stay
// links.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

#include "bytes.hpp"
#include "catch.hpp"

namespace test = loglinear::test;

namespace {

namespace fs = std::filesystem;

loglinear::Tensors tensors(double value) {
  loglinear::Tensors all;
  all.add("t", Eigen::VectorXd::Constant(3, value));
  return all;
}
void write(const fs::path& path, double value) {
  loglinear::write_safetensors(path, tensors(value));
}
double number_in(const fs::path& path) {
  return loglinear::read_safetensors(path).matrix<double>("t")(0);
}

/// The code of the std::system_error that `call` throws, and what it says.
template <class Call>
std::pair<std::error_code, std::string> failure(Call&& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace

TEST_CASE("A link that leads to no file yet makes it") {
  const test::Folder folder;
  fs::create_directory(folder / "data");
  // Absolute, beside it, in another folder, upwards, and through a folder that is a link itself.
  fs::create_directory_symlink("data", folder / "shortcut");
  fs::create_symlink(folder / "absolute-target", folder / "absolute");
  fs::create_symlink("beside-target", folder / "beside");
  fs::create_symlink("data/below-target", folder / "below");
  fs::create_symlink("../above-target", folder / "data/above");
  fs::create_symlink("shortcut/../through-target", folder / "through");
  const std::pair<const char*, const char*> links[] = {
      {"absolute", "absolute-target"},    {"beside", "beside-target"},
      {"below", "data/below-target"},     {"data/above", "above-target"},
      {"shortcut/above", "above-target"}, {"through", "through-target"}};
  for (const auto& [link, target] : links) {
    CAPTURE(link);
    fs::remove(folder / target);
    for (const double value : {1.0, 2.0}) {
      write(folder / link, value);
      CHECK(fs::is_symlink(fs::symlink_status(folder / link)));
      CHECK(fs::is_regular_file(fs::symlink_status(folder / target)));
      CHECK(number_in(folder / target) == value);
      CHECK(number_in(folder / link) == value);
    }
    CHECK(!fs::exists(folder / (std::string(target) + ".tmp")));
    CHECK(!fs::exists(folder / (std::string(link) + ".tmp")));
  }
}

TEST_CASE("A relative link in the current folder") {
  const test::Folder folder;
  const fs::path before = fs::current_path();
  fs::create_symlink("target", folder / "link");
  fs::current_path(folder / "");
  write("link", 3);
  fs::current_path(before);
  CHECK(fs::is_symlink(fs::symlink_status(folder / "link")));
  CHECK(number_in(folder / "target") == 3);
}

TEST_CASE("A chain of links is followed to its end") {
  const test::Folder folder;
  for (int i = 0; i < 45; ++i) {
    fs::create_symlink(std::to_string(i + 1), folder / std::to_string(i));
  }
  for (const double value : {1.0, 2.0}) {
    write(folder / "5", value);  // forty links, as many as the system follows
    CHECK(number_in(folder / "45") == value);
    CHECK(fs::is_regular_file(fs::symlink_status(folder / "45")));
    for (int i = 0; i < 45; ++i) {
      CHECK(fs::is_symlink(fs::symlink_status(folder / std::to_string(i))));
    }
  }
  const auto [code, message] = failure([&] { write(folder / "0", 3); });
  CHECK(code == std::errc::too_many_symbolic_link_levels);
  CHECK(number_in(folder / "45") == 2);
}

TEST_CASE("A link that leads to itself is refused by name") {
  const test::Folder folder;
  fs::create_symlink("self", folder / "self");
  fs::create_symlink("b", folder / "a");
  fs::create_symlink("a", folder / "b");
  fs::create_symlink("self", folder / "into");
  fs::create_symlink("self/x", folder / "beneath");
  for (const char* const name : {"self", "a", "b", "into", "beneath", "self/x"}) {
    const fs::path path = folder / name;
    for (const auto& [code, message] :
         {failure([&] { write(path, 1); }), failure([&] { (void)number_in(path); })}) {
      CHECK(code == std::errc::too_many_symbolic_link_levels);
      CHECK(test::mentions(message, {"loglinear: " + path.string() + ": cannot be "}));
    }
  }
  for (const char* const name : {"self", "a", "b", "into", "beneath"}) {
    CHECK(fs::is_symlink(fs::symlink_status(folder / name)));
  }
}

TEST_CASE("A link of the system to an open file leads to its name, if it has one") {
  const test::Folder folder;
  write(folder / "named", 1);
  const int named = open((folder / "named").c_str(), O_RDONLY);
  const auto link_to = [](int descriptor) {
    return fs::path("/proc/self/fd") / std::to_string(descriptor);
  };
  if (fs::is_symlink(fs::symlink_status(link_to(named)))) {
    write(link_to(named), 2);
    CHECK(number_in(folder / "named") == 2);
    write(folder / "lost", 1);
    const int lost = open((folder / "lost").c_str(), O_RDWR);
    fs::remove(folder / "lost");
    CHECK(test::mentions(test::error_of([&] { write(link_to(lost), 3); }),
                         {link_to(lost).string(), "has no name any more"}));
    CHECK(number_in(link_to(lost)) == 1);
    fs::create_symlink(link_to(lost), folder / "indirect");
    CHECK(test::mentions(test::error_of([&] { write(folder / "indirect", 3); }),
                         {"indirect", "has no name any more"}));
    close(lost);
    fs::remove(folder / "indirect");
    CHECK(std::distance(fs::directory_iterator(folder / ""), fs::directory_iterator()) == 1);
  }
  close(named);
}

TEST_CASE("An empty path names no file, and leaves what stands where it would begin") {
  const test::Folder folder;
  const fs::path before = fs::current_path();
  std::ofstream(folder / ".tmp") << "text";
  fs::current_path(folder / "");
  const auto [code, message] = failure([&] { write("", 1); });
  fs::current_path(before);
  CHECK(code == std::errc::no_such_file_or_directory);
  CHECK(fs::file_size(folder / ".tmp") == 4);
}

TEST_CASE("A folder that cannot be read keeps the old file") {
  if (geteuid() == 0) return;  // nothing is closed to the superuser
  const test::Folder folder;
  fs::create_directory(folder / "drop");
  write(folder / "drop/s", 1);
  fs::permissions(folder / "drop", fs::perms::owner_write | fs::perms::owner_exec);
  CHECK(failure([&] { write(folder / "drop/s", 2); }).first == std::errc::permission_denied);
  CHECK(number_in(folder / "drop/s") == 1);
  fs::permissions(folder / "drop", fs::perms::owner_all);
  CHECK(!fs::exists(folder / "drop/s.tmp"));
}

TEST_CASE("A link to where nothing can be written stays, and says why") {
  const test::Folder folder;
  fs::create_symlink("nowhere/s", folder / "lost");
  std::ofstream(folder / "file") << "text";
  fs::create_symlink("file/s", folder / "under-a-file");
  fs::create_directory(folder / "directory");
  fs::create_symlink("directory", folder / "to-a-directory");
  mkfifo((folder / "pipe").c_str(), 0600);
  fs::create_symlink("pipe", folder / "to-a-pipe");
  CHECK(failure([&] { write(folder / "lost", 1); }).first == std::errc::no_such_file_or_directory);
  CHECK(failure([&] { write(folder / "under-a-file", 1); }).first == std::errc::not_a_directory);
  for (const char* const name : {"to-a-directory", "to-a-pipe"}) {
    CHECK(test::error_of([&] { write(folder / name, 1); }) ==
          "loglinear: " + (folder / name).string() + ": is no regular file");
  }
  for (const char* const name : {"lost", "under-a-file", "to-a-directory", "to-a-pipe"}) {
    CHECK(fs::is_symlink(fs::symlink_status(folder / name)));
  }
  if (geteuid() == 0) return;  // nothing is closed to the superuser
  fs::create_directory(folder / "closed");
  write(folder / "closed/s", 1);
  fs::create_symlink("closed/s", folder / "to-closed");
  fs::permissions(folder / "closed", fs::perms::none);
  CHECK(failure([&] { write(folder / "to-closed", 2); }).first == std::errc::permission_denied);
  fs::permissions(folder / "closed", fs::perms::owner_all);
  CHECK(fs::is_symlink(fs::symlink_status(folder / "to-closed")));
  CHECK(number_in(folder / "closed/s") == 1);
}
