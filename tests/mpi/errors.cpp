// SPDX-License-Identifier: MIT
// An error on one rank reaches all of them, by the rank's name, and changes nothing; afterwards the
// ranks go on together.

#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "catch.hpp"
#include "loglinear/mpi.hpp"
#include "mpi/cuts.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using mpi::Schedule;

constexpr Index length = 24;

/// A call that succeeds, and can be spoilt.
struct Call {
  explicit Call(const mpi::Ranks& among) : ranks(among) {
    test::Random random(7);
    const Kind kind{.decay = test::Decay::scalar, .update = test::Update::delta};
    tokens = random_tokens<double>(random, kind, length, 4, 3, 9);
    // The same number for each rank, as far as it goes.
    const Index each = length / ranks.count();
    mine = {ranks.rank() * each, each};
    tokens = own(tokens, mine);
    state = random_state<double>(random, 0, 8, 4, 3);
  }
  static Tokens<double> own(const Tokens<double>& all, const Stretch& stretch) {
    Tokens<double> part;
    visit_arrays(part, all, [&](const char*, auto& to, const auto& from) {
      if (from.size() > 0) to = from.middleRows(stretch.first, stretch.count);
    });
    return part;
  }
  Array<double> run() { return mpi::chunkwise(tokens.inputs(), state, ranks, options, &tape); }

  const mpi::Ranks& ranks;
  Stretch mine{};
  Tokens<double> tokens{};
  LogLinearState<double> state{8, 4, 3};
  mpi::Options options{.chunk_size = 8};
  mpi::Tape<double> tape{};
};

/// Spoils the call on one rank: all must refuse, say which rank it is and why, and leave the state.
void check_refusal(const mpi::Ranks& ranks, const std::string& reason,
                   const std::function<void(Call&)>& spoil) {
  for (const Schedule schedule : {Schedule::scan, Schedule::pipelined}) {
    for (const int guilty : {0, ranks.count() / 2, ranks.count() - 1}) {
      Call call(ranks);
      call.options.schedule = schedule;
      if (ranks.rank() == guilty) spoil(call);
      const LogLinearState<double> before = call.state;
      const std::string error = error_of([&] { static_cast<void>(call.run()); });
      INFO("rank " << ranks.rank() << " of " << ranks.count() << ", spoilt " << guilty << ": "
                   << error);
      CHECK(mentions(error, {reason}));
      // Where rank 0 differs from the others, it is they who differ from it.
      const bool is_named =
          mentions(error, {"on rank " + std::to_string(guilty) + ": "}) ||
          (guilty == 0 && ranks.count() > 1 && mentions(error, {"on rank 1: ", "as on rank 0"}));
      CHECK(is_named);
      CHECK(call.state == before);
      CHECK(call.tape.heads.empty());
    }
  }
}

}  // namespace

TEST_CASE("what one rank refuses all refuse", "[mpi]") {
  const mpi::Ranks ranks;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  check_refusal(ranks, "k", [&](Call& call) { call.tokens.k(0, 1) = nan; });
  check_refusal(ranks, "g[", [&](Call& call) { call.tokens.g(call.mine.count - 1, 0) = nan; });
  check_refusal(ranks, "v (rows)", [](Call& call) { call.tokens.v.conservativeResize(1, 3); });
  check_refusal(ranks, "chunk_size", [](Call& call) { call.options.chunk_size = 0; });
  check_refusal(ranks, "the read of token",
                [](Call& call) { call.tokens.q.setConstant(1e300), call.tokens.lambda *= 1e300; });
  check_refusal(ranks, "columns of lambda", [](Call& call) {
    call.tokens.lambda = Array<double>(call.tokens.lambda.leftCols(1));
    call.tokens.lambda.conservativeResize(call.mine.count, 1);
    call.state = LogLinearState<double>(8, 4, 3);
  });
}

TEST_CASE("a schedule that does not exist is refused on all ranks", "[mpi]") {
  const mpi::Ranks ranks;
  Call call(ranks);
  call.options.schedule = static_cast<Schedule>(7);
  CHECK(mentions(error_of([&] { static_cast<void>(call.run()); }),
                 {"the number of the schedule", "7", "0", "1"}));
}

TEST_CASE("what differs between ranks is refused on all of them", "[mpi]") {
  const mpi::Ranks ranks;
  if (ranks.count() == 1) return;
  check_refusal(ranks, "max_levels",
                [](Call& call) { call.state = LogLinearState<double>(7, 4, 3); });
  check_refusal(ranks, "the chunk size", [](Call& call) { call.options.chunk_size = 4; });
  for (const int guilty : {0, ranks.count() - 1}) {
    Call call(ranks);
    if (ranks.rank() == guilty) call.options.schedule = Schedule::pipelined;
    CHECK(mentions(error_of([&] { static_cast<void>(call.run()); }), {"schedule", "as on rank 0"}));
  }
}

