// What the commands say and write. tests/golden/commands/<code>_<what>.sh is a line of mistakes as
// a user makes them, run in a folder that has models/; the .txt beside it is the exit code and what
// the user reads. With GRADUS_UPDATE=1 in the environment the texts are written instead of
// compared.

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

#include "base/error_codes.h"
#include "codegen/target.h"
#include "runtime/data/source.h"
#include "runtime/file.h"
#include "tests/models/program.h"

namespace gradus {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = GRADUS_SOURCE_DIR;

std::vector<fs::path> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

/// Sanitizers reserve more address space than a limit leaves.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanLimitMemory = false;
#else
constexpr bool kCanLimitMemory = true;
#endif

TEST_F(Program, SaysWhatIsWrong) {
  const bool update = std::getenv("GRADUS_UPDATE") != nullptr;
  for (fs::path path : files_in(kSource / "tests/golden/commands", ".sh")) {
    SCOPED_TRACE(path.filename().string());
    if (!kCanLimitMemory && path.filename().string().starts_with("E5001")) continue;
    const fs::path folder = folder_ / path.stem();
    fs::create_directory(folder);
    fs::copy(kSource / "models", folder / "models");
    const Outcome outcome = run_shell(folder, "sh '" + path.string() + "'");
    const std::string found = "exit " + std::to_string(outcome.status) + "\n" + outcome.output;
    const std::string code = path.filename().string().substr(0, 5);
    EXPECT_NE(found.find("error[" + code + "]"), std::string::npos) << found;
    const auto error_class = static_cast<int>(error_code(code).error_class);
    EXPECT_EQ(outcome.status, error_class);
    path.replace_extension(".txt");
    if (update) {
      std::ofstream(path, std::ios::binary) << found;
    } else {
      EXPECT_EQ(found, contents(path));
    }
  }
}

template <typename Action>
std::string code_of(const Action& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.diagnostics().at(0).code;
  }
  return "no error";
}

/// Mistakes that the program cannot make: the model's language rules them out, or a file changes
/// while it is read.
const std::set<std::string> kOfTheLibrary = {"E1007", "E4002"};

TEST_F(Program, LibrariesSayWhatIsWrong) {
  EXPECT_EQ(code_of([] { (void)runtime::load_data(runtime::LinearData{.noise = -1}); }), "E1007");
  const fs::path path = folder_ / "file";
  std::ofstream(path) << "sixteen bytes...";
  const runtime::InputFile file(path.string());
  fs::resize_file(path, 4);
  std::array<std::byte, 16> bytes;
  EXPECT_EQ(code_of([&] { file.read(0, bytes); }), "E4002");
}

TEST(Commands, EveryErrorCodeHasACase) {
  std::set<std::string> cases = kOfTheLibrary;
  const auto add = [&](const fs::path& folder, const std::string& extension) {
    for (const fs::path& path : files_in(folder, extension)) {
      cases.insert(path.filename().string().substr(0, 5));
    }
  };
  add(kSource / "tests/golden", ".json");
  add(kSource / "tests/golden", ".ir");
  add(kSource / "tests/golden/commands", ".sh");
  // Can be seen only where the processor lacks something.
  cases.insert("E2001");
  for (const ErrorCode& code : error_codes()) {
    EXPECT_TRUE(cases.contains(std::string(code.code))) << code.code << " " << code.title;
  }
}

TEST_F(Program, RefusesInstructionsThatTheProcessorLacks) {
  for (codegen::InstructionSet set : codegen::kInstructionSets) {
    const Outcome outcome = gradus("inspect models/spirals_mlp.json --stage memory --isa " +
                                   std::string(to_string(set)));
    if (codegen::host_supports(set)) {
      EXPECT_EQ(outcome.status, 0) << outcome.output;
    } else {
      EXPECT_EQ(outcome.status, 2) << outcome.output;
      EXPECT_NE(outcome.output.find("error[E2001]"), std::string::npos) << outcome.output;
    }
  }
}

