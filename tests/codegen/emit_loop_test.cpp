// Loop stages by hand against plain loops that follow the order of sums to the letter.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "codegen/emit_program.h"
#include "codegen/text_kernel.h"
#include "emit_support.h"

namespace gradus::codegen {
namespace {

using ir::ReductionKind;

constexpr ElementType f32 = ElementType::f32;

ir::ScalarProgram polynomial() {
  return program({f32, f32}, [](ir::ScalarBuilder&, auto x) {
    return std::vector<ir::Scalar>{x[0] * 3.0 + x[1]};
  });
}

constexpr std::int64_t kLengths[] = {1, 2, 3, 15, 16, 17, 31, 32, 47, 100};

TEST(EmitLoop, MapWithBroadcastTransposeAndTasks) {
  for (std::int64_t n : kLengths) {
    for (std::int64_t tasks : {1, 2, 3}) {
      const std::int64_t m = 7;
      Kernel kernel;
      kernel.name = "map";
      kernel.axes = {{"m", m, -1}, {"n", n, -1}};
      kernel.tasks = {{0, {m, tasks, 1}}, {1, {n, std::min<std::int64_t>(n, tasks), 1}}};
      kernel.buffers = {buffer("row", f32, {n}, BufferRole::input),
                        buffer("x", f32, {n, m}, BufferRole::input),
                        buffer("y", f32, {m, n}, BufferRole::output)};
      Loop loop;
      loop.axes = {0, 1};
      loop.body = {{{element(0, {1}), {}}, {element(1, {1, 0}), {}}}, polynomial(), {}};
      loop.stores = {{element(2, {0, 1}), 0}};
      kernel.stages = {loop};
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 1);
      fill(tensors[1], 2);
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            const auto at_j = static_cast<std::size_t>(j);
            const float expected = result[0].as<float>()[at_j] * 3.0f +
                                   result[1].as<float>()[static_cast<std::size_t>(j * m + i)];
            expect_same_bits(result[2].as<float>()[static_cast<std::size_t>(i * n + j)], expected,
                             "element");
          }
        }
      });
    }
  }
}

/// Operands read across their rows, with a guard along the vector axis, in ranges of any length.
TEST(EmitLoop, TransposedReads) {
  for (std::int64_t m : {16, 70}) {
    for (std::int64_t n : {31, 64}) {
      for (std::int64_t tasks : {1, 2}) {
        for (bool guarded : {false, true}) {
          const std::int64_t held = guarded ? n - 5 : n;
          Kernel kernel;
          kernel.name = "transposed";
          kernel.axes = {{"b", 2, -1}, {"m", m, -1}, {"n", n, -1}};
          kernel.tasks = {{1, {m, tasks, 1}}, {2, {n, tasks, 1}}};
          kernel.buffers = {buffer("x", f32, {2, held, m}, BufferRole::input),
                            buffer("z", f32, {m, n}, BufferRole::input),
                            buffer("y", f32, {2, m, n}, BufferRole::output)};
          Loop loop;
          loop.axes = {0, 1, 2};
          loop.body = {{{element(0, {0, 2, 1}), {}}, {element(1, {1, 2}), {}}}, polynomial(), {}};
          if (guarded) loop.body.loads[0].guards = {{at(2), held}};
          loop.stores = {{element(2, {0, 1, 2}), 0}};
          kernel.stages = {loop};
          std::vector<Tensor> tensors = parameters(kernel);
          fill(tensors[0], 1);
          fill(tensors[1], 2);
          run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
            std::size_t e = 0;
            for (std::int64_t b = 0; b < 2; ++b) {
              for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < n; ++j, ++e) {
                  const auto x = static_cast<std::size_t>((b * held + j) * m + i);
                  const float read = j < held ? result[0].as<float>()[x] : 0.0f;
                  const float other = result[1].as<float>()[static_cast<std::size_t>(i * n + j)];
                  expect_same_bits(result[2].as<float>()[e], read * 3.0f + other, "element");
                }
              }
            }
          });
        }
      }
    }
  }
}

