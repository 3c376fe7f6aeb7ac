#pragma once

// Blocks of layers: defined once, used by name with their own numbers, repeated. A module is a
// block whose uses share their parameters.

#include <map>
#include <string>
#include <vector>

#include "frontend/json.h"
#include "frontend/reader.h"

namespace gradus::frontend {

/// A layer as it stands in the file after blocks and expressions are gone. Inside a block names are
/// those of the instance, "stage1/2/conv", and inputs are written out.
struct ExpandedLayer {
  Json json;
  std::string name;               // its own, or by kind: dense, dense_1, ...
  std::string owner;              // the name that its parameters have
  bool shared = false;            // inside a module: with the layers of the same owner
  bool named = false;             // in the file
  bool time_distributed = false;  // as a use that it stands in says
  BlockUses uses;
};

struct ExpandedModel {
  std::vector<ExpandedLayer> layers;
  std::map<std::string, std::string> uses;  // of blocks and modules: the name -> its last layer
};

/// Replaces {"block": name, parameter: value, ..., "repeat": n} by the block's layers and every
/// "=..." by its value. `blocks` is the object of definitions or null:
/// {"residual": {"parameters": {"filters": 64}, "layers": [...]}}. In a block "input" names what
/// the instance reads, which its first layer reads unless it says otherwise; its last layer is its
/// result, and the instance's name stands for it. What a block reads beside that it declares,
/// {"decoder": {"inputs": "memory", "layers": [...]}}, and the use gives it by that name, {"block":
/// "decoder", "memory": "encoder", "repeat": 6}: repetitions read each other's result as "input"
/// and all the same memory. `modules` is an object of definitions without parameters, {"critic":
/// {"layers": [...]}}, used by {"module": name}: its layers have the names of the use, as in a
/// block, and the parameters of the module, "critic/dense". `first_input` is what the first layer
/// reads; none when it has to say. Reports E0210 (a block that is unknown, empty or inside itself,
/// or repeated out of range, or whose input has the name of another key), E0212 (the same of a
/// module), E0211 (an expression), E0208 (a layer with the name of an input), and what
/// ObjectReader reports.
[[nodiscard]] ExpandedModel expand_blocks(const Json::Array& layers, const Json* blocks,
                                          const Json* modules, const std::string& first_input,
                                          Findings& findings);

}  // namespace gradus::frontend
