#pragma once

// All accesses of a stage.

#include <variant>

#include "base/overloaded.h"
#include "codegen/kernel.h"

namespace gradus::codegen {

/// Calls `visit` with every access of the stage: reads, stores and accumulations.
template <typename Visit>
void each_access(Stage& stage, const Visit& visit) {
  const auto body = [&](Body& of) {
    for (Load& load : of.loads) visit(load.access);
  };
  std::visit(overloaded{[&](Loop& loop) {
                          body(loop.body);
                          for (Store& store : loop.stores) visit(store.target);
                          for (Accumulate& sink : loop.accumulates) visit(sink.target);
                        },
                        [&](Contract& contract) {
                          visit(contract.lhs);
                          visit(contract.rhs);
                          body(contract.epilogue);
                          for (Store& store : contract.stores) visit(store.target);
                        }},
             stage);
}

}  // namespace gradus::codegen