/// y[i, j] = x at ((i + j - 2) / 2, 20 - j) where that divides exactly and is inside, else 0.
TEST(EmitLoop, GuardsAndReversal) {
  const std::int64_t m = 9, n = 37, xm = 6, xn = 19;
  Kernel kernel;
  kernel.name = "guards";
  kernel.axes = {{"m", m, -1}, {"n", n, -1}};
  kernel.buffers = {buffer("x", f32, {xm, xn}, BufferRole::input),
                    buffer("y", f32, {m, n}, BufferRole::output)};
  const Affine row{{{0, 1}, {1, 1}}, -2, 2};
  const Affine column{{{1, -1}}, 20, 1};
  Loop loop;
  loop.axes = {0, 1};
  loop.body = {{{{0, {row, column}}, {{row, xm}, {column, xn}}}}, copy_program(f32), {}};
  loop.stores = {{element(1, {0, 1}), 0}};
  kernel.stages = {loop};
  std::vector<Tensor> tensors = parameters(kernel);
  fill(tensors[0], 3);
  run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t sum = i + j - 2, c = 20 - j;
        const bool inside = sum >= 0 && sum % 2 == 0 && sum / 2 < xm && c >= 0 && c < xn;
        const float expected =
            inside ? tensors[0].as<float>()[static_cast<std::size_t>(sum / 2 * xn + c)] : 0.0f;
        expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(i * n + j)], expected,
                         "element");
      }
    }
  });
}

/// A guard on the outer axis alone: no lane reads where it fails.
TEST(EmitLoop, ScalarGuard) {
  const std::int64_t m = 5, n = 21;
  for (bool broadcast : {false, true}) {
    Kernel kernel;
    kernel.name = "scalar_guard";
    kernel.axes = {{"m", m, -1}, {"n", n, -1}};
    kernel.buffers = {buffer("x", f32, broadcast ? Shape{2} : Shape{2, n}, BufferRole::input),
                      buffer("y", f32, {m, n}, BufferRole::output)};
    const Affine row{{{0, 1}}, -1, 1};
    Access access{0, {row}};
    if (!broadcast) access.index.push_back(at(1));
    Loop loop;
    loop.axes = {0, 1};
    loop.body = {{{access, {{row, 2}}}}, copy_program(f32), {}};
    loop.stores = {{element(1, {0, 1}), 0}};
    kernel.stages = {loop};
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 4);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          const bool inside = i >= 1 && i < 3;
          const std::int64_t place = broadcast ? i - 1 : (i - 1) * n + j;
          const float expected =
              inside ? tensors[0].as<float>()[static_cast<std::size_t>(place)] : 0.0f;
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(i * n + j)], expected,
                           "element");
        }
      }
    });
  }
}

TEST(EmitLoop, IndicesAndOtherTypes) {
  const std::int64_t m = 3, n = 35;
  Kernel kernel;
  kernel.name = "indices";
  kernel.axes = {{"m", m, -1}, {"n", n, -1}};
  kernel.buffers = {buffer("x", ElementType::u8, {n}, BufferRole::input),
                    buffer("even", ElementType::boolean, {m, n}, BufferRole::output),
                    buffer("sum", ElementType::i64, {n, m}, BufferRole::output)};
  Loop loop;
  loop.axes = {0, 1};
  loop.body = {
      {{element(0, {1}), {}}},
      program({ElementType::u8},
              [](ir::ScalarBuilder& b, auto x) {
                const ir::Scalar i = b.index(0, ElementType::i64);
                const ir::Scalar j = b.index(1, ElementType::u32);
                return std::vector<ir::Scalar>{
                    equal(j & b.constant(ElementType::u32, 1), b.constant(ElementType::u32, 0)),
                    convert(x[0], ElementType::i64) + i * 1000.0 + convert(j, ElementType::i64)};
              }),
      {}};
  loop.stores = {{element(1, {0, 1}), 0}, {element(2, {1, 0}), 1}};
  kernel.stages = {loop};
  std::vector<Tensor> tensors = parameters(kernel);
  fill(tensors[0], 5, 0, 255);
  run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        EXPECT_EQ(result[1].as<std::uint8_t>()[static_cast<std::size_t>(i * n + j)], j % 2 == 0);
        EXPECT_EQ(result[2].as<std::int64_t>()[static_cast<std::size_t>(j * m + i)],
                  tensors[0].as<std::uint8_t>()[static_cast<std::size_t>(j)] + i * 1000 + j);
      }
    }
  });
}

