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

class Memory : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    std::ofstream(folder_ / "model.json") << kModel;
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
};

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

TEST_F(Memory, ALimitChangesNoBit) {
  for (const std::string fusion : {"", "--no-fuse"}) {
    std::vector<std::string> options{"--threads", "1"};
    if (!fusion.empty()) options.push_back(fusion);
    const Training free = train(options);
    ASSERT_EQ(free.status, 0);
    const auto total = free.memory["total"].get<std::int64_t>();
    for (int threads = 1; threads <= 3; ++threads) {
      const std::int64_t limit = total * (threads == 1 ? 90 : 78) / 100;
      options = {"--threads", std::to_string(threads), "--memory", std::to_string(limit)};
      if (!fusion.empty()) options.push_back(fusion);
      const Training limited = train(options);
      ASSERT_EQ(limited.status, 0) << fusion << " within " << limit << " of " << total;
      EXPECT_LE(limited.memory["total"].get<std::int64_t>(), limit);
      EXPECT_EQ(limited.weights, free.weights) << fusion << " within " << limit;
    }
  }
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
