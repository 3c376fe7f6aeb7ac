#pragma once

// Random graphs for tests that hold for every graph. A seed gives the same graph on every machine.

#include <cstdint>
#include <map>
#include <string>

#include "ir/graph.h"

namespace gradus::support {

/// A valid graph of some thirty nodes: ops of the whole registry, every element type, odd shapes
/// (extents of 0 and 1 too), constants with every kind of float, names and provenance that need
/// quoting, outputs and updates.
[[nodiscard]] ir::Graph random_graph(std::uint64_t seed);

/// A training step: state and batch inputs; nets of random layers (contractions, elementwise ops of
/// the registry, reductions, normalisations, images, sequences, loops, positions that are values,
/// attention, dropout); losses, gradients, and updates by random optimizers: one, or several of
/// nets that read each other, each in one run or more. Differentiable, and finite on ordinary
/// inputs mostly.
[[nodiscard]] ir::Graph random_training_graph(std::uint64_t seed);

/// `special` mixes in NaN, infinities, zeros of both signs, subnormals and greatest numbers.
enum class InputValues : std::uint8_t { ordinary, special };

/// A tensor for every input, by name. Ordinary floats are of order 1, less in matrices of the
/// state, and positive in state with a '/' in its name (slots of optimizers); integers are small,
/// and counters, state of rank 0, are not negative.
[[nodiscard]] std::map<std::string, Tensor> random_inputs(
    const ir::Graph& graph, std::uint64_t seed, InputValues values = InputValues::ordinary);

/// The same type and bits; every NaN equals every other.
[[nodiscard]] bool equal_bits(const Tensor& a, const Tensor& b);

}  // namespace gradus::support
