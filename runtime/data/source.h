#pragma once

// Where data come from. Generated data are exactly defined functions of their parameters and seed
// (Philox, additions, multiplications, divisions, square roots): the same bits on every machine.

#include <cstdint>
#include <string>
#include <variant>

#include "runtime/data/dataset.h"

namespace gradus::runtime {

/// y = slope * x + intercept + noise * n with x uniform in [-1, 1) and n of mean 0 and variance 1.
/// Arrays `x` f32[] and `y` f32[] per example.
struct LinearData {
  double slope = 2;
  double intercept = 1;
  double noise = 0.1;
  std::int64_t examples = 2000;
  std::int64_t test_examples = 500;
  std::uint64_t seed = 0;
};

/// Points of the plane on arms that wind around each other from the origin to radius 1. Arrays
/// `point` f32[2] and `label` i32[] (the arm) per example; example i is of class i mod classes.
struct SpiralsData {
  std::int64_t classes = 2;
  double turns = 1;     // of each arm
  double noise = 0.02;  // deviation of each coordinate
  std::int64_t examples = 2000;
  std::int64_t test_examples = 500;
  std::uint64_t seed = 0;
};

/// Drawings of the ten digits, each with its own shift, rotation, scale, shear, pen, and noise.
/// Arrays `image` u8[28,28] (ink is bright) and `label` i32[] per example; example i shows the
/// digit i mod 10.
struct DigitsData {
  std::int64_t examples = 10000;
  std::int64_t test_examples = 2000;
  std::uint64_t seed = 0;
};

/// Two domains of images with nothing but the kind of drawing between them: discs, triangles and
/// squares, filled (bright on dark) or as outlines (dark on bright). Arrays `filled` u8[28,28] and
/// `outlined` u8[28,28] per example. In training the two show different shapes, which are drawn
/// independently; in the test the same one.
struct ShapesData {
  std::int64_t examples = 4000;
  std::int64_t test_examples = 500;
  std::uint64_t seed = 0;
};

/// The adding problem (Hochreiter and Schmidhuber 1997): sequences of numbers in [0, 1), one of
/// each half marked; the sum of these two is sought. Arrays `sequence` f32[length,2], number and
/// mark, and `sum` f32[] per example.
struct AddingData {
  std::int64_t length = 100;
  std::int64_t examples = 10000;
  std::int64_t test_examples = 2000;
  std::uint64_t seed = 0;
};

/// Sequences of tokens to copy, reverse or sort. Of `vocabulary` tokens 0 is padding, 1 the start,
/// the others are drawn; a sequence has `length` of them, or any number from `least_length` (if
/// that is not 0) on, and is padded behind. Arrays i32[length] per example: `source`, `next`, which
/// is the task's result, and `target`, the result one position later behind a start: what a decoder
/// reads to tell `next`.
struct SequencesData {
  std::string task = "copy";  // or "reverse", "sort" (ascending)
  std::int64_t length = 10;
  std::int64_t least_length = 0;
  std::int64_t vocabulary = 10;
  std::int64_t examples = 10000;
  std::int64_t test_examples = 1000;
  std::uint64_t seed = 0;
};

/// Sequences of brackets of some kinds, balanced or not. All balanced sequences of a length are
/// equally likely; the others are such in which two brackets changed places, so that counting does
/// not tell them. Opening brackets are tokens 1 to `kinds`, their closing ones follow, 0 is
/// padding. Arrays `sequence` i32[2 pairs] and `label` i32[] (1: balanced) per example; example i
/// has label i mod 2.
struct BracketsData {
  std::int64_t pairs = 16;
  std::int64_t least_pairs = 0;  // 0: pairs
  std::int64_t kinds = 2;
  std::int64_t examples = 10000;
  std::int64_t test_examples = 1000;
  std::uint64_t seed = 0;
};

/// Sums of sines: each has a frequency in [least_frequency, greatest_frequency) turns per step, an
/// amplitude in [0.5, 1.5) and a phase of its own; example i has 1 + i mod `waves` of them, divided
/// by that number. Arrays `sequence` f32[length], with noise of this deviation, `next` f32[length],
/// the same one step further, and `label` i32[], the number of sines less 1, per example.
struct SinesData {
  std::int64_t waves = 3;
  std::int64_t length = 64;
  double least_frequency = 0.02;
  double greatest_frequency = 0.2;
  double noise = 0.05;
  std::int64_t examples = 10000;
  std::int64_t test_examples = 1000;
  std::uint64_t seed = 0;
};

/// The four files of MNIST's format in one directory: `train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, and the same with `t10k`, each as it is or with `.gz`. Arrays `image`
/// u8[rows,columns] and `label` i32[] per example.
struct IdxData {
  std::string directory;
};

/// safetensors files with one array per input, all of one leading extent.
struct TensorsData {
  std::string file;
  std::string test_file;  // empty: no test data
};

/// Points around `modes` places that divide a circle evenly, from (radius, 0) on; each coordinate
/// with this deviation. Arrays `point` f32[2] and `mode` i32[] per example.
struct RingData {
  std::int64_t modes = 8;
  double radius = 1;
  double deviation = 0.02;
  std::int64_t examples = 10000;
  std::int64_t test_examples = 1000;
  std::uint64_t seed = 0;
};

/// A text cut into windows of `length` tokens that begin `stride` tokens apart (0: `length`). A
/// token is a byte, or the number of a character (of UTF-8) in the ascending list of those that
/// occur. The last `test` of the text is the test split: no window crosses. Arrays
/// `text` i32[length] and `next` i32[length], the same one token further, per example.
struct TextData {
  std::string file;
  std::int64_t length = 128;
  std::int64_t stride = 0;
  double test = 0.1;
  std::string tokens = "characters";  // or "bytes"
};

/// CIFAR-10's binary files in one directory: `data_batch_1.bin` and those of numbers 2 to 5 that
/// are there, and `test_batch.bin`, each as it is or with `.gz`. Arrays `image` u8[32,32,3] and
/// `label` i32[] per example.
struct Cifar10Data {
  std::string directory;
};

using DataSource = std::variant<LinearData, SpiralsData, RingData, DigitsData, ShapesData,
                                AddingData, SequencesData, BracketsData, SinesData, IdxData,
                                Cifar10Data, TensorsData, TextData>;

/// Makes or reads both splits. Test examples are drawn independently of training examples. Throws
/// UserError E1007 when a parameter is out of range, E1001 to E1006 and E4001, E4002 naming file
/// and byte, E5001 when memory runs out.
[[nodiscard]] DataSplits load_data(const DataSource& source);

[[nodiscard]] DataSplits make_linear(const LinearData& parameters);
[[nodiscard]] DataSplits make_spirals(const SpiralsData& parameters);
[[nodiscard]] DataSplits make_ring(const RingData& parameters);
[[nodiscard]] DataSplits make_digits(const DigitsData& parameters);
[[nodiscard]] DataSplits make_shapes(const ShapesData& parameters);
[[nodiscard]] DataSplits make_adding(const AddingData& parameters);
[[nodiscard]] DataSplits make_sequences(const SequencesData& parameters);
[[nodiscard]] DataSplits make_brackets(const BracketsData& parameters);
[[nodiscard]] DataSplits make_sines(const SinesData& parameters);
[[nodiscard]] DataSplits read_idx(const IdxData& parameters);
[[nodiscard]] DataSplits read_cifar10(const Cifar10Data& parameters);
[[nodiscard]] DataSplits read_tensors(const TensorsData& parameters);
[[nodiscard]] DataSplits read_text(const TextData& parameters);

/// Throws UserError E1007 unless low <= value <= high.
void check_data_parameter(const char* source, const char* name, double value, double low,
                          double high);

}  // namespace gradus::runtime
