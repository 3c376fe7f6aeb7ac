#include <fmt/format.h>

#include <cmath>

#include "frontend/layer_families.h"
#include "ir/compositions/attention.h"
#include "ir/compositions/indexing.h"

namespace gradus::frontend {
namespace {

using ir::Expr;

/// What the layer attends with: queries of the first input, keys and values of the second one (the
/// first where there is none), and the mask that setting "mask" promises as the last.
struct Sources {
  Expr query;
  Expr memory;
  std::optional<Expr> keys;
  bool given_whole = false;  // the memory, when decoding
};

Sources sources_of(const LayerBuilder& b) {
  const std::size_t masks = b.settings.boolean("mask") ? 1 : 0;
  const std::size_t sequences = b.inputs.size() - masks;
  if (b.inputs.size() <= masks || sequences > 2) {
    throw LayerError(fmt::format("reads one or two sequences{}, found {} inputs",
                                 masks == 1 ? " and a mask" : "", b.inputs.size()),
                     masks == 0 ? "a mask needs \"mask\": true" : "");
  }
  for (std::size_t i = 0; i < sequences; ++i) {
    const Expr x = b.inputs[i].value;
    if (x.element() == ElementType::f32 && x.rank() == 3) continue;
    throw LayerError("needs f32 [positions, features] per example, but " + b.inputs[i].describe());
  }
  Sources sources{b.inputs[0].value, b.inputs[sequences - 1].value, std::nullopt,
                  !b.inputs[sequences - 1].by_position};
  if (masks == 0) return sources;
  const Expr mask = b.inputs.back().value;
  if (b.decoding != nullptr && b.inputs.back().by_position == sources.given_whole) {
    throw LayerError("has a mask that is none of the sequence that it attends to");
  }
  if (mask.shape() != Shape{b.batch, sources.memory.shape()[1]}) {
    throw LayerError(fmt::format("needs a mask of {} positions, but {}", sources.memory.shape()[1],
                                 b.inputs.back().describe()));
  }
  sources.keys = mask.element() == ElementType::boolean
                     ? mask
                     : ir::map("not_equal", mask, ir::full_like(mask, 0));
  return sources;
}

/// x · `name`_kernel + `name`_bias as [batch, positions, heads, width].
Expr project(LayerBuilder& b, Expr x, const std::string& name, std::int64_t heads,
             std::int64_t width) {
  const Expr kernel = b.parameter(name + "_kernel", {x.shape()[2], heads * width});
  const Expr y = b.map_rows(x, [&](Expr rows) {
    const std::int64_t last = rows.rank() - 1;
    const Expr product = ir::dot(rows, kernel, {{}, {}, {last}, {0}});
    if (!b.settings.boolean("use_bias")) return product;
    const Expr bias = b.parameter(name + "_bias", {heads * width});
    return product + ir::broadcast(bias, product.shape(), {last});
  });
  return ir::reshape(y, {x.shape()[0], x.shape()[1], heads, width});
}

std::function<Expr(Expr)> weight_dropout(LayerBuilder& b) {
  const double rate = b.settings.number("dropout");
  const std::int64_t stream = b.streams.of(b.path + "/mask", b.where);
  if (!b.training() || rate == 0) return {};
  return [&b, rate, stream](Expr weights) {
    return drop_elements(b, weights, rate, stream, all_axes(weights));
  };
}

/// Of one position the layer knows only those before it, and the whole of another sequence.
void need_past(const LayerBuilder& b, const Sources& sources) {
  if (b.decoding == nullptr || sources.given_whole) return;
  if (!b.inputs[0].by_position || !b.settings.boolean("causal")) {
    throw LayerError("attends to positions yet to come");
  }
}

/// i64: where a value of `shape` stands along its axis 1, which is that of positions.
Expr positions_along(const LayerBuilder& b, const Shape& shape) {
  return ir::iota(b.graph, ElementType::i64, shape, 1);
}

/// All positions so far of x [batch, count, heads, width], at their places in [batch, positions,
/// heads, width].
Expr remember(LayerBuilder& b, const std::string& name, Expr x) {
  Shape shape = x.shape();
  shape[1] = b.positions_of(x);
  const Expr before = b.carried(name, {shape.begin() + 1, shape.end()});
  if (const std::int64_t count = b.decoding->count; count > 1) {
    Shape start(shape.size(), 0);
    start[1] = count;
    const Expr parts[] = {x, ir::slice(before, start, shape, Shape(shape.size(), 1))};
    const Expr all = count == shape[1] ? x : ir::concat(parts, 1);
    b.carry(name, all);
    return all;
  }
  const Expr here = ir::map("equal", positions_along(b, shape), b.decoding->position);
  const Expr row = ir::reshape(x, {shape[0], shape[2], shape[3]});
  const Expr all = ir::select(here, ir::broadcast(row, shape, {0, 2, 3}), before);
  b.carry(name, all);
  return all;
}

/// The same for a mask, bool [batch, count].
Expr remember_mask(LayerBuilder& b, Expr mask) {
  const Expr number =
      ir::reshape(ir::cast(mask, ElementType::f32), {mask.shape()[0], mask.shape()[1], 1, 1});
  const Expr all = remember(b, "mask", number);
  const Expr flat = ir::reshape(all, {mask.shape()[0], all.shape()[1]});
  return ir::map("not_equal", flat, ir::full_like(flat, 0));
}

/// Which of the keys the position that is decoded attends to.
std::optional<Expr> keys_so_far(const LayerBuilder& b, std::int64_t count,
                                const ir::AttentionOptions& options) {
  if (!options.causal) return options.keys;
  const Expr past =
      ir::map("less_equal", positions_along(b, {b.batch, count}), b.decoding->position);
  return options.keys ? ir::map("and", past, *options.keys) : past;
}

/// Keeps keys, values and mask for the positions to come. A run that is given one position attends
/// to all that are kept; one that is given the first ones, to these.
void attend_to_the_past(LayerBuilder& b, const Sources& sources, Expr& key, Expr& value,
                        ir::AttentionOptions& options) {
  const bool one = b.decoding->count == 1;
  if (!sources.given_whole) {
    const Expr keys = remember(b, "keys", key);
    const Expr values = remember(b, "values", value);
    const auto mask = options.keys ? std::optional(remember_mask(b, *options.keys)) : std::nullopt;
    if (one) {
      key = keys;
      value = values;
      options.keys = mask;
    }
  }
  if (!one) return;
  options.keys = keys_so_far(b, key.shape()[1], options);
  options.causal = false;
}

Expr multi_head_attention(LayerBuilder& b) {
  const Sources sources = sources_of(b);
  need_past(b, sources);
  const std::int64_t heads = b.settings.integer("num_heads");
  const std::int64_t width = b.settings.integer("key_dim");
  const std::int64_t value_dim = b.settings.integer("value_dim");
  const std::int64_t value_width = value_dim == 0 ? width : value_dim;
  const std::int64_t kv_heads = b.settings.integer("kv_heads");
  const std::int64_t groups = kv_heads == 0 ? heads : kv_heads;
  if (heads % groups != 0) {
    throw LayerError(fmt::format("has {} heads, which {} kv_heads do not divide", heads, groups));
  }
  Expr query = project(b, sources.query, "query", heads, width);
  Expr key = project(b, sources.memory, "key", groups, width);
  Expr value = project(b, sources.memory, "value", groups, value_width);
  if (b.settings.boolean("rotary")) {
    const double base = b.settings.number("rotary_base");
    const auto rotated = [&](Expr x, bool whole) {
      const std::int64_t positions = whole ? x.shape()[1] : b.positions_of(x);
      const ir::Rotation all = ir::rotation(b.graph, positions, width, base);
      if (whole) return ir::rotate_positions(x, all);
      return ir::rotate_positions(x, {b.at_positions(all.sines), b.at_positions(all.cosines)});
    };
    query = rotated(query, false);
    key = rotated(key, sources.given_whole);
  }
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  ir::AttentionOptions options{scale, b.settings.boolean("causal"), sources.keys,
                               weight_dropout(b)};
  if (b.decoding != nullptr) attend_to_the_past(b, sources, key, value, options);
  const Expr taken = ir::scaled_dot_product_attention(query, key, value, options);
  const Shape& shape = sources.query.shape();
  const Expr joined = ir::reshape(taken, {shape[0], shape[1], heads * value_width});
  const std::int64_t features = b.settings.integer("output_dim");
  const Expr y = project(b, joined, "output", 1, features == 0 ? shape[2] : features);
  return ir::reshape(y, {shape[0], shape[1], y.shape()[3]});
}

std::vector<Option> attention_options() {
  std::vector<Option> options{
      integer_option("num_heads", {}, "Heads.", {1, 1e6}),
      integer_option("key_dim", {}, "Features of a head's queries and keys.", {1, 1e9}),
      integer_option("value_dim", std::int64_t{0}, "Features of a head's values; 0: key_dim.",
                     {0, 1e9}),
      integer_option("kv_heads", std::int64_t{0},
                     "Heads of keys and values, each for as many neighbouring heads; 0: num_heads.",
                     {0, 1e6}),
      integer_option("output_dim", std::int64_t{0},
                     "Features of the result; 0: those of the queries' input.", {0, 1e9}),
      boolean_option("causal", false, "Whether a position sees only itself and those before it."),
      boolean_option("mask", false,
                     "Whether the last input says of every key whether it is there (not 0). A "
                     "query that sees none takes 0 of the values."),
      boolean_option("rotary", false, "Whether positions turn queries and keys (Su et al. 2021)."),
      number_option("rotary_base", 10000.0, "Position p turns pair i by p / base^(2 i / key_dim).",
                    {1, 1e12}),
      number_option("dropout", 0.0, "Share of the weights that become 0 in training.",
                    {0, 1, true}),
      boolean_option("use_bias", true, "Whether the four products have a bias.")};
  for (const char* part : {"query", "key", "value", "output"}) {
    options.push_back(initializer_option(std::string(part) + "_kernel", "glorot_uniform"));
    options.push_back(initializer_option(std::string(part) + "_bias", "zeros"));
  }
  return options;
}

}  // namespace

std::vector<Layer> attention_layers() {
  return {{"multi_head_attention",
           "Every position takes values of others by the softmax of query · key / sqrt(key_dim), "
           "in several heads whose results one product brings together (Vaswani et al. 2017). "
           "From one sequence, or queries from the first and keys and values from the second.",
           1,
           3,
           attention_options(),
           multi_head_attention,
           R"({"layer": "multi_head_attention", "num_heads": 2, "key_dim": 4, "causal": true})",
           {"f32[5,6]"},
           Decodes::by_position}};
}

}  // namespace gradus::frontend
