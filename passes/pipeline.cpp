#include "passes/pipeline.h"

#include <algorithm>
#include <chrono>

#include "ir/rewrite.h"
#include "ir/verify.h"
#include "passes/lower.h"
#include "passes/simplify.h"

namespace gradus::passes {
namespace {

constexpr Pass kPipeline[] = {
    {"drop_stop_gradients", "Leaves out stop_gradient once differentiation is done.",
     drop_stop_gradients},
    {"simplify", "Exact algebraic rewrites and constant folding.", simplify},
    {"expand_small_contractions", "Contractions with few results become sums of products.",
     expand_small_contractions},
    {"canonicalize_contractions", "Every contraction gets one batch, m, n and k axis.",
     canonicalize_contractions},
    {"split_sums", "Sums of several blocks become block sums and their combination.", split_sums},
    {"simplify_again", "Exact algebraic rewrites of what lowering brought.", simplify},
};

}  // namespace

std::span<const Pass> pipeline() { return kPipeline; }

const Pass* find_pass(std::string_view name) {
  const auto at = std::ranges::find(kPipeline, name, &Pass::name);
  return at == std::end(kPipeline) ? nullptr : at;
}

ir::Graph run_passes(const ir::Graph& graph, std::span<const Pass> passes,
                     const PipelineOptions& options) {
  ir::Graph current = ir::copy(graph);
  std::uint64_t hash = current.hash();
  for (const Pass& pass : passes) {
    if (options.disabled.contains(pass.name)) continue;
    const auto start = std::chrono::steady_clock::now();
    ir::Graph next = pass.run(current);
    PassReport report{pass.name, 0, next.hash() != hash};
    report.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (report.changed) ir::verify(next, std::string("after pass ") + std::string(pass.name));
    hash = next.hash();
    current = std::move(next);
    if (options.after) options.after(report, current);
  }
  return current;
}

ir::Graph run_pipeline(const ir::Graph& graph, const PipelineOptions& options) {
  return run_passes(graph, pipeline(), options);
}

}  // namespace gradus::passes
