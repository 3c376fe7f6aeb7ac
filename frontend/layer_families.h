#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "frontend/layers.h"

namespace gradus::frontend {

// One function per file of layers; the registry (layers.cpp) puts them in a row.
std::vector<Layer> basic_layers();
std::vector<Layer> convolution_layers();
std::vector<Layer> pooling_layers();
std::vector<Layer> resizing_layers();
std::vector<Layer> normalisation_layers();
std::vector<Layer> random_layers();
std::vector<Layer> augmentation_layers();
std::vector<Layer> sequence_layers();
std::vector<Layer> attention_layers();
std::vector<Layer> recurrent_layers();

// What several families share.

inline constexpr Range kNonNegative{0, 1e9};

/// Throws LayerError unless the input, or every input, is f32.
void need_floats(const LayerInput& input);
void need_floats(const LayerBuilder& b);
/// Throws LayerError unless the first input is of integers.
void need_indices(const LayerBuilder& b);
/// Throws LayerError unless an example has an axis.
void need_axis(const LayerBuilder& b);
/// Throws LayerError unless an example has `spatial` axes and one of channels.
void need_image(const LayerBuilder& b, std::int64_t spatial);
/// Throws LayerError unless an example of the first input is f32 [positions, features].
void need_sequence(const LayerBuilder& b);

[[nodiscard]] ir::Integers all_axes(ir::Expr x);
/// Random numbers by op, of a stream that the layer has for this role.
ir::Expr draw(const LayerBuilder& b, std::string_view op, const Shape& shape,
              const std::string& role);
/// x with 0 in place of a share `rate` of its elements, chosen along `axes` (all others alike), and
/// the others divided by 1 - rate.
ir::Expr drop_elements(const LayerBuilder& b, ir::Expr x, double rate, std::int64_t stream,
                       const ir::Integers& axes);

/// The table of the embedding of that name, in place of `parameter`. Throws LayerError unless it is
/// there and of `shape`, and when the layer has another initializer than the default or penalties.
ir::Expr embedding_table(const LayerBuilder& b, const std::string& embedding, const Shape& shape,
                         const std::string& parameter, std::string_view initializer);

/// Of kernels, unless the layer says otherwise.
inline constexpr const char* kKernelInitializer = "glorot_uniform";

std::vector<Alternative> activation_alternatives();
/// "activation", by default linear.
Option activation_option();
/// "<parameter>_initializer", by default `name`.
Option initializer_option(const std::string& parameter, const std::string& name);
/// `lists` one after another.
std::vector<Option> joined(std::initializer_list<std::vector<Option>> lists);
/// What layers with weights take: an activation, the bias, the initializers of parameters `kernels`
/// and of the bias, penalties.
std::vector<Option> weight_options(const std::vector<std::string>& kernels = {"kernel"});
/// Parameter `name` with the penalties of settings "l1" and "l2".
ir::Expr weights(LayerBuilder& b, const std::string& name, const Shape& shape);
/// x plus parameter "bias" along the last axis, if setting "use_bias" says so, then the activation.
ir::Expr add_bias_and_activate(LayerBuilder& b, ir::Expr x);

/// How windows meet the borders, of setting "padding": "valid" (none), "same" (as many outputs as
/// ceil(places / stride), the odd place behind), or a number of places on either side.
struct Padding {
  std::int64_t low = 0;
  std::int64_t high = 0;
};
Option padding_option();
Padding padding_of(const LayerBuilder& b, std::int64_t places, std::int64_t reach,
                   std::int64_t stride);

}  // namespace gradus::frontend
