// What a plan says about memory, and what a run takes; plans within a limit give the same bits.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/models/program.h"

namespace gradus {
namespace {

using Json = nlohmann::json;

/// Convolutions, batch normalisation, a residual and dropout on digits that the program draws.
constexpr const char* kModel = R"({
  "gradus": 1,
  "name": "memory",
  "data": { "source": "digits", "examples": 512, "test_examples": 1 },
  "model": {
    "inputs": { "image": "f32[28,28]", "label": "i32[]" },
    "layers": [
      { "layer": "reshape", "from": "image", "shape": [28, 28, 1] },
      { "layer": "conv2d", "filters": 16, "kernel": 3, "padding": "same", "name": "conv1" },
      { "layer": "batch_norm" },
      { "layer": "activation", "function": "relu", "name": "first" },
      { "layer": "conv2d", "filters": 16, "kernel": 3, "padding": "same" },
      { "layer": "batch_norm" },
      { "layer": "activation", "function": "tanh" },
      { "layer": "conv2d", "filters": 16, "kernel": 3, "padding": "same", "name": "branch" },
      { "layer": "add", "from": ["branch", "first"] },
      { "layer": "dropout", "rate": 0.1 },
      { "layer": "max_pool2d" },
      { "layer": "flatten" },
      { "layer": "dense", "units": 10, "name": "logits" }
    ]
  },
  "loss": { "function": "sparse_categorical_cross_entropy", "logits": "logits", "labels": "label" },
  "optimizer": { "method": "adam", "learning_rate": 0.001 },
  "training": { "steps": 3, "batch": 32, "seed": 1 }
})";

/// The model with one more convolution beside the residual: its input can be computed again also
/// where nothing is kept for gradients.
std::string deep_model() {
  const std::string next = R"({ "layer": "conv2d", "filters": 16, "kernel": 3, "padding": "same" },
      )";
  std::string text = kModel;
  return text.insert(text.rfind("{", text.find("branch")), next);
}

class Memory : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    std::ofstream(folder_ / "model.json") << kModel;
    std::ofstream(folder_ / "deep.json") << deep_model();
  }

  struct Training {
    Json memory;          // the event
    std::string weights;  // the file
    std::int64_t greatest_resident = 0;
    int status = -1;
  };

  /// Trains in a process of its own, without a shell: what that has taken is asked for.
  Training train(std::vector<std::string> options) const {
    const std::string log = (folder_ / "log").string();
    std::vector<std::string> words = {
        GRADUS_PROGRAM, "train",     (folder_ / "model.json").string(), "-o", folder_ / "run",
        "--json",       "--no-cache"};
    words.insert(words.end(), options.begin(), options.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(file, STDOUT_FILENO);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    Training result;
    rusage usage{};
    int status = 0;
    wait4(child, &status, 0, &usage);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    result.greatest_resident = usage.ru_maxrss * 1024;
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      const Json event = Json::parse(line, nullptr, false);
      if (event.is_object() && event.value("event", "") == "memory") result.memory = event;
    }
    result.weights = contents(folder_ / "run/weights.safetensors");
    return result;
  }

  /// What a line of the shell prints, which must succeed.
  std::string printed(const std::string& line) const {
    const Outcome outcome = run_shell(folder_, line);
    EXPECT_EQ(outcome.status, 0) << line << "\n" << outcome.output;
    return outcome.output;
  }
  /// The bytes that a program of the deep model takes on one thread.
  std::int64_t total_of(const std::string& program, const std::string& options = "") const {
    const std::string table = printed("gradus inspect deep.json --stage memory --threads 1 " +
                                      options + " --program " + program);
    return std::stoll(table.substr(table.find("total") + 5));
  }
};