std::vector<std::string> subcommands(const std::string& help) {
  std::vector<std::string> names;
  const std::string list = help.substr(help.find("Subcommands:"));
  const std::regex entry(R"(\n  (\w+) )");
  for (auto at = std::sregex_iterator(list.begin(), list.end(), entry);
       at != std::sregex_iterator(); ++at) {
    names.push_back((*at)[1]);
  }
  return names;
}

TEST_F(Program, EveryCommandExplainsItselfAndSpeaksJson) {
  const std::vector<std::string> names = subcommands(gradus("--help").output);
  EXPECT_GE(names.size(), 9u);
  for (const std::string& name : names) {
    const Outcome help = gradus(name + " --help");
    EXPECT_EQ(help.status, 0);
    EXPECT_NE(help.output.find("Example: gradus " + name), std::string::npos) << help.output;
    EXPECT_NE(help.output.find("--json"), std::string::npos) << name;
    EXPECT_NE(contents(kSource / "README.md").find("gradus " + name), std::string::npos)
        << name << " is not in the README";
  }
}

TEST_F(Program, JsonIsVersionedObjects) {
  const std::string model = "models/linear_regression.json";
  const std::string run = (folder_ / "run").string();
  const std::string weights = " --weights " + run + "/weights.safetensors";
  std::ofstream(folder_ / "text") << std::string(200, 'a') << std::string(200, 'b');
  const std::string lstm = "models/char_lstm.json --set data.file=" + (folder_ / "text").string() +
                           " --set training.epochs=null --set training.steps=1";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"train", model + " --set training.steps=3 -o " + run},  // first: others need its weights
      {"evaluate", model + weights},
      {"predict", model + weights + " -o " + run + "/predictions.safetensors"},
      {"train", lstm + " -o " + run + "/text"},
      {"generate", lstm + " --prompt ab --length 3 --weights " + run + "/text/weights.safetensors"},
      {"compile", model + " --batch 4 -o " + run + "/line.o"},
      {"inspect", model},
      {"inspect", model + " --stage step"},
      {"opt", "--list"},
      {"bench", model + " --seconds 0.01"},
      {"bench", model + " --seconds 0.01 --fused-only --init " + run + "/weights.safetensors"},
      {"gradcheck", model},
      {"explain", ""},
      {"explain", "E3001"},
      {"docs", "errors"},
      {"cache", "stat"},
      {"doctor", "--threads 1"},
  };
  std::set<std::string> tested;
  for (const auto& [command, arguments] : cases) {
    SCOPED_TRACE(command + " " + arguments);
    tested.insert(command);
    const std::string line = "gradus " + command + " " + arguments + " --json 2> /dev/null";
    const Outcome outcome = run_shell(GRADUS_SOURCE_DIR, line);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_FALSE(outcome.output.empty());
    std::istringstream lines(outcome.output);
    for (std::string text; std::getline(lines, text);) {
      const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
      ASSERT_TRUE(json.is_object()) << text;
      EXPECT_EQ(json.begin().key(), "version") << text;
      EXPECT_EQ(json["version"], 1) << text;
    }
  }
  const std::vector<std::string> names = subcommands(gradus("--help").output);
  EXPECT_EQ(tested, std::set<std::string>(names.begin(), names.end()));
}

/// docs/reference/ is written with GRADUS_UPDATE=1 in the environment.
TEST_F(Program, TheReferenceIsUpToDate) {
  for (const std::string page : {"layers", "ops", "functions", "errors"}) {
    const fs::path path = kSource / "docs/reference" / (page + ".md");
    const std::string text = gradus("docs " + page).output;
    if (std::getenv("GRADUS_UPDATE") != nullptr) std::ofstream(path) << text;
    EXPECT_EQ(text, contents(path)) << page;
  }
}

