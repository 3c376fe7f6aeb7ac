#include "passes/pipeline.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/stopwatch.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/verify.h"
#include "passes/copy_scans.h"
#include "passes/fold.h"
#include "passes/lower.h"
#include "passes/lower_convolutions.h"
#include "passes/lower_indexing.h"
#include "passes/lower_scans.h"
#include "passes/merge_scans.h"
#include "passes/read_padded.h"
#include "passes/repeat_contractions.h"
#include "passes/simplify.h"
#include "passes/sink_reshapes.h"
#include "passes/turn_contractions.h"
#include "passes/unroll_scans.h"

namespace gradus::passes {
namespace {

constexpr Pass kPipeline[] = {
    {"drop_stop_gradients",
     "Leaves out stop_gradient once differentiation is done.",
     drop_stop_gradients,
     true,
     {"stop_gradient"}},
    {"merge_scans",
     "Scans that carry the same values along become one.",
     merge_scans,
     false,
     {"scan"}},
    {"narrow_scans", "Scans lose the results that nobody needs.", narrow_scans, false, {"scan"}},
    {"unroll_inner_scans",
     "Scans in the bodies of scans are written out.",
     unroll_inner_scans,
     true,
     {"scan"}},
    {"fold", "What depends on constants only becomes a constant.", fold},
    {"simplify", "Algebraic rewrites that keep every bit.", simplify},
    {"lower_convolutions",
     "Convolutions become contractions over windows.",
     lower_convolutions,
     true,
     {"conv"}},
    {"lower_indexing",
     "Positions in order become counts of the elements before each.",
     lower_indexing,
     true,
     {"arg_sort", "cumulative_sum"}},
    {"expand_small_contractions", "Contractions with few results become sums of products.",
     expand_small_contractions, true},
    {"canonicalize_contractions",
     "Contractions get one axis for rows, columns and products each, or read windows in place.",
     canonicalize_contractions, true},
    {"sink_reshapes",
     "What elementwise ops make of reshaped products, and is moved then, has the product's shape.",
     sink_reshapes,
     false,
     {"dot"}},
    {"repeat_contractions",
     "Large results of short sums are made again where they are needed much later.",
     repeat_contractions},
    {"turn_contractions",
     "Matrices that are made again are made with rows and columns exchanged for who needs columns.",
     turn_contractions},
    {"split_contractions", "Long contractions with few results become parts and their combination.",
     split_contractions},
    {"split_sums", "Sums of several blocks become block sums and their combination.", split_sums,
     true},
    {"simplify_again", "Algebraic rewrites of what lowering brought.", simplify},
    {"read_padded",
     "Values that are in memory with zeros around them are read from there.",
     read_padded,
     false,
     {"pad"}},
    {"lower_scans",
     "Positions in loops become slices, constants of bodies invariants.",
     lower_scans,
     true,
     {"scan", "result_of"}},
};

/// Runs one pass; what it breaks on the way names it.
ir::Graph run(const Pass& pass, const ir::Graph& graph) {
  const auto fail = [&](const std::exception& error) -> ir::Graph {
    throw InternalError("in pass " + std::string(pass.name) + ": " + error.what());
  };
  try {
    return pass.run(graph);
  } catch (const InternalError& error) {
    return fail(error);
  } catch (const ir::TypeError& error) {
    return fail(error);
  }
}

bool has_work(const Pass& pass, const ir::Graph& graph) {
  if (pass.only[0].empty()) return true;
  for (ir::NodeId id = 0; id < graph.size(); ++id) {
    if (std::ranges::find(pass.only, graph.node(id).op->name) != pass.only.end()) return true;
  }
  return false;
}

/// The graph without what a rule tried and did not use. Passes leave that behind anyway.
ir::Graph without_dead(ir::Graph graph) {
  std::vector<bool> kept = graph.live();
  for (ir::NodeId id : graph.inputs()) kept[id] = true;
  if (std::ranges::find(kept, false) == kept.end()) return graph;
  return ir::copy(graph);
}

/// A graph that a pass has changed.
struct Changed {
  ir::Graph graph;
  std::uint64_t hash;
};

/// What the pass makes of a graph of that hash, after the graphs inside of it; nothing where it
/// changes nothing.
std::optional<Changed> changed_by(const Pass& pass, const ir::Graph& graph, std::uint64_t hash) {
  std::optional<ir::Graph> current =
      with_bodies(graph, [&](const ir::Graph& body) -> std::optional<ir::Graph> {
        std::optional<Changed> changed = changed_by(pass, body, body.hash());
        return changed ? std::optional(without_dead(std::move(changed->graph))) : std::nullopt;
      });
  const ir::Graph& before = current ? *current : graph;
  if (has_work(pass, before)) current = run(pass, before);
  if (!current) return std::nullopt;
  const std::uint64_t now = current->hash();
  if (now == hash) return std::nullopt;
  return Changed{std::move(*current), now};
}

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

const Pass* find_pass(std::string_view name) {
  const auto at = std::ranges::find(kPipeline, name, &Pass::name);
  return at == std::end(kPipeline) ? nullptr : at;
}

ir::Graph run_passes(const ir::Graph& graph, std::span<const Pass> passes,
                     const PipelineOptions& options) {
  std::optional<ir::Graph> current;  // once something has changed
  std::uint64_t hash = graph.hash();
  int number = 0;
  for (const Pass& pass : passes) {
    ++number;
    if (options.disabled.contains(pass.name)) continue;
    PassReport report{number, pass.name};
    const Stopwatch watch;
    std::optional<Changed> changed = changed_by(pass, current ? *current : graph, hash);
    report.seconds = watch.seconds();
    report.changed = changed.has_value();
    if (changed) {
      ir::verify(changed->graph, std::string("after pass ") + std::string(pass.name));
      hash = changed->hash;
      current = std::move(changed->graph);
    }
    if (options.after) {
      current = current ? without_dead(std::move(*current)) : ir::copy(graph);
      options.after(report, *current);
    }
  }
  return current ? without_dead(std::move(*current)) : ir::copy(graph);
}

ir::Graph run_pipeline(const ir::Graph& graph, const PipelineOptions& options) {
  return run_passes(graph, pipeline(), options);
}

}  // namespace gradus::passes