TEST(EmitLoop, FaultsNameNodeAndElement) {
  const std::int64_t n = 40;
  Kernel kernel;
  kernel.name = "faults";
  kernel.axes = {{"n", n, -1}};
  kernel.buffers = {buffer("x", ElementType::i32, {n}, BufferRole::input),
                    buffer("y", ElementType::i32, {n}, BufferRole::output)};
  Loop loop;
  loop.axes = {0};
  loop.body = {{{element(0, {0}), {}}},
               program({ElementType::i32},
                       [](ir::ScalarBuilder& b, auto x) {
                         return std::vector<ir::Scalar>{b.constant(ElementType::i32, 100) / x[0]};
                       }),
               {77}};
  loop.stores = {{element(1, {0}), 0}};
  kernel.stages = {loop};
  for (std::int64_t bad : {-1, 0, 5, 16, 33, 39}) {
    std::vector<Tensor> tensors = parameters(kernel);
    for (std::int32_t& x : tensors[0].as<std::int32_t>()) x = 3;
    if (bad >= 0) tensors[0].as<std::int32_t>()[static_cast<std::size_t>(bad)] = 0;
    runtime::FaultWord fault = 0;
    const auto check = [&](const std::vector<Tensor>& result) {
      for (std::int64_t i = 0; i < n; ++i) {
        EXPECT_EQ(result[1].as<std::int32_t>()[static_cast<std::size_t>(i)], i == bad ? 0 : 33);
      }
      if (bad < 0) {
        EXPECT_EQ(fault, 0u);
      } else {
        EXPECT_EQ(fault, std::uint64_t{1} << 56 | std::uint64_t{77} << 32 |
                             static_cast<std::uint64_t>(bad));
      }
    };
    run_everywhere(kernel, tensors, check, &fault);
  }
}

/// In place: the parameter update of an optimizer.
TEST(EmitLoop, InPlace) {
  const std::int64_t n = 50;
  Kernel kernel;
  kernel.name = "update";
  kernel.axes = {{"n", n, -1}};
  kernel.tasks = {{0, {n, 2, 16}}};
  kernel.buffers = {buffer("w", f32, {n}, BufferRole::in_out),
                    buffer("g", f32, {n}, BufferRole::input),
                    buffer("rate", f32, {}, BufferRole::input)};
  Loop loop;
  loop.axes = {0};
  loop.body = {
      {{element(0, {0}), {}}, {element(1, {0}), {}}, {element(2, {}), {}}},
      program({f32, f32, f32}, [](ir::ScalarBuilder&,
                                  auto x) { return std::vector<ir::Scalar>{x[0] - x[2] * x[1]}; }),
      {}};
  loop.stores = {{element(0, {0}), 0}};
  kernel.stages = {loop};
  std::vector<Tensor> tensors = parameters(kernel);
  for (std::uint32_t i = 0; i < 3; ++i) fill(tensors[i], i);
  run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      const float expected =
          tensors[0].as<float>()[i] - tensors[2].as<float>()[0] * tensors[1].as<float>()[i];
      expect_same_bits(result[0].as<float>()[i], expected, "weight");
    }
  });
}

/// A random word per element as dropout uses it: counter = (column, row / 4), word = row mod 4.
ir::Scalar random_word(ir::ScalarBuilder& b, ir::Scalar row, ir::Scalar column) {
  const ElementType u32 = ElementType::u32;
  std::array<ir::Scalar, 4> counter{column, row >> 2, b.constant(u32, 11), b.constant(u32, 12)};
  for (int round = 0; round < 6; ++round) {
    const ir::Scalar low = b.constant(u32, 0xD2511F53u), high = b.constant(u32, 0xCD9E8D57u);
    counter = {
        b.emit(ir::ScalarOp::mul_high, u32, {high, counter[2]}) ^ counter[1], high * counter[2],
        b.emit(ir::ScalarOp::mul_high, u32, {low, counter[0]}) ^ counter[3], low * counter[0]};
  }
  const ir::Scalar word = row & b.constant(u32, 3);
  const auto is = [&](int number) { return equal(word, b.constant(u32, number)); };
  return select(is(0), counter[0],
                select(is(1), counter[1], select(is(2), counter[2], counter[3])));
}