TEST_CASE("a gradient that one rank refuses all refuse", "[mpi]") {
  const mpi::Ranks ranks;
  for (const Schedule schedule : {Schedule::scan, Schedule::pipelined}) {
    for (const int guilty : {0, ranks.count() - 1}) {
      INFO("rank " << ranks.rank() << " of " << ranks.count());
      const std::string name = "on rank " + std::to_string(guilty) + ": ";
      const bool is_guilty = ranks.rank() == guilty;
      Call call(ranks);
      call.options.schedule = schedule;
      call.tokens.lambda.setConstant(10);  // times 1e308 is out of range
      static_cast<void>(call.run());
      Array<double> d_out = Array<double>::Ones(call.mine.count, 3), spoilt = d_out;
      const auto refusal = [&](const Tokens<double>& tokens, const Array<double>& d) {
        return error_of([&] {
          static_cast<void>(mpi::chunkwise_gradient(tokens.inputs(), call.tape, d, ranks));
        });
      };
      spoilt(0, 0) = std::numeric_limits<double>::infinity();
      CHECK(mentions(refusal(call.tokens, is_guilty ? spoilt : d_out), {name, "d_out"}));
      spoilt = Array<double>::Constant(call.mine.count, 3, 1e308);
      CHECK(mentions(refusal(call.tokens, is_guilty ? spoilt : d_out), {"on rank ", "finite"}));
      Call other(ranks);
      if (is_guilty) other.tokens.q.conservativeResize(call.mine.count - 1, 4);
      CHECK(mentions(refusal(other.tokens, d_out), {name, "the number of rows of k"}));
      Array<double> narrow = Array<double>::Ones(2, 2);
      const std::string error = error_of([&] {
        static_cast<void>(
            mpi::chunkwise_gradient(call.tokens.inputs(), call.tape, d_out, ranks, narrow));
      });
      CHECK(mentions(error, {"on rank " + std::to_string(ranks.count() - 1), "d_states"}));
      // And then they go on.
      const auto gradients = mpi::chunkwise_gradient(call.tokens.inputs(), call.tape, d_out, ranks);
      CHECK(gradients.q.allFinite());
    }
  }
}

TEST_CASE("a tape of another pass than on other ranks is refused", "[mpi]") {
  const mpi::Ranks ranks;
  Call call(ranks), shorter(ranks);
  static_cast<void>(call.run());
  for (auto* array : {&shorter.tokens.q, &shorter.tokens.k, &shorter.tokens.v,
                      &shorter.tokens.lambda, &shorter.tokens.g, &shorter.tokens.beta}) {
    if (ranks.is_first()) array->conservativeResize(call.mine.count - 1, array->cols());
  }
  static_cast<void>(shorter.run());
  const bool is_first = ranks.is_first();
  const Call& used = is_first || ranks.count() == 1 ? shorter : call;
  const Array<double> d_out = Array<double>::Ones(used.tokens.q.rows(), 3);
  const std::string error = error_of([&] {
    static_cast<void>(mpi::chunkwise_gradient(used.tokens.inputs(), used.tape, d_out, ranks));
  });
  CHECK(mentions(error, {"the tape", "another pass"}) == (ranks.count() > 1));
}

TEST_CASE("a tape of fewer ranks, of another rank or of no pass is refused", "[mpi]") {
  const mpi::Ranks ranks, alone(MPI_COMM_SELF);
  mpi::Tape<double> tape;
  Call call(ranks);
  const Array<double> d_out = Array<double>::Ones(call.mine.count, 3);
  const auto refusal = [&](const mpi::Tape<double>& used) {
    return error_of([&] {
      static_cast<void>(mpi::chunkwise_gradient(call.tokens.inputs(), used, d_out, ranks));
    });
  };
  CHECK(mentions(refusal(tape), {"on rank 0: the size of the ranks of the tape is 0"}));
  static_cast<void>(mpi::chunkwise(call.tokens.inputs(), call.state, alone, {}, &tape));
  const std::string count = std::to_string(ranks.count());
  const std::string error = refusal(tape);
  CHECK(error.empty() == (ranks.count() == 1));
  CHECK((error.empty() || mentions(error, {"on rank 0: the size of the ranks of the tape is 1",
                                           "it must be " + count})));
  static_cast<void>(call.run());
  if (ranks.count() == 1) return;
  const int other = ranks.count() - 1 - ranks.rank();
  MPI_Comm turned = MPI_COMM_NULL;  // the same ranks, the last one first
  MPI_Comm_split(MPI_COMM_WORLD, 0, other, &turned);
  {
    const mpi::Ranks from_the_end(turned);
    LogLinearState<double> state(8, 4, 3);
    for (const Schedule schedule : {Schedule::scan, Schedule::pipelined}) {
      static_cast<void>(mpi::chunkwise(call.tokens.inputs(), state, from_the_end,
                                       {.schedule = schedule, .chunk_size = 8}, &tape));
      CHECK(mentions(refusal(tape), {"on rank 0: the tape", "of another rank's tokens"}));
      CHECK(refusal(call.tape).empty());  // and then they go on
    }
  }
  MPI_Comm_free(&turned);
}

TEST_CASE("other failures than refusals reach all ranks, too", "[mpi]") {
  const mpi::Ranks ranks;
  for (int guilty = 0; guilty < ranks.count(); ++guilty) {
    std::string message;
    try {
      mpi::together(ranks, [&] {
        if (ranks.rank() >= guilty) throw std::bad_alloc();  // the lowest is named
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    CHECK(message == "loglinear: on rank " + std::to_string(guilty) + ": std::bad_alloc");
  }
  int done = 0;
  mpi::together(ranks, [&] { ++done; });
  CHECK(done == 1);
}
