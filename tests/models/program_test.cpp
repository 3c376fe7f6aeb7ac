// The program as a user runs it: the same weights in every way of running, and what it says.

#include "tests/models/program.h"

#include <nlohmann/json.hpp>

namespace gradus {
namespace {

namespace fs = std::filesystem;

class TrainingProgram : public Program {
 protected:
  /// Weights of the digits network after some steps, by the arguments it was trained with.
  std::string digits_weights(const std::string& name, int steps, const std::string& arguments) {
    const Outcome outcome = gradus(
        "train models/digits_mlp.json --set data.examples=1000 --set data.test_examples=0 "
        "--set 'training={\"steps\":" +
        std::to_string(steps) + ",\"batch\":48,\"seed\":5}' -o " + (folder_ / name).string() + " " +
        arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    const std::string weights = contents(folder_ / name / "weights.safetensors");
    EXPECT_FALSE(weights.empty());
    return weights;
  }
};

TEST_F(TrainingProgram, WeightsAreTheSameBitsInEveryWayOfRunning) {
  const std::string expected = digits_weights("reference", 20, "--threads 1");
  for (const char* threads : {"2", "3", "4"}) {
    EXPECT_EQ(digits_weights(threads, 20, std::string("--threads ") + threads), expected)
        << threads;
  }
  EXPECT_EQ(digits_weights("unfused", 20, "--no-fuse"), expected);
  for (const char* set : {"x86-64", "x86-64-v3", "x86-64-v4"}) {
    if (gradus("inspect models/linear_regression.json --stage fusion --isa " + std::string(set))
            .status == 2) {
      continue;  // not available on this machine
    }
    EXPECT_EQ(digits_weights(set, 20, std::string("--isa ") + set), expected) << set;
  }
  (void)digits_weights("resumed", 9, "");
  EXPECT_EQ(digits_weights("resumed", 20, "--resume"), expected);
}

/// Code of an earlier run, whole or damaged, changes the time to compile and nothing else.
TEST_F(TrainingProgram, CachedCodeGivesTheSameBits) {
  setenv("GRADUS_CACHE", (folder_ / "cache").c_str(), 1);
  const std::string cold = digits_weights("cold", 3, "--json");
  const Outcome warm = gradus(
      "train models/digits_mlp.json --json --set data.examples=1000 --set data.test_examples=0 "
      "--set 'training={\"steps\":3,\"batch\":48,\"seed\":5}' -o " +
      (folder_ / "warm").string());
  EXPECT_EQ(warm.output.find("\"cached_modules\":0"), std::string::npos) << warm.output;
  EXPECT_EQ(contents(folder_ / "warm/weights.safetensors"), cold);
  int damaged = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "cache")) {
    if (++damaged % 2 == 0) {
      fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
    } else {
      fs::permissions(entry.path(), fs::perms::all);
    }
  }
  EXPECT_GT(damaged, 1);
  EXPECT_EQ(digits_weights("damaged", 3, ""), cold);
  const Outcome verified = gradus("cache verify");
  EXPECT_NE(verified.output.find("removed      0"), std::string::npos) << verified.output;
  EXPECT_EQ(gradus("cache clear").status, 0);
  EXPECT_TRUE(fs::is_empty(folder_ / "cache"));
  unsetenv("GRADUS_CACHE");
}

TEST_F(TrainingProgram, AFinishedRunResumedSaysSoAndHasItsLoss) {
  const std::string line =
      "train models/linear_regression.json --threads 1 -o " + (folder_ / "line").string();
  const auto end_of = [&](const std::string& options) {
    const Outcome outcome = gradus(line + " --json" + options);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    const std::size_t at = outcome.output.rfind('{', outcome.output.rfind("\"event\":\"end\""));
    return nlohmann::json::parse(outcome.output.substr(at));
  };
  const nlohmann::json whole = end_of("");
  const nlohmann::json again = end_of(" --resume");
  EXPECT_TRUE(whole["loss"].is_number()) << whole;
  for (const char* key : {"steps", "loss", "metrics", "test", "interrupted"}) {
    EXPECT_EQ(again[key], whole[key]) << key;
  }
  const Outcome text = gradus(line + " --resume");
  EXPECT_EQ(text.status, 0);
  const std::string steps = std::to_string(whole["steps"].get<int>());
  EXPECT_NE(text.output.find(steps + " steps, resuming after step " + steps +
                             ": nothing is left to train\n"),
            std::string::npos)
      << text.output;
}

/// Ctrl-C finishes the step and saves; going on gives the bits of a run that was let alone.
TEST_F(TrainingProgram, AnInterruptedRunGoesOn) {
  const std::string arguments =
      "train models/spirals_mlp.json --json --threads 1 --set "
      "'training={\"steps\":50000,\"batch\":100,\"seed\":3}'"
      " -o ";
  const std::string interrupted = (folder_ / "interrupted").string();
  const Outcome stopped = run_shell(
      GRADUS_SOURCE_DIR, "timeout --preserve-status -s INT 1.2 gradus " + arguments + interrupted);
  ASSERT_EQ(stopped.status, 130) << stopped.output;
  EXPECT_NE(stopped.output.find("\"interrupted\":true"), std::string::npos) << stopped.output;
  EXPECT_EQ(gradus(arguments + interrupted + " --resume").status, 0);
  const std::string whole = (folder_ / "whole").string();
  EXPECT_EQ(gradus(arguments + whole).status, 0);
  EXPECT_EQ(contents(interrupted + "/weights.safetensors"),
            contents(whole + "/weights.safetensors"));
}

TEST_F(TrainingProgram, LinearRegressionFindsSlopeAndIntercept) {
  const Outcome outcome =
      gradus("train models/linear_regression.json -o " + (folder_ / "line").string());
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  const auto number_after = [&](const std::string& name) {
    const auto at = outcome.output.find(name + " = ");
    EXPECT_NE(at, std::string::npos) << outcome.output;
    return at == std::string::npos ? 0 : std::stod(outcome.output.substr(at + name.size() + 3));
  };
  EXPECT_NEAR(number_after("line/kernel"), 2, 0.02);
  EXPECT_NEAR(number_after("line/bias"), 1, 0.02);
}

TEST_F(TrainingProgram, ALongRunShowsSomeOfItsEpochsAndTheLast) {
  const Outcome outcome =
      gradus("train models/linear_regression.json --set training.steps=123 -o " +
             (folder_ / "long").string());
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  const auto shown = [&](const std::string& epoch) {
    return outcome.output.find("epoch " + epoch + "  loss ") != std::string::npos;
  };
  EXPECT_TRUE(shown(" 20"));
  EXPECT_TRUE(shown("100"));
  EXPECT_TRUE(shown("123"));
  EXPECT_FALSE(shown("101")) << outcome.output;
}

TEST_F(TrainingProgram, ANetworkReadsDigitsBetterThanALinearModel) {
  const auto accuracy = [&](const std::string& model) {
    const Outcome outcome = gradus("train models/" + model +
                                   " --set data.examples=6000 "
                                   "--set data.test_examples=1000 --set training.epochs=6 -o " +
                                   (folder_ / model).string());
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    const auto at = outcome.output.rfind("accuracy ");
    return at == std::string::npos ? 0 : std::stod(outcome.output.substr(at + 9));
  };
  EXPECT_GE(accuracy("digits_mlp.json"), 0.95);
  EXPECT_LE(accuracy("logistic_regression.json"), 0.93);
}

/// Several updates, several runs of one, a gradient of the second order, fresh random numbers.
TEST_F(TrainingProgram, AlternatingUpdatesAreTheSameBitsInEveryWayOfRunning) {
  const auto weights = [&](const std::string& name, int steps, const std::string& arguments) {
    const Outcome outcome = gradus(
        "train models/wgan_gp_ring.json --set data.examples=700 --set data.test_examples=0 "
        "--set 'training={\"steps\":" +
        std::to_string(steps) + ",\"batch\":24,\"seed\":5}' -o " + (folder_ / name).string() + " " +
        arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    return contents(folder_ / name / "weights.safetensors");
  };
  const std::string expected = weights("reference", 9, "--threads 1");
  EXPECT_FALSE(expected.empty());
  EXPECT_EQ(weights("threads", 9, "--threads 3"), expected);
  EXPECT_EQ(weights("unfused", 9, "--no-fuse"), expected);
  (void)weights("resumed", 4, "");  // an epoch has 6 steps, the last with a smaller batch
  EXPECT_EQ(weights("resumed", 9, "--resume"), expected);
}

TEST_F(TrainingProgram, EveryStageCanBeLookedAt) {
  for (const char* stage : {"model", "graph", "step", "split_sums", "fusion", "kernels", "llvm",
                            "asm", "code", "memory"}) {
    const Outcome outcome = gradus("inspect models/spirals_mlp.json --stage " + std::string(stage));
    EXPECT_EQ(outcome.status, 0) << stage << ": " << outcome.output;
    EXPECT_GT(outcome.output.size(), 100u) << stage;
  }
}

TEST_F(TrainingProgram, WrongUseHasItsExitCode) {
  EXPECT_EQ(gradus("train").status, 2);
  EXPECT_EQ(gradus("train no_such_file.json").status, 7);
  EXPECT_EQ(gradus("train models/mnist_mlp.json --set data.directory=/no/such/folder").status, 7);
  EXPECT_EQ(gradus("train models/spirals_mlp.json --set training.epochz=3").status, 3);
  EXPECT_EQ(gradus("explain E9999").status, 2);
}

TEST_F(TrainingProgram, ANumberThatStopsBeingFiniteIsNamedByStepAndLayer) {
  const std::string output = " -o " + (folder_ / "nan").string();
  const Outcome diverged =
      gradus("train models/linear_regression.json --set optimizer.learning_rate=1e6" + output);
  EXPECT_EQ(diverged.status, 6) << diverged.output;
  EXPECT_NE(diverged.output.find("step 4 (epoch 4): loss is inf; it begins in 'loss' (forward, "
                                 "models/linear_regression.json:12:11)"),
            std::string::npos)
      << diverged.output;
  const Outcome wrong = gradus("train tests/models/files/log_of_negative.json" + output);
  EXPECT_EQ(wrong.status, 6) << wrong.output;
  EXPECT_NE(wrong.output.find("step 1 (epoch 1): loss is nan; it begins in 'logarithm' (forward, "
                              "tests/models/files/log_of_negative.json:9:15): log gives nan at ["),
            std::string::npos)
      << wrong.output;
  // It has reached what the step carries to the next one, which was finite before.
  const Outcome carried = gradus("train tests/models/files/carried_not_a_number.json" + output);
  EXPECT_EQ(carried.status, 6) << carried.output;
  EXPECT_NE(carried.output.find("step 1 (epoch 1): loss is nan; it begins in 'logarithm' (forward, "
                                "tests/models/files/carried_not_a_number.json:9:15): log gives "),
            std::string::npos)
      << carried.output;
}

}  // namespace
}  // namespace gradus