/// One head of attention over so many positions, trained.
std::string attention_model(std::int64_t positions) {
  const std::string type = "f32[" + std::to_string(positions) + ",64]";
  return R"({"gradus": 1, "data": {"source": "tensors", "file": "x.safetensors"},
    "model": {"inputs": {"x": ")" +
         type + R"(", "y": ")" + type + R"("}, "layers": [
      {"layer": "multi_head_attention", "from": "x", "num_heads": 1, "key_dim": 64, "name": "a"}]},
    "loss": {"function": "mean_squared_error", "predictions": "a", "targets": "y"},
    "optimizer": {"method": "sgd"}, "training": {"steps": 1, "batch": 1}})";
}

/// Sanitizers have memory of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanMeasure = false;
#else
constexpr bool kCanMeasure = true;
#endif

TEST_F(Memory, ARunTakesWhatThePlanSays) {
  if (!kCanMeasure) GTEST_SKIP() << "a sanitizer takes memory of its own";
  for (const char* limit : {"4G", "320M"}) {
    const Training run =
        train({"--set", "training.batch=1024", "--set", "training.steps=1", "--set",
               "data.examples=1024", "--threads", "2", "--memory", limit});
    ASSERT_EQ(run.status, 0);
    const auto total = run.memory["total"].get<double>();
    const auto process = run.memory["process"].get<double>();
    EXPECT_GE(run.memory["activations"].get<double>(), 200e6);
    EXPECT_NEAR(static_cast<double>(run.greatest_resident) - process, total, 0.03 * total)
        << run.memory;
    EXPECT_LE(run.memory["activations"].get<double>(), 1.1 * run.memory["alive"].get<double>());
  }
}

TEST_F(Memory, AttentionKeepsNoScores) {
  std::int64_t before = 0;
  for (const std::int64_t positions : {1024, 2048, 4096, 8192}) {
    std::ofstream(folder_ / "attention.json") << attention_model(positions);
    const std::string table =
        printed("gradus inspect attention.json --stage memory --threads 2 --program train_step");
    const std::int64_t total = std::stoll(table.substr(table.find("total") + 5));
    if (before > 0) {
      EXPECT_LE(total, before * 21 / 10) << positions;
    }
    before = total;
  }
  EXPECT_LT(before, 8192LL * 8192 * 4 / 4);
}

TEST_F(Memory, ALimitChangesNoBit) {
  for (const std::string fusion : {"", "--no-fuse"}) {
    const auto with_threads = [&](int threads) {
      std::vector<std::string> options{"--threads", std::to_string(threads)};
      if (!fusion.empty()) options.push_back(fusion);
      return options;
    };
    for (int threads = 1; threads <= 3; ++threads) {
      std::vector<std::string> options = with_threads(threads);
      const Training free = train(options);
      ASSERT_EQ(free.status, 0);
      const auto total = free.memory["total"].get<std::int64_t>();
      const std::int64_t limit = total * (threads == 1 ? 90 : 78) / 100;
      options.insert(options.end(), {"--memory", std::to_string(limit)});
      const Training limited = train(options);
      ASSERT_EQ(limited.status, 0) << fusion << " within " << limit << " of " << total;
      EXPECT_LE(limited.memory["total"].get<std::int64_t>(), limit);
      EXPECT_EQ(limited.weights, free.weights) << fusion << " within " << limit;
    }
  }
}

TEST_F(Memory, ALimitChangesNoBitOfWhatAModelPredicts) {
  (void)printed("gradus train deep.json --threads 1 2> /dev/null");
  for (const std::string program : {"evaluate", "predict"}) {
    const std::string files = " deep.json --threads 1 --set data.test_examples=70 ";
    const std::string run = "gradus " + program + files + (program == "predict" ? "-o p" : "") +
                            " --weights run/weights.safetensors";
    const std::string limited = run + " --memory " + std::to_string(total_of(program) * 80 / 100);
    const std::string kernels = "gradus inspect" + files + "--stage kernels --program " + program;
    ASSERT_NE(printed(kernels), printed(kernels + limited.substr(limited.find(" --memory"))))
        << "the limit is no limit";
    const std::string values = printed(run);
    const std::string outputs = contents(folder_ / "p");
    EXPECT_NE(values, "");
    EXPECT_EQ(printed(limited), values);
    EXPECT_EQ(contents(folder_ / "p"), outputs);
    EXPECT_EQ(run_shell(folder_, run + " --memory 1M").status, 5);
  }
}

