// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_SHARED_POOL_HPP
#define LOGLINEAR_MPI_SHARED_POOL_HPP

#include <mpi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/mpi/detail/object_bytes.hpp"
#include "loglinear/mpi/detail/object_messages.hpp"
#include "loglinear/mpi/ranks.hpp"
#include "loglinear/pool/stream_pool.hpp"

namespace loglinear::mpi {

/// Many streams with keys, shared out over ranks. Each rank has a `StreamPool` of its own streams,
/// and every rank knows which rank has a key. A hash that is the same everywhere gives each key to
/// a rank, until `move` gives it to another. A rank steps its streams by itself; how tokens reach
/// it is up to the program.
///
///     if (pool.is_mine(key)) mine.push_back(pool.stream(key));
///     ...
///     pool.local().step(mine, {.q = ...}, out);
///
/// \tparam Scalar  float or double
template <class Scalar>
class SharedPool {
 public:
  using Key = std::uint64_t;
  using Index = Eigen::Index;
  using Options = typename StreamPool<Scalar>::Options;

  /// No streams. \param ranks  must outlive it \throws std::invalid_argument on all ranks for an
  /// option out of its range on one of them
  SharedPool(const Options& options, const Ranks& ranks) : ranks_(ranks) {
    together(ranks, [&] { pool_.emplace(options); });
  }

  /// The rank that has the key, or would have it.
  [[nodiscard]] int owner(Key key) const {
    const auto moved = moved_.find(key);
    if (moved != moved_.end()) return moved->second;
    return static_cast<int>(mixed(key) % static_cast<std::uint64_t>(ranks_.count()));
  }
  [[nodiscard]] bool is_mine(Key key) const {
    return owner(key) == ranks_.rank();
  }  ///< whether that is this rank

  /// The number in `local()` of a key of this rank, for which a stream begins where there is none.
  /// \throws std::invalid_argument for a key of another rank
  Index stream(Key key) {
    require_mine(key);
    return open(key);
  }
  /// Ends a stream of this rank; nothing where there is none. \throws std::invalid_argument for a
  /// key of another rank
  void remove(Key key) {
    require_mine(key);
    drop(key);
  }
  /// The streams of this rank, under the numbers that `stream(key)` gives. Add and remove streams
  /// only by their keys.
  [[nodiscard]] StreamPool<Scalar>& local() { return *pool_; }
  [[nodiscard]] const StreamPool<Scalar>& local() const { return *pool_; }  ///< the same
  /// The keys of this rank that have a stream.
  [[nodiscard]] std::vector<Key> keys() const {
    std::vector<Key> all;
    for (const auto& [key, stream] : streams_) all.push_back(key);
    return all;
  }

  /// Gives a key to another rank. Its stream, if there is one, goes on there with the same numbers.
  /// One message carries the active levels of its heads. All ranks call it with the same arguments.
  /// \throws std::invalid_argument on all ranks for a rank that does not exist and for arguments
  /// that differ, std::runtime_error for other failures of one; everything is as it was then
  void move(Key key, int to) {
    require_same(key, to);
    const int from = owner(key);
    if (from == to) return;
    std::vector<std::byte> bytes;
    typename std::map<Key, int>::node_type entry;
    together(ranks_, [&] {
      std::map<Key, int> one{{key, to}};  // memory for the table's new line
      entry = one.extract(one.begin());
      if (ranks_.rank() == from) bytes = checkpoint_of(key);
    });
    if (ranks_.rank() == from) detail::send_bytes(bytes, to, ranks_);
    if (ranks_.rank() == to) bytes = detail::receive_bytes(from, ranks_);
    const std::exception_ptr refused = detail::caught([&] {
      together(ranks_, [&] {
        if (ranks_.rank() == to && !bytes.empty()) restore(key, bytes);
      });
    });
    if (refused) {
      if (ranks_.rank() == to) drop(key);
      std::rethrow_exception(refused);
    }
    if (ranks_.rank() == from) drop(key);
    moved_.erase(key);
    moved_.insert(std::move(entry));
  }

 private:
  /// A mix of all bits of the key (splitmix64, Steele et al., OOPSLA 2014).
  [[nodiscard]] static std::uint64_t mixed(std::uint64_t key) {
    key += 0x9E3779B97F4A7C15u;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
    return key ^ (key >> 31);
  }
  void require_mine(Key key) const {
    if (is_mine(key)) return;
    detail::fail("the rank of key " + std::to_string(key), owner(key), ranks_.rank(),
                 ", to use it here");
  }
  void require_same(Key key, int to) const {
    std::array<std::uint64_t, 2> first{key, static_cast<std::uint64_t>(to)};
    detail::require_mpi(MPI_Bcast(first.data(), 2, MPI_UINT64_T, 0, ranks_.comm()), "MPI_Bcast");
    together(ranks_, [&] {
      detail::require_between("the rank to move to", to, 0, ranks_.count() - 1);
      if (key != first[0]) detail::fail("the key to move", key, first[0], ", as on rank 0");
      if (static_cast<std::uint64_t>(to) != first[1]) {
        detail::fail("the rank to move to", to, first[1], ", as on rank 0");
      }
    });
  }

  /// The bytes of a stream's states; none where there is no stream.
  [[nodiscard]] std::vector<std::byte> checkpoint_of(Key key) const {
    std::vector<std::byte> bytes;
    const auto found = streams_.find(key);
    if (found == streams_.end()) return bytes;
    for (const LogLinearState<Scalar>& head : pool_->snapshot(found->second)) {
      detail::write_object(head, bytes);
    }
    return bytes;
  }
  void restore(Key key, const std::vector<std::byte>& bytes) {
    const Options& options = pool_->options();
    BatchStates<Scalar> heads(static_cast<std::size_t>(options.heads),
                              LogLinearState<Scalar>(options.max_levels, options.d_k, options.d_v));
    std::size_t at = 0;
    for (LogLinearState<Scalar>& head : heads) detail::read_object(bytes, at, head);
    pool_->restore(open(key), heads);
  }
  /// The stream of a key, which is begun where there is none.
  Index open(Key key) {
    const auto place = streams_.find(key);
    if (place != streams_.end()) return place->second;
    Index& number = streams_[key];
    const std::exception_ptr thrown = detail::caught([&] { number = pool_->add(); });
    if (thrown) {
      streams_.erase(key);
      std::rethrow_exception(thrown);
    }
    return number;
  }
  void drop(Key key) {
    const auto found = streams_.find(key);
    if (found == streams_.end()) return;
    pool_->remove(found->second);
    streams_.erase(found);
  }

  const Ranks& ranks_;
  std::optional<StreamPool<Scalar>> pool_{};
  std::map<Key, Index> streams_{};  // of this rank: the streams' numbers in its pool
  std::map<Key, int> moved_{};  // the same on all ranks: the owners of keys that have been moved
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_SHARED_POOL_HPP