/// Rows that share their random counters are computed four at a time where ranges allow it.
TEST(EmitLoop, RowsShareRandomCounters) {
  for (std::int64_t m : {8, 12, 10}) {
    for (std::int64_t n : {16, 37}) {
      for (std::int64_t tile : {0, 4}) {
        Kernel kernel;
        kernel.name = "random_rows";
        const std::int64_t tasks = 2;
        kernel.axes = {{"b", 2, -1}, {"m", m, -1}, {"n", n, -1}, {"block", tasks, 1}};
        kernel.tasks = {{1, {m, tasks, 4}}};
        if (tile > 0) kernel.tile = Tile{1, tile};
        kernel.buffers = {buffer("x", f32, {m, n}, BufferRole::input),
                          buffer("scale", f32, {n}, BufferRole::input),
                          buffer("y", f32, {2, m, n}, BufferRole::output),
                          buffer("row_sum", f32, {2, m}, BufferRole::output),
                          buffer("row_max", f32, {2, m}, BufferRole::output)};
        Loop loop;
        loop.axes = {0, 1, 2};
        loop.body.loads = {{element(0, {1, 2}), {{at(1), m - 1}}}, {element(1, {2}), {}}};
        loop.body.program = program({f32, f32}, [&](ir::ScalarBuilder& b, auto x) {
          const ir::Scalar outer =
              b.index(0, ElementType::i64) * static_cast<double>(m) + b.index(1, ElementType::i64);
          const ir::Scalar word =
              random_word(b, convert(outer, ElementType::u32), b.index(2, ElementType::u32));
          return std::vector<ir::Scalar>{convert(word >> 8, f32) * x[1] + x[0]};
        });
        loop.stores = {{element(2, {0, 1, 2}), 0}};
        loop.accumulates = {{ReductionKind::sum, element(3, {0, 1}), 0, {2}, true},
                            {ReductionKind::max, element(4, {0, 1}), 0, {2}, false}};
        kernel.stages = {loop};
        std::vector<Tensor> tensors = parameters(kernel);
        fill(tensors[0], 15);
        fill(tensors[1], 16);
        run_everywhere(kernel, tensors, [](const std::vector<Tensor>&) {});
      }
    }
  }
}

/// The same in the epilogue of a contraction, with a sum over rows in a loop behind it.
TEST(EmitLoop, ColumnSumsOverGroupsOfRows) {
  const std::int64_t m = 24, n = 19;
  Kernel kernel;
  kernel.name = "random_columns";
  kernel.axes = {{"m", m, -1}, {"n", n, -1}, {"block", 2, 0}};
  kernel.tasks = {{0, {m, 2, 1}}};
  kernel.tile = Tile{0, 8};
  kernel.buffers = {buffer("x", f32, {m, n}, BufferRole::input),
                    buffer("y", f32, {2, n}, BufferRole::output)};
  Loop loop;
  loop.axes = {0, 1};
  loop.body.loads = {{element(0, {0, 1}), {}}};
  loop.body.program = program({f32}, [&](ir::ScalarBuilder& b, auto x) {
    const ir::Scalar word =
        random_word(b, b.index(0, ElementType::u32), b.index(1, ElementType::u32));
    return std::vector<ir::Scalar>{convert(word >> 8, f32) * x[0]};
  });
  loop.accumulates = {{ReductionKind::sum, element(1, {2, 1}), 0, {0}, false}};
  kernel.stages = {loop};
  std::vector<Tensor> tensors = parameters(kernel);
  fill(tensors[0], 17);
  run_everywhere(kernel, tensors, [](const std::vector<Tensor>&) {});
}

/// Groups of rows make the code shorter than four separate rows, or they would not pay.
TEST(EmitLoop, GroupsShareInstructions) {
  const ir::ScalarProgram word = program({f32}, [&](ir::ScalarBuilder& b, auto x) {
    return std::vector<ir::Scalar>{
        x[0] *
        convert(random_word(b, b.index(0, ElementType::u32), b.index(1, ElementType::u32)), f32)};
  });
  const std::vector<std::vector<std::int32_t>> operands{{0}, {1}, {2}, {3}};
  const std::size_t single = flatten(word, {}).code.size();
  EXPECT_LT(flatten_rows(word, 0, operands).code.size(), 2 * single);
  EXPECT_GT(flatten_rows(word, 1, operands).code.size(), 3 * single);
}

