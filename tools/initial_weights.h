#pragma once

#include <span>
#include <string>

#include "frontend/model.h"
#include "runtime/data/vocabulary.h"

namespace gradus::tools {

/// Throws UserError E1005 when the weights belong to data with another vocabulary.
void check_vocabulary(const std::string& weights, const runtime::Vocabulary& data);

/// What a training starts from: a file of weights, or those of some modules, blocks and layers in
/// it. Throws UserError E1005 when the model has nothing of such a name, and as check_vocabulary
/// does where something of them depends on the vocabulary.
void check_initial_weights(const frontend::Model& model, const std::string& weights,
                           std::span<const std::string> of, const runtime::Vocabulary& data);

}  // namespace gradus::tools