/// Calls everything and prints what it gave, and how much memory was asked for at the start.
constexpr const char* kCaller = R"(#include <stdio.h>
#include <stdlib.h>
#include "model.h"

static size_t allocated;
int __real_posix_memalign(void** memory, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void** memory, size_t alignment, size_t bytes) {
  allocated += bytes;
  return __real_posix_memalign(memory, alignment, bytes);
}

static m_state state;
static float image[32 * 28 * 28], loss, logits[32 * 10];
static int32_t label[32];

int main(void) {
  m_context* context;
  int status = m_open(&context, 1) + m_init(context, &state, 1);
  for (int step = 0; step < 3; ++step) {
    for (int i = 0; i < 32 * 28 * 28; ++i) image[i] = (float)(i * 7919 % 1009 + step) / 1009.0f;
    for (int i = 0; i < 32; ++i) label[i] = i * 7 % 10;
    status += m_step(context, &state, 32, image, label, &loss);
  }
  status += m_predict(context, &state, 32, image, logits);
  fwrite(&state, 1, sizeof state, stdout);
  fwrite(logits, 1, sizeof logits, stdout);
  fprintf(stderr, "%zu", allocated + sizeof state);
  return status;
}
)";

TEST_F(Memory, ALimitChangesNoBitOfAnArtefact) {
  std::ofstream(folder_ / "main.c") << kCaller;
  const auto compile = [&](const std::string& options) {
    return run_shell(folder_,
                     "gradus compile deep.json -o model.o --name m --threads 1 " + options);
  };
  const auto call = [&] {
    const Outcome outcome = run_shell(
        folder_,
        "cc -std=c11 -O1 main.c model.o -Wl,--wrap=posix_memalign -lm -lpthread -o main && "
        "./main 2>&1 > output");
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return std::stoll(outcome.output);
  };
  for (const std::string fusion : {"", "--no-fuse "}) {
    ASSERT_EQ(compile(fusion).status, 0);
    const std::int64_t free = call();
    const std::string output = contents(folder_ / "output");
    const std::int64_t limit = total_of("train_step", fusion) * 80 / 100;
    const Outcome limited =
        compile(fusion + "--isa x86-64,native --memory " + std::to_string(limit));
    ASSERT_EQ(limited.status, 0) << limited.output;
    constexpr std::int64_t kOfTheDriver = 1 << 16;
    EXPECT_GT(free, limit + kOfTheDriver) << "the limit is no limit";
    EXPECT_LE(call(), limit + kOfTheDriver);
    EXPECT_EQ(contents(folder_ / "output"), output);
  }
  const Outcome refused = compile("--memory 8M");
  EXPECT_EQ(refused.status, 5) << refused.output;
}

TEST_F(Memory, TheLargestBatchFitsAndTheNextDoesNot) {
  const std::string train_it =
      "gradus train model.json --set training.steps=1 --threads 1 "
      "--memory 12M --set training.batch=";
  const Outcome refused = run_shell(folder_, train_it + "512");
  EXPECT_EQ(refused.status, 5);
  const std::string before = "the largest batch that fits is ";
  const std::size_t at = refused.output.find(before);
  ASSERT_NE(at, std::string::npos) << refused.output;
  const int batch = std::stoi(refused.output.substr(at + before.size()));
  EXPECT_EQ(run_shell(folder_, train_it + std::to_string(batch)).status, 0);
  EXPECT_EQ(run_shell(folder_, train_it + std::to_string(batch + 1)).status, 5);
}

}  // namespace
}  // namespace gradus
