#pragma once

// The layer registry: one record per layer. The checker, the resolved file, the reference and the
// tests follow from it.

#include <functional>
#include <map>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/options.h"
#include "frontend/streams.h"
#include "ir/compositions/initialisers.h"
#include "ir/expr.h"
#include "ir/op.h"

namespace gradus::frontend {

/// A tensor of a layer's own, "hidden/kernel": trained, or a statistic that training keeps up to
/// date.
struct ParameterSpec {
  std::string name;
  TensorType type;
  const ir::Initialiser* initialiser = nullptr;
  std::vector<double> initialiser_parameters;
  double l1 = 0;  // the loss grows by l1 * sum |w| + l2 * sum w^2
  double l2 = 0;
  ir::Provenance provenance;  // its layer
  bool trained = true;

  [[nodiscard]] const SourceLocation& where() const {
    return provenance.entries().front().origin->where;
  }
};

/// What a layer keeps from one batch to the next, "memory/hidden": 0 at first, not trained.
struct CarriedSpec {
  std::string name;
  TensorType type;  // of one example
  ir::Provenance provenance;
};

/// What is wrong with a layer's inputs, to be completed with the layer's name and place.
class LayerError : public std::runtime_error {
 public:
  LayerError(const std::string& message, std::string advice = {})
      : std::runtime_error(message), hint(std::move(advice)) {}
  std::string hint;
};

/// A layer's input as the layer and messages about it see it.
struct LayerInput {
  std::string name;
  std::uint32_t line = 0;    // where it is made
  ir::Expr value;            // with the leading batch axis
  bool by_position = false;  // one position of a sequence, when decoding
  bool by_time = false;      // every time of it as an example

  /// "'hidden' (line 7) gives f32[16]", with the type of one example.
  [[nodiscard]] std::string describe() const;
};

/// "seed" or "step", the state input of that name.
[[nodiscard]] ir::Expr counter_input(ir::Graph& graph, const std::string& name);

/// `count` examples from `first` on.
[[nodiscard]] ir::Expr examples_of(ir::Expr all, std::int64_t first, std::int64_t count);

/// The type of one example: without the batch axis.
[[nodiscard]] TensorType example_type(const TensorType& type);

/// Product of the extents, exact up to 2^53, without overflow.
[[nodiscard]] double size_of(const Shape& shape);

/// The state while a program is built: what is read after an update is the new value.
struct StateValues {
  std::vector<ParameterSpec> parameters;   // by first use
  std::vector<CarriedSpec> carried;        // likewise
  std::map<std::string, ir::Expr> values;  // as they stand
  std::set<std::string> taken;             // by layers of this run
};

/// One of several evaluations of layers within a training step. Each has its own random numbers.
struct Run {
  std::int64_t index = 0;
  std::int64_t count = 1;     // in a step
  std::int64_t first = 0;     // of the step's examples
  std::int64_t examples = 0;  // the run's batch
};

/// The same as random ops in this run see it: no two runs of a training have the same "step".
[[nodiscard]] ir::Expr random_counter(ir::Graph& graph, const std::string& name, const Run& run);

/// A program that is given one position of its sequences of tokens after another, and other
/// sequences whole.
struct Decoding {
  std::string token;       // the input
  ir::Expr position;       // i64[]: from 0, below `positions`
  std::int64_t positions;  // of the sequences that the model is trained with
  std::int64_t count = 1;  // of positions that a run is given; more than one: the first ones
  bool bounded = false;    // some layer has no more positions than these
};

/// What a program is for: layers may differ in training, and where nothing is to be learned or
/// judged.
enum class Purpose : std::uint8_t {
  training,
  evaluation,  // losses and metrics, as in training where they are of what a layer draws
  prediction,  // outputs for what is given
};

/// What a layer builds with.
struct LayerBuilder {
  ir::Graph& graph;
  const Settings& settings;
  std::string path;   // of its random numbers
  std::string owner;  // of its parameters
  bool shared;        // they may be another layer's
  SourceLocation where;
  Purpose purpose;
  std::int64_t batch;
  std::vector<LayerInput> inputs;
  Streams& streams;
  StateValues& state;
  const Run& run;
  std::int64_t carried_batch = 0;  // examples whose state is carried from batch to batch
  Decoding* decoding = nullptr;    // null: only whole sequences
  bool differentiated = false;     // a layer takes gradients with respect to values

  [[nodiscard]] bool training() const { return purpose == Purpose::training; }
  /// The first input.
  [[nodiscard]] ir::Expr x() const { return inputs.at(0).value; }
  /// State `<owner>/<name>`, initialised as setting `<name>_initializer` says. Throws LayerError
  /// when it is too large, or shared and of another type.
  ir::Expr parameter(const std::string& name, Shape shape, double l1 = 0, double l2 = 0);
  /// As parameter, for a state that is not trained.
  ir::Expr statistic(const std::string& name, Shape shape);
  /// In training: the statistic's next value.
  void update(const std::string& name, ir::Expr value);
  /// State `<path>/<name>` that the layer carries from batch to batch: [batch, ...] of `example`, 0
  /// at first. Throws LayerError when the batch has more examples than are carried.
  ir::Expr carried(const std::string& name, const Shape& example);
  /// What the next batch finds there.
  void carry(const std::string& name, ir::Expr value);
  /// How many positions a table for the sequences of x [batch, positions, ...] has.
  [[nodiscard]] std::int64_t positions_of(ir::Expr x);
  /// The rows of `table`, [positions, width], for the positions that x has.
  [[nodiscard]] ir::Expr at_positions(ir::Expr table) const;
  /// The counters of random ops.
  [[nodiscard]] ir::Expr seed() const;
  [[nodiscard]] ir::Expr step() const;
  /// f(x), of an f that gives of every row of x a row (ir::map_rows). Where values of the model are
  /// differentiated with respect to, all that depends on x reads x.
  [[nodiscard]] ir::Expr map_rows(ir::Expr x, const std::function<ir::Expr(ir::Expr)>& f) const;
  /// Applies the activation that setting `name` chooses.
  [[nodiscard]] ir::Expr activate(ir::Expr value, std::string_view name) const;
};

/// What a layer does with a sequence of which it is given one position after another.
enum class Decodes : std::uint8_t {
  no,           // it needs positions that are yet to come, or does not keep those that were
  elements,     // the same: every element alone
  features,     // the same: every position alone, by its last axis
  by_position,  // its own form, which looks at LayerBuilder::decoding
};

struct Layer {
  std::string name;
  std::string doc;
  int least_inputs;
  int most_inputs;  // -1: any number
  std::vector<Option> options;
  /// Throws LayerError, or TypeError from the graph.
  ir::Expr (*build)(LayerBuilder& b);
  /// An instance: the layer's JSON object and the types of its inputs for one example. The
  /// reference shows it, the tests run it.
  std::string example;
  std::vector<std::string> example_inputs;
  Decodes decodes = Decodes::no;
  bool by_example = true;       // makes something of every example alone
  bool differentiates = false;  // with respect to an input
};
[[nodiscard]] std::span<const Layer> layers();
/// Null when there is none of that name.
[[nodiscard]] const Layer* find_layer(std::string_view name);

/// The options of the layer {"op": name, ...}: the op's attributes. A shape or limit may say
/// "batch"; a stream has a default.
[[nodiscard]] std::vector<Option> op_options(const ir::OpRecord& op);
/// The op on the layer's inputs, batch axis included. Throws LayerError, or TypeError.
[[nodiscard]] ir::Expr build_op(LayerBuilder& b, const ir::OpRecord& op);

}  // namespace gradus::frontend
