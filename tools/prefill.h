#pragma once

#include <cstdint>

#include "ir/graph.h"

namespace gradus::tools {

/// Whether reading `count` tokens in one run saves more than it takes to compile the program for
/// it. `graph` reads one token of every sequence. The answer follows from the graph alone, so that
/// the bits of what is generated depend on no machine.
[[nodiscard]] bool is_prefill_worthwhile(const ir::Graph& graph, std::int64_t count);

}  // namespace gradus::tools
