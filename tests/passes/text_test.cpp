// Passes in text: tests/text/<pass>/<case>.ir holds a graph, a line `---`, and the graph after the
// pass. GRADUS_UPDATE=1 writes what the passes give now.

#include "ir/text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/diagnostic.h"
#include "ir/expr.h"
#include "ir/interpret.h"
#include "ir/rewrite.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/pipeline.h"
#include "tests/support/random_graph.h"

namespace gradus::passes {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(GRADUS_SOURCE_DIR) / "tests/text";
constexpr std::string_view kSeparator = "---\n";

/// The gradients of output "loss" with respect to every state as outputs "d <name>"; bodies of
/// loops have no such output and stay as they are.
ir::Graph differentiate(const ir::Graph& graph) {
  ir::Graph result = ir::copy(graph);
  const auto loss = std::ranges::find(result.results(), "loss", &ir::Result::name);
  if (loss == result.results().end()) return result;
  std::vector<ir::Expr> states;
  for (ir::NodeId id : result.inputs()) {
    const ir::Attributes& attributes = result.node(id).attributes;
    if (attributes.get<std::string>("kind") == "state") states.push_back({&result, {id, 0}});
  }
  const std::vector<ir::Expr> found = gradients({&result, loss->value}, states);
  for (std::size_t i = 0; i < states.size(); ++i) {
    const ir::Attributes& attributes = result.node(states[i].value.node).attributes;
    result.add_result("d " + attributes.get<std::string>("name"), found[i].value);
  }
  return ir::copy(result);
}

const Pass kDifferentiate{"differentiate", "Gradients of the output loss.", differentiate};

/// The pass that a folder of kFolder tests; null when it is no folder of a pass.
const Pass* pass_of(const std::string& folder) {
  return folder == kDifferentiate.name ? &kDifferentiate : find_pass(folder);
}

/// The cases of every pass, as paths below kFolder.
std::vector<std::string> cases() {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(kFolder)) {
    const std::string folder = entry.path().parent_path().filename().string();
    if (entry.path().extension() != ".ir" || !pass_of(folder)) continue;
    found.push_back(fs::relative(entry.path(), kFolder).string());
  }
  std::ranges::sort(found);
  return found;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// What the graphs have in common has the same bits, whatever the inputs.
void expect_same_results(const ir::Graph& before, const ir::Graph& after) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto values = seed == 0 ? support::InputValues::ordinary : support::InputValues::special;
    const auto inputs = support::random_inputs(before, seed, values);
    const ir::Interpretation expected = ir::interpret(before, inputs);
    const ir::Interpretation found = ir::interpret(after, inputs);
    for (const auto& [name, value] : expected.outputs) {
      EXPECT_TRUE(support::equal_bits(value, found.outputs.at(name))) << name << ", seed " << seed;
    }
    EXPECT_EQ(expected.fault.kind, found.fault.kind);
  }
}

class PassText : public testing::TestWithParam<std::string> {};

TEST_P(PassText, GivesTheGraphBelow) {
  const fs::path path = kFolder / GetParam();
  const std::string text = read(path);
  const std::size_t separator = text.find("\n" + std::string(kSeparator));
  ASSERT_NE(separator, text.npos) << path << " has no line ---";
  const std::string input = text.substr(0, separator + 1);
  const std::string expected = text.substr(separator + 1 + kSeparator.size());
  const Pass& pass = *pass_of(path.parent_path().filename().string());
  const ir::Graph before = ir::parse_graph(input, path.string());
  const ir::Graph after = run_passes(before, {&pass, 1});
  const std::string found = to_text(after);
  if (std::getenv("GRADUS_UPDATE") != nullptr) {
    std::ofstream(path) << input << kSeparator << found;
  } else {
    EXPECT_EQ(found, expected) << "to accept: GRADUS_UPDATE=1 " << path;
  }
  EXPECT_EQ(to_text(run_passes(after, {&pass, pass.name == kDifferentiate.name ? 0u : 1u})), found)
      << "a second run changes more";
  expect_same_results(before, after);
}

INSTANTIATE_TEST_SUITE_P(All, PassText, testing::ValuesIn(cases()), [](const auto& test) {
  std::string name = test.param.substr(0, test.param.size() - 3);
  std::ranges::replace(name, '/', '_');
  return name;
});

TEST(PassTexts, EveryPassHasOne) {
  for (const Pass& pass : pipeline()) {
    const bool tested = std::ranges::any_of(cases(), [&](const std::string& path) {
      return pass_of(fs::path(path).parent_path().string())->run == pass.run;
    });
    EXPECT_TRUE(tested) << pass.name;
    EXPECT_FALSE(pass.doc.empty()) << pass.name;
  }
}

}  // namespace
}  // namespace gradus::passes
