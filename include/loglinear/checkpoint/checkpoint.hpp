// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_CHECKPOINT_HPP
#define LOGLINEAR_CHECKPOINT_CHECKPOINT_HPP

#include <set>
#include <string>
#include <utility>

#include "loglinear/checkpoint/detail/part_store.hpp"
#include "loglinear/checkpoint/tensors.hpp"
#include "loglinear/version.hpp"

namespace loglinear {

template <class Scalar>
class Attention;

/// Several objects as tensors in one file, each under a name of its own. `save` and `load` are this
/// for one object.
///
///     Checkpoint checkpoint;
///     checkpoint.put("layer", layer);
///     checkpoint.put("readout", readout);
///     write_safetensors("stream.safetensors", checkpoint.tensors());
///
///     Checkpoint checkpoint(read_safetensors("stream.safetensors"));
///     checkpoint.get("layer", layer);
///     checkpoint.get("readout", readout);
///     checkpoint.require_all_read();
///
/// Objects are LogLinearAttention, LinearAttention, MultiHeadAttention, LogLinearState, the mixers
/// of the paper, MixerCache, RecursiveLeastSquares and Cascade, in float or double, layers behind
/// `Attention`, and classes of your own with a public member `visit` as
/// `loglinear/detail/base/parts.hpp` describes it. Tensors are called `<object>.<part>`, weights as
/// `weight_names()` says. The parts of an object without a name have no prefix.
class Checkpoint {
 public:
  /// An empty one, to put objects in.
  Checkpoint() {
    tensors_.metadata = {{"format", "loglinear"},
                         {"format_version", version},
                         {"loglinear_version", LOGLINEAR_VERSION_STRING}};
  }

  /// A checkpoint from a file, to get objects from.
  /// \throws CheckpointError unless the file was written from a Checkpoint; `load_weights` takes
  /// any
  explicit Checkpoint(Tensors tensors) : tensors_(std::move(tensors)) {
    require("format", "loglinear");
    require("format_version", version);
  }

  /// Adds an object. Copies its weights and the active part of its stream.
  /// \throws CheckpointError if a tensor of that name is there already; nothing is added then
  template <class Object>
  void put(const std::string& name, const Object& object) {
    Tensors added;
    detail::PartWriter::write_object(added, scope_of(name), object);
    tensors_.add(std::move(added));
  }

  /// Adds a layer chosen at run time (mode/attention.hpp) as the `MultiHeadAttention` that it
  /// stands for; a program that knows the type can read that. Instantiates `put` for every kind of
  /// rule. \throws as above
  template <class Scalar>
  void put(const std::string& name, const Attention<Scalar>& attention) {
    visit_layer(attention, [&](const auto& layer) { put(name, layer); });
  }

  /// Brings back an object that was constructed with the same options. Learning rate and step count
  /// come from the checkpoint too. What the last token left for inspection, such as `raw_read()`,
  /// does not. Needs a copy of the object.
  /// \throws CheckpointError, the object being unchanged then, for options that differ, a tensor
  /// that is missing or has another dtype or shape, coefficients that are not finite, and parts
  /// that contradict each other or would let the object overflow
  template <class Object>
  void get(const std::string& name, Object& object) {
    object = loaded(name, object);
  }
  /// Brings back a layer chosen at run time, made from the same config. \throws as above
  template <class Scalar>
  void get(const std::string& name, Attention<Scalar>& attention) {
    visit_layer(attention, [&](auto& layer) { get(name, layer); });
  }

  /// As `get`, but returns a new object with the options of `like`, which stays as it is. So a
  /// program can take over several objects together or none of them.
  /// \throws CheckpointError as `get`
  template <class Object>
  [[nodiscard]] Object loaded(const std::string& name, const Object& like) {
    Object copy(like);
    std::set<std::string> read;
    detail::PartReader::read_object(tensors_, scope_of(name), copy, read);
    read_.merge(read);
    return copy;
  }

  /// \throws CheckpointError if there is a tensor that no `get` has read
  void require_all_read() const {
    for (const std::string& name : tensors_.names()) {
      if (!read_.contains(name)) {
        detail::refuse_tensor(tensors_.source, name, "belongs to nothing that was loaded");
      }
    }
  }

  /// The tensors that a file holds.
  [[nodiscard]] const Tensors& tensors() const { return tensors_; }

 private:
  static constexpr const char* version = "1";

  static std::string scope_of(const std::string& name) { return name.empty() ? name : name + '.'; }

  void require(const std::string& key, const std::string& value) const {
    const auto found = tensors_.metadata.find(key);
    if (found != tensors_.metadata.end() && found->second == value) return;
    detail::refuse(tensors_.source,
                   "__metadata__ has no \"" + key + "\": \"" + value +
                       "\": it is no checkpoint that this version reads; weights alone are read by "
                       "load_weights");
  }

  Tensors tensors_{};
  std::set<std::string> read_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_CHECKPOINT_HPP
