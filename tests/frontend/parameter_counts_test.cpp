// Models that are trained here have as many parameters as a sum by hand.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "frontend/model.h"

namespace gradus::frontend {
namespace {

struct Counted {
  std::string model;
  std::int64_t parameters;
  std::string source;
};

// clang-format off
const Counted kCounted[] = {
    {"transformer_reverse", 234752, "sum by hand: 20*64 + 2*(4*(64*64 + 64) + F + 4*64) + 2*(8*(64*64 + 64) + F + 6*64), F = 64*256 + 256 + 256*64 + 64"},
    {"bert_small", 826818, "sum by hand: 66*128 + 64*128 + 256 + 4*(4*(128*128 + 128) + 128*512 + 512 + 512*128 + 128 + 4*128) + 128*128 + 128 + 256 + 66"},
    {"gpt_small", 3225665, "sum by hand: 65*256 + 128*256 + 4*(4*(256*256 + 256) + 256*1024 + 1024 + 1024*256 + 256 + 4*256) + 2*256 + 256*65 + 65"},
};
// clang-format on

TEST(ParameterCounts, AreThoseOfASumByHand) {
  for (const Counted& counted : kCounted) {
    const std::string path = fmt::format("{}/models/{}.json", GRADUS_SOURCE_DIR, counted.model);
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    std::int64_t count = 0;
    const Model model(path, text.str());
    for (const ParameterSpec& parameter : model.parameters()) {
      count += parameter.type.element_count();
    }
    EXPECT_EQ(count, counted.parameters) << counted.model << ": " << counted.source;
  }
}

}  // namespace
}  // namespace gradus::frontend