TEST_F(Program, GraphsAndKernelsAreReadBack) {
  for (const fs::path& model : files_in(kSource / "models", ".json")) {
    for (const std::string stage : {"graph", "fold", "step", "kernels"}) {
      const std::string file = (folder_ / (model.stem().string() + "." + stage)).string();
      const std::string inspect =
          "gradus inspect models/" + model.filename().string() + " --stage " + stage;
      const std::string passes = stage == "kernels" ? "" : " --passes drop_stop_gradients";
      const Outcome outcome = run_shell(
          kSource, inspect + " > " + file + " && gradus opt " + file + passes + " > " + file + "2");
      EXPECT_EQ(outcome.status, 0) << inspect << "\n" << outcome.output;
      if (stage == "graph") continue;  // the pass changes it
      static const std::regex comment("#[^\n]*\n");
      EXPECT_EQ(std::regex_replace(contents(file), comment, ""), contents(file + "2")) << inspect;
    }
  }
}

/// The text is edited by hand: 2 x + 1 becomes 2 x + 2 x.
TEST_F(Program, EditedTextRuns) {
  const std::string file = (folder_ / "g.ir").string();
  std::ofstream(file) << "graph \"double\"\n%0 = batch \"x\" : f32[5]\n%1 = add %0, %0\n"
                         "%2 = mul %1, %1\n\"y\" = %2\n";
  const Outcome run = gradus("opt " + file + " --run");
  EXPECT_EQ(run.status, 0) << run.output;
  EXPECT_NE(run.output.find("y f32[5]: the same bits"), std::string::npos) << run.output;
  const std::string kernels = (folder_ / "k.kernel").string();
  const Outcome kernel = run_shell(
      kSource, "gradus inspect models/spirals_mlp.json --stage kernels | sed 's/tanh/exp/' > " +
                   kernels + " && gradus opt " + kernels + " --run > " + kernels + "2");
  EXPECT_EQ(kernel.status, 0) << kernel.output;
  EXPECT_NE(contents(kernels + "2").find("call f32 exp"), std::string::npos);
  EXPECT_EQ(kernel.output.find("DIFFERENT"), std::string::npos) << kernel.output;
}

/// Without passes text comes out as it went in; with all of them it is the step.
TEST_F(Program, PassesRunOneByOneOrAllTogether) {
  const auto stage = [&](const std::string& name) {
    return gradus("inspect models/spirals_mlp.json --stage " + name).output;
  };
  const std::string file = (folder_ / "g.ir").string();
  std::ofstream(file) << stage("drop_stop_gradients");
  EXPECT_EQ(gradus("opt " + file).output, stage("drop_stop_gradients"));
  EXPECT_EQ(gradus("opt " + file + " --passes fold").output, stage("fold"));
  EXPECT_EQ(gradus("opt " + file + " --pipeline").output, stage("step"));
  EXPECT_EQ(gradus("opt " + file + " --pipeline -o " + file + "2").output, "");
  EXPECT_EQ(contents(file + "2"), stage("step"));
}

TEST_F(Program, AFaultIsComparedToo) {
  const std::string file = (folder_ / "g.ir").string();
  std::ofstream(file) << "graph \"g\"\n%0 = batch \"x\" : i32[4]\n%1 = sub %0, %0\n"
                         "%2 = div %0, %1\n\"y\" = %2\n";
  const Outcome graph = gradus("opt " + file + " --run -o " + file + "2");
  EXPECT_EQ(graph.status, 0);
  EXPECT_EQ(graph.output, "kind of fault i64[]: the same bits\n");
  const std::string kernels = (folder_ / "k.kernel").string();
  std::ofstream(kernels) << "kernel \"k\" {\n  axes i = 4\n  in x : i32[4]\n  out y : i32[4]\n"
                            "  loop i {\n    load 0 = x[i]\n    operands i32\n"
                            "    %0 = operand i32 0\n    %1 = sub i32 %0, %0\n"
                            "    %2 = div i32 %0, %1\n    return %2\n    faults 7\n"
                            "    store y[i] = %2\n  }\n}\n";
  const Outcome kernel = gradus("opt " + kernels + " --run -o " + kernels + "2");
  EXPECT_EQ(kernel.status, 0);
  EXPECT_EQ(kernel.output, "k y i32[4]: the same bits\nk fault i64[]: the same bits\n");
}