/// Sums over windows of `size` x `size` elements, each read for itself.
Kernel windows(int size) {
  const std::int64_t m = 5;
  const std::int64_t n = 40;
  Kernel kernel;
  kernel.name = "windows";
  kernel.axes = {{"m", m, -1}, {"n", n, -1}};
  kernel.tasks = {{0, {m, 2, 1}}};
  kernel.buffers = {buffer("x", f32, {m + size, n + size}, BufferRole::input),
                    buffer("y", f32, {m, n}, BufferRole::output)};
  Loop loop;
  loop.axes = {0, 1};
  for (int i = 0; i < size; ++i) {
    for (int j = 0; j < size; ++j) {
      loop.body.loads.push_back({{0, {at(0, 1, i), at(1, 1, j)}}, {}});
    }
  }
  const std::vector<ElementType> types(loop.body.loads.size(), f32);
  loop.body.program = program(types, [](ir::ScalarBuilder&, const std::vector<ir::Scalar>& x) {
    ir::Scalar sum = x[0];
    for (std::size_t i = 1; i < x.size(); ++i) sum = sum + x[i];
    return std::vector<ir::Scalar>{sum};
  });
  loop.stores = {{element(1, {0, 1}), 0}};
  kernel.stages = {loop};
  return kernel;
}

TEST(EmitLoop, NeighboursShareTheirAddress) {
  const auto count = [](const Kernel& kernel, std::string_view word) {
    const std::vector<Kernel> kernels{kernel};
    const std::string code =
        generate_code(kernels, make_target(InstructionSet::x86_64_v4), CodeForm::llvm_ir).code;
    std::size_t found = 0;
    for (auto i = code.find(word); i != std::string::npos; i = code.find(word, i + 1)) ++found;
    return found;
  };
  for (const char* word : {" = mul i64", " = add i64"}) {
    EXPECT_GT(count(windows(1), word), 0u);
    EXPECT_EQ(count(windows(1), word), count(windows(6), word));
  }
  Kernel kernel = windows(3);
  std::vector<Tensor> tensors = parameters(kernel);
  fill(tensors[0], 1);
  run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t j = 0; j < 40; ++j) {
        const auto x = [&](std::size_t tap) {
          return result[0].as<float>()[(i + tap / 3) * 43 + j + tap % 3];
        };
        float sum = x(0);
        for (std::size_t tap = 1; tap < 9; ++tap) sum += x(tap);
        expect_same_bits(result[1].as<float>()[i * 40 + j], sum, "window");
      }
    }
  });
}

TEST(EmitLoop, SpillsWholeCacheLines) {
  // A tile of as many sums as there are registers.
  const Kernel kernel = parse_kernel(R"(kernel "cell" {
  axes m = 64, n = 128, k = 128
  tasks m in 2 unit 4
  in c : f32[64,128]
  in w : f32[128,128]
  in x : f32[64,128]
  out v : f32[64,128]
  contract m, n, k parts 1 tile 16 x 2 {
    lhs c[m, k]
    rhs w[k, n]
    load 1 = x[m, n]
    operands f32, f32
    %0 = operand f32 0
    %1 = operand f32 1
    %2 = add f32 %1, %0
    %3 = call f32 tanh %2
    return %3
    store v[m, n] = %3
  }
}
)");
  const std::vector<Kernel> kernels{kernel};
  const std::string code =
      generate_code(kernels, make_target(InstructionSet::x86_64_v4), CodeForm::assembly).code;
  EXPECT_NE(code.find("64-byte Spill"), std::string::npos) << "nothing to see";
  std::istringstream lines(code);
  for (std::string line; std::getline(lines, line);) {
    const bool spill = line.find("64-byte") != line.npos;
    EXPECT_FALSE(spill && line.find("vmovup") != line.npos) << line;
  }
}

}  // namespace
}  // namespace gradus::codegen
