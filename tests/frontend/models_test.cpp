// Every file of models/ and every layer of the registry builds programs that the verifier accepts.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "frontend/model.h"
#include "ir/verify.h"

namespace gradus::frontend {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<fs::path> model_files() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(GRADUS_SOURCE_DIR) / "models")) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(Models, BuildAndVerify) {
  ASSERT_GE(model_files().size(), 6u);
  for (const fs::path& path : model_files()) {
    SCOPED_TRACE(path.filename().string());
    const Model model(path.filename().string(), read(path));
    for (std::int64_t batch : {1, 3}) {
      verify(model.train_step(batch), "train_step");
      verify(model.evaluate(batch), "evaluate");
      verify(model.predict(batch), "predict");
    }
    const ir::Graph init = model.init();
    verify(init, "init");
    EXPECT_EQ(init.results().size(), model.state().size());
    for (const StateSpec& entry : model.state()) {
      EXPECT_TRUE(std::ranges::any_of(init.results(), [&](const ir::Result& result) {
        return result.update && result.name == entry.name && init.type(result.value) == entry.type;
      })) << entry.name;
    }
  }
}

TEST(Models, EveryNodeKnowsItsPlace) {
  for (const fs::path& path : model_files()) {
    const Model model(path.filename().string(), read(path));
    const ir::Graph graph = model.train_step(2);
    const std::vector<bool> live = graph.live();
    for (ir::NodeId id = 0; id < graph.size(); ++id) {
      if (!live[id]) continue;
      ASSERT_FALSE(graph.node(id).provenance.empty()) << path << " node " << id;
      for (const ir::ProvenanceEntry& entry : graph.node(id).provenance.entries()) {
        EXPECT_EQ(entry.origin->where.file, path.filename().string());
        EXPECT_GT(entry.origin->where.line, 0u);
        EXPECT_FALSE(entry.origin->layer.empty());
      }
    }
  }
}

/// "40, 18": the lines of the uses of the blocks that a layer stands in.
std::set<std::string> lines_of_uses(const ir::Graph& graph, const std::string& layer) {
  std::set<std::string> all;
  for (ir::NodeId id = 0; id < graph.size(); ++id) {
    for (const ir::ProvenanceEntry& entry : graph.node(id).provenance.entries()) {
      if (entry.origin->layer != layer) continue;
      std::string lines;
      for (const SourceLocation& use : entry.origin->uses) {
        EXPECT_EQ(use.file, entry.origin->where.file);
        lines += (lines.empty() ? "" : ", ") + std::to_string(use.line);
      }
      all.insert(lines);
    }
  }
  return all;
}

/// The number of the line with `text`.
std::string line_with(const std::string& source, const std::string& text) {
  const auto end = source.begin() + static_cast<std::ptrdiff_t>(source.find(text));
  EXPECT_NE(end, source.end()) << text;
  return std::to_string(1 + std::count(source.begin(), end, '\n'));
}

TEST(Models, NodesOfABlockKnowWhereItIsUsed) {
  const std::string source = read(fs::path(GRADUS_SOURCE_DIR) / "models/resnet20.json");
  const ir::Graph graph = Model("resnet20.json", source).train_step(2);
  using Lines = std::set<std::string>;
  EXPECT_EQ(lines_of_uses(graph, "stem/conv2d"), Lines{line_with(source, "\"name\": \"stem\"")});
  const std::string shortcut = line_with(source, "\"name\": \"shortcut\"");
  for (const std::string stage : {"stage2", "stage3"}) {
    EXPECT_EQ(lines_of_uses(graph, stage + "/shortcut/batch_norm"),
              Lines{line_with(source, "\"name\": \"" + stage + "\"") + ", " + shortcut});
  }
  EXPECT_EQ(lines_of_uses(graph, "logits"), Lines{""});
}

TEST(Models, ResolvedFilesReadAsThemselves) {
  for (const fs::path& path : model_files()) {
    const Model model("model.json", read(path));
    const Model again("model.json", model.resolved());
    EXPECT_EQ(again.resolved(), model.resolved()) << path;
    EXPECT_EQ(again.train_step(2).hash(), model.train_step(2).hash());
    EXPECT_EQ(again.init().hash(), model.init().hash());
  }
}

}  // namespace
}  // namespace gradus::frontend