/// The first kernel of the spirals model is tanh(x w + b) of 100 examples: x is 2 wide, y 64.
TEST_F(Program, KernelsSayWhatTheyCost) {
  const std::string arguments =
      "inspect models/spirals_mlp.json --isa x86-64 --kernel train_step_0_tanh --stage ";
  const auto json = nlohmann::ordered_json::parse(gradus(arguments + "kernels --json").output);
  ASSERT_EQ(json["kernels"].size(), 1u);
  const auto& kernel = json["kernels"][0];
  EXPECT_EQ(kernel["name"], "train_step_0_tanh");
  EXPECT_EQ(kernel["from"], "models/spirals_mlp.json:8:18 dense forward");
  EXPECT_EQ(kernel["stages"][0]["stage"], "contract");
  EXPECT_EQ(kernel["bytes_read"], 4 * (100 * 2 + 2 * 64 + 64));
  EXPECT_EQ(kernel["bytes_written"], 4 * 100 * 64);
  EXPECT_GE(kernel["flops"], 2 * 100 * 2 * 64);
  const double bytes = kernel["bytes_read"].get<double>() + kernel["bytes_written"].get<double>();
  const auto& core = json["predicted_for"];
  EXPECT_DOUBLE_EQ(kernel["predicted_seconds"].get<double>(),
                   std::max(bytes / core["bytes"].get<double>(),
                            kernel["flops"].get<double>() / core["flops"].get<double>()));
  const std::string text = gradus(arguments + "kernels").output;
  EXPECT_NE(text.find("# reads 1568 bytes, writes 25600, "), std::string::npos) << text;
  EXPECT_EQ(text.find("kernel \""), text.rfind("kernel \"")) << text;
}

TEST_F(Program, CodeStandsSideBySideUnderTheLinesOfTheModel) {
  for (const char* set : {"x86-64", "x86-64-v3"}) {
    const Outcome outcome = gradus(
        "inspect models/spirals_mlp.json --stage code --kernel train_step_2_block_sum --isa " +
        std::string(set));
    if (outcome.status == 2) continue;  // not available on this machine
    EXPECT_TRUE(outcome.output.starts_with("train_step_2_block_sum from ")) << outcome.output;
    std::set<std::string> places;
    std::istringstream lines(outcome.output);
    int instructions = 0, rows = 0;
    for (std::string line; std::getline(lines, line);) {
      const std::size_t bar = line.find(" |");
      if (bar == line.npos) continue;
      ++rows;
      const std::string right = line.substr(bar + 2);
      if (right.starts_with("   ")) ++instructions;
      if (std::smatch match; std::regex_search(right, match, std::regex("; (.*json:\\d+):"))) {
        places.insert(match[1]);
      }
      EXPECT_EQ(line.find("!dbg"), line.npos) << line;
    }
    EXPECT_TRUE(places.contains("models/spirals_mlp.json:10")) << outcome.output;
    EXPECT_TRUE(places.contains("models/spirals_mlp.json:13")) << outcome.output;
    EXPECT_GT(rows, 100);
    EXPECT_GT(instructions, 100);
  }
}

TEST_F(Program, StagesCompareAndDraw) {
  const Outcome diff = gradus("inspect models/spirals_mlp.json --diff graph drop_stop_gradients");
  EXPECT_EQ(diff.status, 0);
  EXPECT_NE(diff.output.find("--- graph\n+++ drop_stop_gradients\n@@ "), std::string::npos)
      << diff.output;
  EXPECT_NE(diff.output.find(" = stop_gradient"), std::string::npos) << diff.output;
  EXPECT_EQ(gradus("inspect models/spirals_mlp.json --diff step step").output, "");
  // Users of a folded value keep their numbers: what comes is constants.
  std::istringstream lines(
      gradus("inspect models/spirals_mlp.json --diff drop_stop_gradients fold").output);
  int added = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("+%")) continue;
    EXPECT_NE(line.find(" = constant "), std::string::npos) << line;
    ++added;
  }
  EXPECT_GE(added, 1);
  const Outcome dot = gradus("inspect models/spirals_mlp.json --stage fusion --dot");
  EXPECT_EQ(dot.output.find("digraph"), 0u) << dot.output;
  EXPECT_NE(dot.output.find("fillcolor"), std::string::npos);
}

}  // namespace
}  // namespace gradus
