#pragma once

#include <array>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace gradus::passes {

/// A pass is one function from graph to graph; what it may do says its header.
struct Pass {
  std::string_view name;
  std::string_view doc;
  ir::Graph (*run)(const ir::Graph& graph);
  bool needed = false;                        // fusion needs the form that it brings about
  std::array<std::string_view, 2> only = {};  // without these ops there is nothing for it to do
};

/// Every pass in the order in which a program goes through them: the one list.
[[nodiscard]] std::span<const Pass> pipeline();
/// The pass of that name; null when there is none.
[[nodiscard]] const Pass* find_pass(std::string_view name);

/// What the runner saw of one pass.
struct PassReport {
  int number = 0;  // from 1, disabled passes counted: the same pass keeps its number
  std::string_view name;
  double seconds = 0;
  bool changed = false;  // by the structural hash
};

struct PipelineOptions {
  std::set<std::string, std::less<>> disabled;
  std::function<void(const PassReport&, const ir::Graph&)> after;  // may be empty
};

/// Runs the passes, each on the graphs inside of a graph - bodies of scans - before the graph
/// itself, and verifies the graph after each that changed it; a broken law, or an error inside a
/// pass, is an InternalError that names the pass. The graph that `after` sees, and the last, have
/// no dead nodes but inputs. `disabled` names that are no pass of the list change nothing.
[[nodiscard]] ir::Graph run_passes(const ir::Graph& graph, std::span<const Pass> passes,
                                   const PipelineOptions& options = {});
[[nodiscard]] ir::Graph run_pipeline(const ir::Graph& graph, const PipelineOptions& options = {});

}  // namespace gradus::passes
