#include <gtest/gtest.h>

#include "base/check.h"
#include "ir/graph_structure.h"
#include "ir/op.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "passes/pipeline.h"

namespace gradus::passes {
namespace {

constexpr const char* kText = R"(graph "g"
%0 = batch "x" : f32[2]
%1 = neg %0 : f32[2]
%2 = neg %1 : f32[2]
"y" = %2
)";

ir::Graph drop_negations(const ir::Graph& graph) {
  return ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<ir::Expr> {
    return c.operands.empty() ? std::nullopt : std::optional(c.operands[0]);
  });
}
/// Breaks a law: the last node has an attribute that its op does not know.
ir::Graph break_law(const ir::Graph& graph) {
  ir::Graph result = ir::copy(graph);
  auto& structure = const_cast<ir::GraphStructure&>(result.structure()).graph;
  structure[static_cast<ir::NodeId>(result.size() - 1)].attributes.set("surplus", true);
  return result;
}

ir::Graph fail_inside(const ir::Graph& graph) {
  ir::Graph result = ir::copy(graph);
  (void)ir::reshape({&result, {0, 0}}, {3});
  return result;
}

ir::Graph drop_one_negation(const ir::Graph& graph) {
  return ir::rewrite(graph, [](const ir::RewriteContext& c) -> std::optional<ir::Expr> {
    return c.node.op->name == "neg" ? std::optional(c.operands[0]) : std::nullopt;
  });
}

constexpr Pass kKeep{"keep", "Changes nothing.", ir::copy};
constexpr Pass kDrop{"drop", "Drops negations.", drop_negations};

TEST(PassRunner, ReportsWhatHappened) {
  const ir::Graph graph = ir::parse_graph(kText);
  const Pass passes[] = {kKeep, kDrop, kDrop};
  std::vector<std::string> seen;
  PipelineOptions options;
  options.after = [&](const PassReport& report, const ir::Graph& after) {
    seen.push_back(std::to_string(report.number) + std::string(report.name) +
                   (report.changed ? " changed " : " kept ") + std::to_string(after.size()));
    EXPECT_GE(report.seconds, 0);
    EXPECT_EQ(ir::parse_graph(to_text(after)).hash(), after.hash());
  };
  const ir::Graph result = run_passes(graph, passes, options);
  EXPECT_EQ(seen, (std::vector<std::string>{"1keep kept 3", "2drop changed 1", "3drop kept 1"}));
  EXPECT_EQ(to_text(result), "graph \"g\"\n%0 = batch \"x\" : f32[2]\n\"y\" = %0\n");
  EXPECT_EQ(to_text(graph), kText);  // what came in stays
}

TEST(PassRunner, LeavesOutWhatIsDisabled) {
  const Pass passes[] = {kKeep, kDrop};
  std::vector<int> numbers;
  PipelineOptions options;
  options.disabled = {"drop"};
  options.after = [&](const PassReport& report, const ir::Graph&) {
    numbers.push_back(report.number);
  };
  EXPECT_EQ(to_text(run_passes(ir::parse_graph(kText), passes, options)), kText);
  EXPECT_EQ(numbers, std::vector<int>{1});
  options.disabled = {"keep"};
  (void)run_passes(ir::parse_graph(kText), passes, options);
  EXPECT_EQ(numbers, (std::vector<int>{1, 2}));
}

constexpr const char* kLoop = R"(graph "g"
%0 = batch "h" : f32[2]
%1 = scan %0 {body = graph "body" {
  %0 = state "c0" : f32[2]
  %1 = scan %0 {body = graph "inner" {
    %0 = state "c0" : f32[2]
    %1 = neg %0 : f32[2]
    "c0" <- %1
  }, length = 3} : f32[2]
  "c0" <- %1
}, length = 5} : f32[2]
"y" = %1
)";

/// A pass, what it is not to do and who looks on concern the graphs inside of a graph as well, even
/// where the pass has nothing to do around them.
TEST(PassRunner, RunsOnGraphsInside) {
  const ir::Graph graph = ir::parse_graph(kLoop);
  const Pass pass{"drop", "Drops negations.", drop_one_negation, false, {"neg"}};
  std::string seen;
  PipelineOptions options;
  options.after = [&](const PassReport& report, const ir::Graph& after) {
    EXPECT_TRUE(report.changed);
    seen = to_text(after);
  };
  const std::string text = to_text(run_passes(graph, {&pass, 1}, options));
  EXPECT_EQ(text.find("neg"), text.npos) << text;
  EXPECT_NE(text.find("    \"c0\" <- %0\n"), text.npos) << text;
  EXPECT_EQ(seen, text);
  options.disabled = {"drop"};
  EXPECT_EQ(to_text(run_passes(graph, {&pass, 1}, options)), kLoop);
}

std::string failure_of(const Pass& pass) {
  const Pass passes[] = {kKeep, pass};
  try {
    (void)run_passes(ir::parse_graph(kText), passes);
  } catch (const InternalError& error) {
    return error.what();
  }
  return "none";
}

TEST(PassRunner, NamesThePassThatBreaksALaw) {
  EXPECT_EQ(failure_of({"broken", "Breaks a law.", break_law}),
            "after pass broken: node %2 (neg) of graph g: attributes are not those of the schema");
  EXPECT_TRUE(
      failure_of({"failing", "Fails.", fail_inside}).starts_with("in pass failing: cannot"));
}

/// A scan in the body of another has to be written out before.
TEST(PassRunner, LoopsInLoopsAreNotLowered) {
  const ir::Graph graph = ir::parse_graph(R"(graph "g"
%0 = batch "h" : f32[2]
%1 = scan %0 {body = graph "body" {
  %0 = state "c0" : f32[2]
  %1 = scan %0 {body = graph "inner" {
    %0 = state "c0" : f32[2]
    %1 = tanh %0
    "c0" <- %1
  }, length = 3}
  "c0" <- %1
}, length = 5}
"y" = %1
)");
  PipelineOptions options;
  EXPECT_NO_THROW((void)run_pipeline(graph, options));
  options.disabled = {"unroll_inner_scans"};
  EXPECT_THROW((void)run_pipeline(graph, options), InternalError);
}

TEST(PassRunner, PassesKnowTheOpsThatTheyWaitFor) {
  for (const Pass& pass : pipeline()) {
    for (std::string_view name : pass.only) {
      EXPECT_TRUE(name.empty() || ir::find_op(name) != nullptr) << pass.name << ": " << name;
    }
  }
}

TEST(PassRunner, FindsPassesByTheirUniqueNames) {
  for (const Pass& pass : pipeline()) EXPECT_EQ(find_pass(pass.name), &pass);
  EXPECT_EQ(find_pass("no such pass"), nullptr);
}

}  // namespace
}  // namespace gradus::passes
