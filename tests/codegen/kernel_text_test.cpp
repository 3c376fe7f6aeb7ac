#include <gtest/gtest.h>

#include "base/diagnostic.h"
#include "codegen/text_kernel.h"
#include "codegen/verify_kernel.h"
#include "kernel_texts.h"

namespace gradus::codegen {
namespace {

class KernelText : public testing::TestWithParam<std::string> {};

TEST_P(KernelText, PrintsAsItWasRead) {
  const std::string text = kernel_text(GetParam());
  EXPECT_EQ(to_string(parse_kernel(text)), text);
}

TEST_P(KernelText, KeepsTheLaws) {
  const auto violation = find_violation(parse_kernel(kernel_text(GetParam())));
  EXPECT_FALSE(violation.has_value()) << violation->message;
}

TEST_P(KernelText, MayBeLaidOutFreely) {
  const std::string text = kernel_text(GetParam());
  std::string other = "# a comment\n\n";
  for (char c : text) other += c == '\n' ? "   # note \"a b\" {\n\t \n" : std::string(1, c);
  EXPECT_EQ(to_string(parse_kernel(other)), text);
}

/// Whatever single line is missing or doubled: an answer, never a crash.
TEST_P(KernelText, SurvivesDamage) {
  const std::string text = kernel_text(GetParam());
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin) + 1;
    const std::string line = text.substr(begin, end - begin);
    for (const std::string& now : {std::string(), line + line, line.substr(0, line.size() / 2)}) {
      try {
        (void)read_kernels(text.substr(0, begin) + now + text.substr(end), "damaged.kir");
      } catch (const UserError& error) {
        EXPECT_EQ(error.diagnostics().front().where.file, "damaged.kir");
        EXPECT_GT(error.diagnostics().front().where.line, 0u) << error.what();
      }
    }
    begin = end;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KernelText, testing::ValuesIn(kernel_names()),
                         [](const auto& test) { return test.param; });

TEST(KernelTexts, SeveralInOneText) {
  std::string all;
  for (const std::string& name : kernel_names()) all += kernel_text(name);
  const std::vector<Kernel> kernels = read_kernels(all);
  ASSERT_EQ(kernels.size(), kernel_names().size());
  std::string printed;
  for (const Kernel& kernel : kernels) printed += to_string(kernel);
  EXPECT_EQ(printed, all);
}

TEST(KernelTexts, ParsesIntoTheFieldsItShows) {
  const Kernel kernel = parse_kernel(kernel_text("dense"));
  EXPECT_EQ(kernel.name, "dense");
  EXPECT_EQ(kernel.provenance, "model.json:9:7 hidden forward");
  ASSERT_EQ(kernel.tasks.size(), 2u);
  EXPECT_EQ(kernel.tasks[1].cut, (ir::Cut{40, 2, 32}));
  EXPECT_EQ(kernel.task_count(), 4);
  const auto& contract = std::get<Contract>(kernel.stages.at(0));
  EXPECT_EQ(contract.parts, (ir::Cut{1500, 2, 1}));
  EXPECT_EQ(contract.panel, 32);
  EXPECT_EQ(contract.tile.rows, 4);
  EXPECT_EQ(contract.tile.vectors, 2);
  EXPECT_EQ(contract.lhs, (Access{0, {{{{0, 1}}, 0, 1}, {{{2, 1}}, 0, 1}}}));
  EXPECT_EQ(contract.stores[1].value, 1);
  std::string copied = kernel_text("attention");
  const std::string_view rhs = "rhs keys[b, k, n]";
  copied.insert(copied.find(rhs) + rhs.size(), " copied");
  const Kernel attention = parse_kernel(copied);
  EXPECT_TRUE(std::get<Contract>(attention.stages.at(0)).copied);
  EXPECT_EQ(to_string(attention), to_string(parse_kernel(to_string(attention))));
  const Kernel causal = parse_kernel(kernel_text("causal_attention"));
  EXPECT_EQ(std::get<Contract>(causal.stages.at(0)).half_plane, (HalfPlane{2, 1, 0}));
  EXPECT_EQ(std::get<Contract>(causal.stages.at(5)).half_plane, (HalfPlane{4, 3, 1}));
  EXPECT_FALSE(std::get<Contract>(attention.stages.at(0)).half_plane);
  const Kernel pad = parse_kernel(kernel_text("pad_scale"));
  const Load& load = std::get<Loop>(pad.stages.at(0)).body.loads.at(0);
  EXPECT_EQ(load.guards.at(0), (Guard{{{{0, 1}}, -1, 2}, 4}));
  EXPECT_EQ(load.access.index.at(1), (Affine{{{1, -1}}, 6, 1}));
}

TEST(KernelTexts, TheExampleOfTheReadmeKeepsTheLaws) {
  const std::string page =
      file_text(std::filesystem::path(GRADUS_SOURCE_DIR) / "codegen/README.md");
  const std::size_t begin = page.find("```\nkernel");
  ASSERT_NE(begin, std::string::npos);
  const std::string text = page.substr(begin + 4, page.find("```", begin + 4) - begin - 4);
  EXPECT_EQ(read_kernels(text).size(), 1u);
}

struct Malformed {
  std::string from, to;
  std::uint32_t line, column;
  std::string message;
};

TEST(KernelTexts, ErrorsNameThePlace) {
  const Malformed cases[] = {
      {"kernel \"softmax\"", "kernel softmax", 1, 8, "expected a string in double quotes"},
      {"axes m = 7", "axes m = x", 2, 12, "expected a number up to"},
      {"tasks m in 3", "tasks p in 3", 3, 9, "expected the name of an axis, found 'p'"},
      {"in z : f32[7,21]", "in z : f31[7,21]", 5, 10, "'f31[7,21]' is no type"},
      {"scratch t", "scrutch t", 7, 3, "expected axes, tasks, tile, a buffer, loop"},
      {"load 0 = z[m, n]", "load 0 = q[m, n]", 11, 14, "expected the name of a buffer"},
      {"load 0 = z[m, n]", "load 1 = z[m, n]", 11, 10, "loads are numbered in order from 0"},
      {"load 0 = z[m, n]", "load 0 = z[m, n] if 1 <= m < 7", 11, 25, "a guard begins with"},
      {"%0 = operand f32 0", "%0 = operond f32 0", 13, 17, "no scalar operation"},
      {"max %0 over n", "max %1 over n", 15, 24, "expected an instruction that the program"},
      {"max %0 over n", "most %0 over n", 15, 19, "expected a kind of reduction"},
      {"max %0 over n", "max %0 over n n", 15, 33, "expected the end of the line, found 'n'"},
  };
  for (const Malformed& c : cases) {
    std::string text = kernel_text("softmax");
    ASSERT_NE(text.find(c.from), std::string::npos) << c.from;
    text.replace(text.find(c.from), c.from.size(), c.to);
    try {
      (void)parse_kernels(text, "edited.kir");
      ADD_FAILURE() << c.to;
    } catch (const UserError& error) {
      const Diagnostic& finding = error.diagnostics().front();
      EXPECT_NE(finding.message.find(c.message), std::string::npos) << error.what();
      EXPECT_EQ(to_string(finding.where),
                "edited.kir:" + std::to_string(c.line) + ":" + std::to_string(c.column))
          << error.what();
    }
  }
}

TEST(KernelTexts, BrokenLawsOfAnEditedTextNameTheLine) {
  std::string text = kernel_text("softmax");
  const std::string from = "load 1 = t[m]";
  text.replace(text.find(from), from.size(), "load 1 = s[m]");
  try {
    (void)read_kernels(text, "edited.kir");
    ADD_FAILURE();
  } catch (const UserError& error) {
    EXPECT_EQ(error.diagnostics().front().code, "E2103");
    EXPECT_EQ(error.diagnostics().front().where.line, 17u) << error.what();
  }
}

}  // namespace
}  // namespace gradus::codegen
