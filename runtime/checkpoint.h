#pragma once

// Weights and checkpoints are safetensors files with a manifest in their metadata.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/data/vocabulary.h"
#include "runtime/executable.h"

namespace gradus::runtime {

/// How far training is and what it was started with: with the state, all that the next step
/// depends on.
struct Progress {
  std::int64_t step = 0;                       // training steps done
  std::int64_t epoch = 0;                      // epochs completed, their validation included
  std::int64_t batch = 0;                      // batches done in the current epoch
  std::vector<double> sums;                    // running sums of the current epoch's metrics
  std::vector<std::int64_t> examples_in_sums;  // of each sum
  std::vector<double> train;       // metrics of the last epoch that ended; empty: none has
  std::vector<double> validation;  // likewise
  std::uint64_t seed = 0;
  std::int64_t batch_size = 0;  // 0: all examples
  std::int64_t examples = 0;    // of the training set
  bool shuffle = true;
  Vocabulary vocabulary;  // of the data
  std::string model_hash;
  std::string version;  // of the program that wrote the file
  friend bool operator==(const Progress&, const Progress&) = default;
};

/// Writes every state entry. `state` is a block of this layout. Throws as OutputFile does.
void save_checkpoint(const std::string& path, const StateLayout& layout,
                     std::span<const std::byte> state, const Progress& progress);

/// Fills the whole state. Throws UserError E1005 with one finding per missing, unexpected or
/// mismatching entry (then `state` is unchanged), E1006 when the file is no checkpoint, and as
/// SafetensorsReader does.
[[nodiscard]] Progress load_checkpoint(const std::string& path, const StateLayout& layout,
                                       std::span<std::byte> state);

/// Writes the entries that a prediction needs, parameters and statistics, and the vocabulary of the
/// data, so that what the model says in tokens can be read.
void save_weights(const std::string& path, const StateLayout& layout,
                  std::span<const std::byte> state, const std::string& model_hash,
                  const Vocabulary& vocabulary = {});

/// The vocabulary in a weights file or checkpoint; that of no text where there is none. Throws as
/// load_weights does.
[[nodiscard]] Vocabulary saved_vocabulary(const std::string& path);

/// Fills parameters and statistics from a weights file, a checkpoint (whose other entries are left
/// out), or any safetensors file with exactly these names, shapes and types. With names of modules,
/// blocks or layers in `of` only theirs are meant, on both sides: "encoder" is whatever begins with
/// "encoder/". Throws as load_checkpoint does, also where the model has nothing of such a name.
void load_weights(const std::string& path, const StateLayout& layout, std::span<std::byte> state,
                  std::span<const std::string> of = {});

}  // namespace gradus::runtime
