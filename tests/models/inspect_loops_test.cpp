// What `gradus inspect` shows of loops, and of the programs of generation.

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "ir/text.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

class InspectLoops : public Program {
 protected:
  [[nodiscard]] std::string stage(const std::string& options) const {
    const Outcome outcome = gradus("inspect " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return outcome.output;
  }
};

constexpr const char* kLstm = "models/char_lstm.json";

/// The bodies of loops, as text.
std::vector<std::string> bodies_of(const std::string& graph) {
  std::vector<std::string> bodies;
  const std::string begin = "{body = graph";
  for (auto at = graph.find(begin); at != graph.npos; at = graph.find(begin, at + 1)) {
    bodies.push_back(graph.substr(at, graph.find("\n}", at) - at));
  }
  return bodies;
}

TEST_F(InspectLoops, APassShowsWhatItDidInBodies) {
  const std::string gru = "models/gru_rows.json";
  const std::string before = stage(gru + " --stage fold");
  const std::string after = stage(gru + " --stage simplify");
  ASSERT_EQ(bodies_of(before).size(), 2u);  // forward and backward
  ASSERT_EQ(bodies_of(after).size(), 2u);
  EXPECT_NE(bodies_of(before), bodies_of(after));
  // What a stage shows of a body is a part of a text that can be read back.
  EXPECT_EQ(to_text(ir::parse_graph(after)), after);
  const std::string diff = stage(gru + " --diff fold simplify");
  EXPECT_TRUE(std::regex_search(diff, std::regex("\n-  %\\d+ = "))) << diff;
  EXPECT_EQ(stage(gru + " --diff step step"), "");
}

/// A pass that is left out is left out of bodies.
TEST_F(InspectLoops, PassesAreLeftOutOfBodies) {
  const std::string file = (folder_ / "gru.ir").string();
  const Outcome graph = gradus("inspect models/gru_rows.json --stage graph > " + file);
  ASSERT_EQ(graph.status, 0);
  const Outcome all = gradus("opt " + file + " --pipeline");
  EXPECT_EQ(bodies_of(all.output), bodies_of(stage("models/gru_rows.json --stage step")));
  const Outcome some = gradus("opt " + file + " --pipeline --disable simplify,simplify_again");
  ASSERT_EQ(bodies_of(some.output).size(), 2u) << some.output;
  EXPECT_NE(bodies_of(some.output), bodies_of(all.output));
}

TEST_F(InspectLoops, FusionShowsTheGroupsOfBodies) {
  const std::string text = stage(std::string(kLstm) + " --stage fusion");
  EXPECT_TRUE(std::regex_search(
      text, std::regex("group (\\d+): roots %\\d+:scan\n(.*\n){3}  train_step_\\1_scan, 64 times\n"
                       "    group 0: roots ")))
      << text;
  const std::string dot = stage(std::string(kLstm) + " --stage fusion --dot");
  EXPECT_TRUE(std::regex_search(
      dot, std::regex("subgraph \"cluster \\d+.\" \\{\n(.*\n)*?\"\\d+\\.\\d+\"\\[.*fillcolor")))
      << dot.substr(0, 2000);
}

/// The kernels of a body are named and placed like others, with how often they run.
TEST_F(InspectLoops, KernelsOfBodiesAreKernels) {
  const auto json =
      nlohmann::json::parse(stage(std::string(kLstm) + " --stage kernels --threads 1 --json"));
  std::set<std::string> names;
  int contractions = 0;
  for (const auto& kernel : json["kernels"]) {
    const auto name = kernel["name"].get<std::string>();
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(std::regex_match(name, std::regex("train_step_.*"))) << name;
    EXPECT_TRUE(kernel["from"].get<std::string>().starts_with("models/char_lstm.json:")) << kernel;
    EXPECT_EQ(name.find("_scan_save_"), std::string::npos) << "loops stack old values themselves";
    const bool inside = kernel["iterations"] == 64;
    EXPECT_TRUE(inside || kernel["iterations"] == 1) << kernel;
    EXPECT_TRUE(!inside || std::regex_match(name, std::regex("train_step_\\d+_scan_.*"))) << name;
    if (inside && kernel["stages"][0]["stage"] == "contract") {
      ++contractions;
      EXPECT_EQ(stage(std::string(kLstm) + " --stage kernels --kernel " + name).find("# 1 task"),
                std::string::npos);
    }
  }
  EXPECT_EQ(contractions, 2);  // h times the recurrent weights, and back
  EXPECT_NE(stage(std::string(kLstm) + " --stage kernels").find("# 64 times\n"), std::string::npos);
}

/// Generation's programs are programs like others.
TEST_F(InspectLoops, ProgramsOfGenerationHaveStages) {
  for (const std::string program : {"decode", "encode"}) {
    const std::string options = "models/transformer_reverse.json --program " + program + " ";
    const std::string graph = stage(options + "--stage graph");
    EXPECT_TRUE(graph.starts_with("graph \"" + program + "\"")) << graph;
    EXPECT_EQ(graph.find("scalar \"position\"") != graph.npos, program == "decode");
    EXPECT_NE(graph.find("\"encode/0\""), graph.npos);
    EXPECT_NE(stage(options + "--stage simplify"), graph);
    EXPECT_TRUE(stage(options + "--stage fusion").starts_with("group 0: roots "));
    EXPECT_NE(stage(options + "--stage kernels").find("kernel \"" + program + "_0_"),
              std::string::npos);
    EXPECT_TRUE(stage(options + "--stage memory").starts_with("weights"));
  }
  const Outcome none = gradus("inspect models/gpt_small.json --program encode --stage graph");
  EXPECT_EQ(none.status, 3);
  EXPECT_NE(none.output.find("error[E0214]: no program 'encode'"), none.output.npos);
  const Outcome no_tokens = gradus("inspect models/lenet5.json --program decode --stage graph");
  EXPECT_EQ(no_tokens.status, 3);
  EXPECT_NE(no_tokens.output.find("error[E0214]"), no_tokens.output.npos);
}

}  // namespace
}  // namespace gradus
