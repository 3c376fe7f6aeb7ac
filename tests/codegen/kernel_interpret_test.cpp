#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "base/check.h"
#include "codegen/interpret_kernel.h"
#include "codegen/text_kernel.h"
#include "kernel_execution.h"
#include "kernel_texts.h"

namespace gradus::codegen {
namespace {

struct Execution {
  Kernel kernel;
  std::vector<Tensor> before, after;
  runtime::FaultWord fault = 0;

  explicit Execution(Kernel k, std::uint32_t seed = 1)
      : kernel(std::move(k)), before(random_parameters(kernel, seed)), after(before) {
    interpret(kernel, addresses(after), &fault);
  }
  explicit Execution(const std::string& name) : Execution(parse_kernel(kernel_text(name))) {}

  /// The elements of parameter `name`, as they were and as they are.
  template <typename T>
  [[nodiscard]] std::span<const T> in(const std::string& name) const {
    return before[number(name)].as<T>();
  }
  template <typename T>
  [[nodiscard]] std::span<const T> out(const std::string& name) const {
    return after[number(name)].as<T>();
  }

 private:
  [[nodiscard]] std::size_t number(const std::string& name) const {
    for (std::size_t i = 0; i < kernel.buffers.size(); ++i) {
      if (kernel.buffers[i].name == name) return i;
    }
    throw InternalError("no parameter " + name);
  }
};

class InterpretKernel : public testing::TestWithParam<std::string> {};

TEST_P(InterpretKernel, TasksRunInAnyOrder) {
  const Execution run(GetParam());
  for (std::uint32_t seed = 0; seed < 5; ++seed) {
    std::vector<std::int64_t> tasks(static_cast<std::size_t>(run.kernel.task_count()));
    std::iota(tasks.begin(), tasks.end(), 0);
    for (std::size_t i = tasks.size(); i > 1; --i) {
      std::swap(tasks[i - 1], tasks[philox4x32({static_cast<std::uint32_t>(i)}, {seed, 0})[0] % i]);
    }
    std::vector<Tensor> tensors = run.before;
    interpret(run.kernel, addresses(tensors), nullptr, tasks);
    EXPECT_EQ(tensors, run.after) << "order of tasks from seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(All, InterpretKernel, testing::ValuesIn(kernel_names()),
                         [](const auto& test) { return test.param; });

TEST(InterpretKernels, TileSizesChangeNoBit) {
  int tiled = 0;
  for (const std::string& name : kernel_names()) {
    const Execution run(name);
    if (!run.kernel.tile) continue;
    ++tiled;
    Kernel kernel = run.kernel;
    for (std::int64_t size = 1; size <= run.kernel.tile->size; ++size) {
      kernel.tile->size = size;
      std::vector<Tensor> tensors = run.before;
      interpret(kernel, addresses(tensors), nullptr);
      EXPECT_EQ(tensors, run.after) << name << " in tiles of " << size;
    }
  }
  EXPECT_GE(tiled, 5);
}

TEST(InterpretKernels, MapWithGuards) {
  const Execution run("pad_scale");
  const auto x = run.in<float>("x");
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j < 10; ++j) {
      const int row = i - 1;
      const int column = 6 - j;
      const bool inside = row >= 0 && row % 2 == 0 && row / 2 < 4 && column >= 0 && column < 5;
      const float value = inside ? x[static_cast<std::size_t>(row / 2 * 5 + column)] : 0.0f;
      EXPECT_EQ(run.out<float>("y")[static_cast<std::size_t>(i * 10 + j)],
                value * 3 + run.in<float>("bias")[static_cast<std::size_t>(j)]);
    }
  }
}

TEST(InterpretKernels, Softmax) {
  const Execution run("softmax");
  for (std::size_t m = 0; m < 7; ++m) {
    double sum = 0;
    for (std::size_t n = 0; n < 21; ++n) sum += std::exp(double{run.in<float>("z")[m * 21 + n]});
    for (std::size_t n = 0; n < 21; ++n) {
      const double expected = std::exp(double{run.in<float>("z")[m * 21 + n]}) / sum;
      EXPECT_NEAR(run.out<float>("y")[m * 21 + n], expected, 1e-6 * expected);
    }
  }
}

/// 16 chains by position, folded +8, +4, +2, +1.
template <typename T>
T fold(std::span<T, 16> lanes) {
  for (std::size_t half : {8, 4, 2, 1}) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

TEST(InterpretKernels, LayerNormToTheBit) {
  const Execution run("layer_norm");
  for (std::size_t m = 0; m < 5; ++m) {
    const auto x = run.in<double>("x").subspan(m * 40, 40);
    std::array<double, 16> total{}, squares{};
    for (std::size_t n = 0; n < 40; ++n) total[n % 16] += x[n];
    const double mean = fold<double>(total) / 40;
    for (std::size_t n = 0; n < 40; ++n) squares[n % 16] += (x[n] - mean) * (x[n] - mean);
    const double deviation = std::sqrt(fold<double>(squares) / 40 + 0.001);
    for (std::size_t n = 0; n < 40; ++n) {
      EXPECT_EQ(run.out<double>("\"hidden/norm\"")[m * 40 + n],
                (x[n] - mean) / deviation * run.in<double>("scale")[n]);
    }
  }
}

TEST(InterpretKernels, BlockSumsToTheBit) {
  Kernel kernel = parse_kernel(kernel_text("block_sums"));
  Execution run(kernel);
  // Numbers whose sums depend on the order.
  for (float& x : run.before[0].as<float>()) x = std::sin(12.9f * x) / 3;
  run.after = run.before;
  interpret(kernel, addresses(run.after), nullptr);
  for (std::size_t block = 0; block < 2; ++block) {
    std::array<float, 21> columns{};
    std::array<float, 16> lanes{};
    for (std::size_t m = block * 35; m < (block + 1) * 35; ++m) {
      for (std::size_t n = 0; n < 21; ++n) {
        columns[n] += run.in<float>("x")[m * 21 + n];
        lanes[n % 16] += run.in<float>("x")[m * 21 + n];
      }
    }
    for (std::size_t n = 0; n < 21; ++n) {
      EXPECT_EQ(run.out<float>("columns")[block * 21 + n], columns[n]);
    }
    EXPECT_EQ(run.out<float>("all_of_it")[block], fold<float>(lanes));
  }
}

TEST(InterpretKernels, ContractionToTheBit) {
  Execution run("dense");
  for (Tensor& tensor : run.before) {
    if (tensor.type.element != ElementType::f32) continue;
    for (float& x : tensor.as<float>()) x = std::sin(12.9f * x) / 3;
  }
  run.after = run.before;
  interpret(run.kernel, addresses(run.after), nullptr);
  for (std::size_t m = 0; m < 9; ++m) {
    for (std::size_t n = 0; n < 40; ++n) {
      float parts[2] = {};
      for (std::size_t k = 0; k < 1500; ++k) {
        float& chain = parts[k / 750];
        chain = std::fma(run.in<float>("x")[m * 1500 + k],
                         run.in<float>("panels")[(n / 32 * 1500 + k) * 32 + n % 32], chain);
      }
      const float y = parts[0] + parts[1] + run.in<float>("b")[n];
      EXPECT_EQ(run.out<float>("y")[m * 40 + n], y > 0 ? y : 0.0f);
      EXPECT_EQ(run.out<bool>("positive")[m * 40 + n], y > 0);
    }
  }
}

TEST(InterpretKernels, Attention) {
  const Execution run("attention");
  const auto queries = run.in<float>("queries"), keys = run.in<float>("keys"),
             values = run.in<float>("values");
  for (std::size_t b = 0; b < 2; ++b) {
    for (std::size_t q = 0; q < 7; ++q) {
      std::array<double, 5> expected{};
      double total = 0;
      for (std::size_t n = 0; n < 8; ++n) {
        double score = 0;
        for (std::size_t k = 0; k < 4; ++k) {
          score += double{queries[(b * 7 + q) * 4 + k]} * keys[(b * 4 + k) * 8 + n];
        }
        total += std::exp(score / 2);
        for (std::size_t d = 0; d < 5; ++d) {
          expected[d] += std::exp(score / 2) * values[(b * 8 + n) * 5 + d];
        }
      }
      for (std::size_t d = 0; d < 5; ++d) {
        EXPECT_NEAR(run.out<float>("y")[(b * 7 + q) * 5 + d], expected[d] / total, 2e-6);
      }
    }
  }
}

TEST(InterpretKernels, SumsOverTiles) {
  const Execution run("sums_over_tiles");
  for (std::size_t k0 = 0; k0 < 4; ++k0) {
    for (std::size_t b = 0; b < 3; ++b) {
      for (std::size_t m = 0; m < 5; ++m) {
        for (std::size_t n = 0; n < 20; ++n) {
          float sum = 0;
          for (std::size_t k1 = 0; k1 < 7; ++k1) {
            const float x = run.in<float>("x")[((k0 * 7 + k1) * 3 + b) * 5 + m];
            sum = std::fma(x + x, run.in<float>("dy")[(k0 * 7 + k1) * 20 + n], sum);
          }
          EXPECT_EQ(run.out<float>("sums")[((k0 * 3 + b) * 5 + m) * 20 + n], sum + 1);
        }
      }
    }
  }
}

TEST(InterpretKernels, UpdateInPlace) {
  const Execution run("update");
  for (std::size_t i = 0; i < 50; ++i) {
    const float v = run.in<float>("v")[i] / 2 + run.in<float>("g")[i];
    EXPECT_EQ(run.out<float>("v")[i], v);
    EXPECT_EQ(run.out<float>("w")[i], run.in<float>("w")[i] - v / 4);
  }
}

TEST(InterpretKernels, OtherReductions) {
  Execution run("reductions");
  auto x = run.before[0].as<double>();
  const double nan = std::nan("");
  const double first[][3] = {{1, 1, 0}, {nan, 1, nan}, {0, nan, 1}, {-0.0, 0.0, -0.0}};
  for (std::size_t n = 0; n < std::size(first); ++n) {
    for (std::size_t m = 0; m < 3; ++m) x[m * 37 + n] = first[n][m];
  }
  run.after = run.before;
  interpret(run.kernel, addresses(run.after), nullptr);
  const auto greatest = run.out<std::int32_t>("first_greatest");
  const auto least = run.out<std::int32_t>("first_least");
  EXPECT_EQ(std::vector<std::int32_t>(greatest.begin(), greatest.begin() + 4),
            (std::vector<std::int32_t>{0, 0, 1, 0}));
  EXPECT_EQ(std::vector<std::int32_t>(least.begin(), least.begin() + 4),
            (std::vector<std::int32_t>{2, 0, 1, 0}));
  EXPECT_TRUE(std::isnan(run.out<double>("least")[1]));
  EXPECT_TRUE(std::signbit(run.out<double>("least")[3]));
  const auto flag = run.in<bool>("flag");
  for (std::size_t n = 0; n < 37; ++n) {
    const int count = flag[n] + flag[37 + n] + flag[74 + n];
    EXPECT_EQ(run.out<bool>("some")[n], count > 0);
    EXPECT_EQ(run.out<bool>("every")[n], count == 3);
    EXPECT_EQ(run.out<std::int64_t>("number")[n], count * static_cast<std::int64_t>(n));
    if (n < 4) continue;
    EXPECT_EQ(run.out<double>("least")[n], std::min({x[n], x[37 + n], x[74 + n]}));
    EXPECT_EQ(x[static_cast<std::size_t>(greatest[n]) * 37 + n],
              std::max({x[n], x[37 + n], x[74 + n]}));
  }
}

TEST(InterpretKernels, ReductionsOverNothing) {
  const Execution run("empty");
  for (float sum : run.out<float>("s")) EXPECT_TRUE(sum == 0 && !std::signbit(sum));
  for (float greatest : run.out<float>("t")) {
    EXPECT_EQ(greatest, -std::numeric_limits<float>::infinity());
  }
}

TEST(InterpretKernels, FaultsNameKindNodeAndPosition) {
  Execution run("division");
  run.before[1].as<std::int32_t>()[2] = 0;
  run.before[1].as<std::int32_t>()[3] = 0;
  run.after = run.before;
  run.fault = 0;
  interpret(run.kernel, addresses(run.after), &run.fault);
  EXPECT_EQ(run.fault >> 56, static_cast<std::uint64_t>(ir::FaultKind::division_by_zero));
  EXPECT_EQ(run.fault >> 32 & 0xFFFFFF, 17u);  // the remainder comes first
  EXPECT_EQ(run.fault & 0xFFFFFFFF, 2u);
  EXPECT_EQ(run.out<std::int32_t>("y")[2], 0);
  runtime::FaultWord earlier = 7;
  interpret(run.kernel, addresses(run.after), &earlier);
  EXPECT_EQ(earlier, 7u) << "the first fault stays";
}

TEST(InterpretKernels, SubnormalNumbersAreZero) {
  Execution run("update");
  for (Tensor& tensor : run.before) {
    for (float& x : tensor.as<float>()) x = 0;
  }
  run.before[2].as<float>()[0] = std::numeric_limits<float>::min();  // v: half of it is subnormal
  run.after = run.before;
  interpret(run.kernel, addresses(run.after), nullptr);
  EXPECT_EQ(run.out<float>("v")[0], 0);
}

TEST(InterpretKernels, UnwrittenScratchIsSeen) {
  Kernel kernel = parse_kernel(kernel_text("softmax"));
  kernel.stages.erase(kernel.stages.begin());
  const Execution run(std::move(kernel));
  for (float y : run.out<float>("y")) EXPECT_TRUE(std::isnan(y));
}

TEST(InterpretKernels, AccessOutsideThrows) {
  Kernel kernel = parse_kernel(kernel_text("softmax"));
  std::get<Loop>(kernel.stages[0]).body.loads[0].access.index[1].offset = 1;
  EXPECT_THROW(Execution(std::move(kernel)), InternalError);
}

}  // namespace
}  // namespace gradus::codegen
