// SPDX-License-Identifier: MIT
// What a call sends is what the cost model says, message by message and byte by byte: calls of MPI
// are counted on their way, through the names that MPI has for that purpose.

#include <mpi.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/mpi.hpp"
#include "mpi_cost.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

struct Count {
  std::int64_t calls = 0, bytes = 0;
  bool operator==(const Count&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Count& count) {
  return out << count.calls << " calls, " << count.bytes << " bytes";
}
std::map<std::string, Count> counted;

void note(const char* call, int count, MPI_Datatype type) {
  int size = 0;
  MPI_Type_size(type, &size);
  counted[call].calls += 1;
  counted[call].bytes += std::int64_t{count} * size;
}

}  // namespace

extern "C" {
int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request* request) {
  note("send", count, type);
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}
int MPI_Send(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  note("send", count, type);
  return PMPI_Send(data, count, type, to, tag, comm);
}
int MPI_Recv(void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm,
             MPI_Status* status) {
  note("receive", count, type);
  return PMPI_Recv(data, count, type, from, tag, comm, status);
}
int MPI_Exscan(const void* data, void* out, int count, MPI_Datatype type, MPI_Op op,
               MPI_Comm comm) {
  note("scan", count, type);
  return PMPI_Exscan(data, out, count, type, op, comm);
}
int MPI_Allreduce(const void* data, void* out, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm) {
  note("agree", count, type);
  return PMPI_Allreduce(data, out, count, type, op, comm);
}
int MPI_Allgather(const void* data, int count, MPI_Datatype type, void* out, int out_count,
                  MPI_Datatype out_type, MPI_Comm comm) {
  note("gather", count, type);
  return PMPI_Allgather(data, count, type, out, out_count, out_type, comm);
}
int MPI_Bcast(void* data, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  note("broadcast", count, type);
  return PMPI_Bcast(data, count, type, root, comm);
}
}

namespace {

/// What a call of `work` sends.
template <class Work>
std::map<std::string, Count> counts_of(Work work) {
  counted.clear();
  work();
  return counted;
}

template <class Scalar>
void check_counts(const mpi::Ranks& ranks, Index length, bool is_delta) {
  bench::MpiCost cost{.ranks = ranks.count(),
                      .tokens = length,
                      .d_k = 5,
                      .d_v = 3,
                      .bytes = sizeof(Scalar),
                      .is_dense = is_delta,
                      .max_levels = 9};
  test::Random random(11);
  const Kind kind{.decay = test::Decay::scalar,
                  .update = is_delta ? test::Update::delta : test::Update::none};
  const auto tokens = random_tokens<Scalar>(random, kind, length, 5, 3, 10);
  const auto first = static_cast<Index>(cost.start(ranks.rank()));
  const Index count = static_cast<Index>(cost.start(ranks.rank() + 1)) - first;
  const SequenceInputs<Scalar> in = tokens.inputs().slice(first, count);
  const Array<Scalar> d_out = Array<Scalar>::Ones(count, 3);
  INFO("rank " << ranks.rank() << " of " << ranks.count() << ", T " << length
               << (is_delta ? ", delta rule" : ""));
  const bool is_alone = ranks.count() == 1;

  // Besides: four agreements of an int, everybody's eleven facts, and where the stream begins.
  const Count agreed{4, 16}, facts{1, 88}, starts{1, 8};
  LogLinearState<Scalar> state(9, 5, 3);
  mpi::Tape<Scalar> tape;
  auto counts = counts_of(
      [&] { static_cast<void>(mpi::chunkwise(in, state, ranks, {.chunk_size = 8}, &tape)); });
  const Count scanned = is_alone ? Count{} : Count{1, cost.scan_bytes()};
  CHECK(counts["scan"] == scanned);
  CHECK(counts["send"] == Count{});
  CHECK(counts["receive"] == Count{});
  CHECK(counts["agree"] == agreed);
  CHECK(counts["gather"] == facts);
  CHECK(counts["broadcast"] == starts);
  counts = counts_of([&] {  // and the same for the gradient
    static_cast<void>(mpi::chunkwise_gradient(in, tape, d_out, ranks));
  });
  CHECK(counts["scan"] == scanned);
  CHECK(counts["send"] == Count{});
  CHECK(counts["agree"] == agreed);
  CHECK(counts["gather"] == facts);

  LogLinearState<Scalar> again(9, 5, 3);
  const mpi::Options in_turn{.schedule = mpi::Schedule::pipelined, .chunk_size = 8};
  counts = counts_of([&] { static_cast<void>(mpi::chunkwise(in, again, ranks, in_turn, &tape)); });
  const Count before = ranks.is_first() ? Count{} : Count{1, cost.turn_bytes(ranks.rank())},
              after = ranks.is_last() ? Count{} : Count{1, cost.turn_bytes(ranks.rank() + 1)};
  CHECK(counts["scan"] == Count{});
  CHECK(counts["receive"] == before);
  CHECK(counts["send"] == after);
  CHECK(counts["agree"] == agreed);
  counts = counts_of([&] {  // backwards
    static_cast<void>(mpi::chunkwise_gradient(in, tape, d_out, ranks));
  });
  CHECK(counts["receive"] == after);
  CHECK(counts["send"] == before);
}

}  // namespace

TEST_CASE("messages and bytes are those of the cost model", "[mpi]") {
  const mpi::Ranks ranks;
  for (const Index length : {16, 64, 100, 333}) {
    for (const bool is_delta : {false, true}) {
      check_counts<double>(ranks, length, is_delta);
      check_counts<float>(ranks, length, is_delta);
    }
  }
}

TEST_CASE("stretches of a power of two leave log2 P levels and no more", "[mpi]") {
  for (std::int64_t ranks = 1; ranks <= 1024; ranks *= 2) {
    const bench::MpiCost cost{.ranks = ranks, .tokens = ranks * 4096};
    CHECK(cost.most_levels() == std::countr_zero(static_cast<std::uint64_t>(ranks)));
  }
}
