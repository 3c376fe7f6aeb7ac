// The small GPT as a user trains it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>

#include "tests/models/program.h"

namespace gradus {
namespace {

/// The test loss that training prints.
double test_loss(const std::string& output) {
  std::smatch found;
  return std::regex_search(output, found, std::regex("test  loss ([0-9.]+)"))
             ? std::stod(found[1])
             : std::numeric_limits<double>::quiet_NaN();
}

class TextTraining : public Program {
 protected:
  [[nodiscard]] Outcome train(const std::string& text, int steps, int batch) const {
    return gradus("train models/gpt_small.json -o " + (folder_ / "run").string() +
                  " --set data.file=" + text +
                  " --set optimizer.learning_rate=0.001 --set 'training={\"steps\":" +
                  std::to_string(steps) + ",\"batch\":" + std::to_string(batch) + ",\"seed\":1}'");
  }
};

/// The characters alone tell 1.56 nats, those before them all but nothing.
TEST_F(TextTraining, LearnsATextThatRepeats) {
  const std::string path = (folder_ / "text").string();
  std::ofstream file(path);
  for (int i = 0; i < 900; ++i) file << "abcade";
  file.close();
  const Outcome outcome = train(path, 20, 2);
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_LT(test_loss(outcome.output), 1.3) << outcome.output;
}

/// GRADUS_TEXT names a text of 65 characters; its characters alone tell about 3.3 nats.
TEST_F(TextTraining, LearnsTheGivenText) {
  const char* text = std::getenv("GRADUS_TEXT");
  if (text == nullptr) GTEST_SKIP() << "GRADUS_TEXT names no text";
  const Outcome outcome = train(text, 60, 16);
  ASSERT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_LT(test_loss(outcome.output), 2.9) << outcome.output;
}

}  // namespace
}  // namespace gradus
