// Accumulations of loop stages against plain loops that follow the order of sums to the letter.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "emit_support.h"

namespace gradus::codegen {
namespace {

using ir::ReductionKind;

constexpr ElementType f32 = ElementType::f32;
constexpr std::int64_t kLengths[] = {1, 2, 3, 15, 16, 17, 31, 32, 47, 100};

float fold(std::vector<float> lanes) {
  for (std::size_t half = 8; half >= 1; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

/// The sum of x[begin..end) rows, all columns, in 16 lanes.
float lane_sum(const float* x, std::int64_t rows, std::int64_t columns) {
  std::vector<float> lanes(16, 0.0f);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      lanes[static_cast<std::size_t>(j % 16)] += x[i * columns + j];
    }
  }
  return fold(lanes);
}

/// x[a, b, n] summed over the axes in `over`, with axis a cut into tasks and b into tiles.
Kernel sum_kernel(std::int64_t a, std::int64_t b, std::int64_t n, std::vector<AxisId> over,
                  bool lanes, std::int64_t tasks, std::int64_t tile) {
  Kernel kernel;
  kernel.name = "sum";
  kernel.axes = {{"a", a, -1}, {"b", b, -1}, {"n", n, -1}, {"block", tasks, 0}};
  kernel.tasks = {{0, {a, tasks, 1}}};
  if (tile > 0) kernel.tile = Tile{1, tile};
  kernel.buffers = {buffer("x", f32, {a, b, n}, BufferRole::input)};
  Shape shape;
  std::vector<AxisId> axes;
  for (AxisId axis : {0, 1, 2}) {
    const bool summed = std::ranges::find(over, axis) != over.end();
    if (summed && axis != 0) continue;
    const AxisId kept = summed ? 3 : axis;  // the blocks of a summed task axis
    axes.push_back(kept);
    shape.push_back(kernel.axes[static_cast<std::size_t>(kept)].extent);
  }
  kernel.buffers.push_back(buffer("y", f32, shape, BufferRole::output));
  Loop loop;
  loop.axes = {0, 1, 2};
  loop.body = {{{element(0, {0, 1, 2}), {}}}, copy_program(f32), {}};
  loop.accumulates = {{ReductionKind::sum, element(1, axes), 0, std::move(over), lanes}};
  kernel.stages = {loop};
  return kernel;
}

TEST(EmitReduce, RowSumsInLanes) {
  for (std::int64_t n : kLengths) {
    for (std::int64_t tile : {0, 2}) {
      const std::int64_t a = 3, b = 5;
      const Kernel kernel = sum_kernel(a, b, n, {2}, true, 2, tile);
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 6);
      const FloatEnvironment environment;
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        for (std::int64_t row = 0; row < a * b; ++row) {
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(row)],
                           lane_sum(tensors[0].as<float>().data() + row * n, 1, n), "row");
        }
      });
    }
  }
}

TEST(EmitReduce, SumsOfWholeBlocksInLanes) {
  for (std::int64_t n : kLengths) {
    for (std::int64_t tasks : {1, 2, 3}) {
      const std::int64_t a = 8, b = 5;
      const Kernel kernel = sum_kernel(a, b, n, {0, 1, 2}, true, tasks, 0);
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 7);
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        const ir::Cut cut{a, tasks, 1};
        for (std::int64_t task = 0; task < tasks; ++task) {
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(task)],
                           lane_sum(tensors[0].as<float>().data() + cut(task).begin * b * n,
                                    cut(task).size() * b, n),
                           "block");
        }
      });
    }
  }
}

/// Sums over b and n with b in tiles: the lanes wait in scratch from tile to tile.
TEST(EmitReduce, LanesThatOutliveATile) {
  for (std::int64_t n : kLengths) {
    const std::int64_t a = 4, b = 7;
    const Kernel kernel = sum_kernel(a, b, n, {1, 2}, true, 2, 3);
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 8);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t i = 0; i < a; ++i) {
        expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(i)],
                         lane_sum(tensors[0].as<float>().data() + i * b * n, b, n), "sum");
      }
    });
  }
}

/// Sums over a and n: b is kept between them.
TEST(EmitReduce, LanesWithAKeptAxisInside) {
  for (std::int64_t n : kLengths) {
    const std::int64_t a = 6, b = 5;
    const Kernel kernel = sum_kernel(a, b, n, {0, 2}, true, 1, 0);
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 9);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t j = 0; j < b; ++j) {
        std::vector<float> gathered;
        for (std::int64_t i = 0; i < a; ++i) {
          const float* row = tensors[0].as<float>().data() + (i * b + j) * n;
          gathered.insert(gathered.end(), row, row + n);
        }
        expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(j)],
                         lane_sum(gathered.data(), a, n), "sum");
      }
    });
  }
}

TEST(EmitReduce, ColumnSumsAreChains) {
  for (std::int64_t n : kLengths) {
    for (std::int64_t tile : {0, 2}) {
      const std::int64_t a = 4, b = 5;
      // With tiles of b the sums over b alone: one row of results per position of a.
      const std::vector<AxisId> over =
          tile > 0 ? std::vector<AxisId>{1} : std::vector<AxisId>{0, 1};
      const Kernel kernel = sum_kernel(a, b, n, over, false, 2, tile);
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 10);
      const std::int64_t results = tile > 0 ? a : 2;
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        for (std::int64_t r = 0; r < results; ++r) {
          for (std::int64_t j = 0; j < n; ++j) {
            float sum = 0;
            for (std::int64_t row = r * a * b / results; row < (r + 1) * a * b / results; ++row) {
              sum += tensors[0].as<float>()[static_cast<std::size_t>(row * n + j)];
            }
            expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(r * n + j)], sum,
                             "column");
          }
        }
      });
    }
  }
}

/// Columns of values beyond a second cache: whole rows are read.
TEST(EmitReduce, ColumnSumsOfManyRows) {
  for (std::int64_t n : {100, 128}) {
    const std::int64_t rows = 3000, tasks = 2;
    const Kernel kernel = sum_kernel(tasks, rows / tasks, n, {0, 1}, false, tasks, 0);
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 11);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t r = 0; r < tasks; ++r) {
        for (std::int64_t j = 0; j < n; ++j) {
          float sum = 0;
          for (std::int64_t row = r * rows / tasks; row < (r + 1) * rows / tasks; ++row) {
            sum += tensors[0].as<float>()[static_cast<std::size_t>(row * n + j)];
          }
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(r * n + j)], sum,
                           "column");
        }
      }
    });
  }
}

/// The vector axis is summed, but the operand's innermost axis is not: one chain in order.
TEST(EmitReduce, ChainAlongTheVectorAxis) {
  for (std::int64_t n : kLengths) {
    const std::int64_t a = 3, b = 5;
    const Kernel kernel = sum_kernel(a, b, n, {1, 2}, false, 1, 2);
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 11);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t i = 0; i < a; ++i) {
        float sum = 0;
        for (std::int64_t j = 0; j < b * n; ++j) {
          sum += tensors[0].as<float>()[static_cast<std::size_t>(i * b * n + j)];
        }
        expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(i)], sum, "chain");
      }
    });
  }
}

/// One long row in blocks whose borders are multiples of 16, and in tiles that are not.
TEST(EmitReduce, LanesCountFromTheStartOfTheAxis) {
  for (std::int64_t n : {5, 40, 100, 333}) {
    for (std::int64_t tile : {0, 13}) {
      Kernel kernel;
      kernel.name = "long_row";
      const ir::Cut cut{n, std::min<std::int64_t>(3, (n + 15) / 16), 16};
      kernel.axes = {{"n", n, -1}, {"block", cut.count, 0}};
      kernel.tasks = {{0, cut}};
      if (tile > 0) kernel.tile = Tile{0, tile};
      kernel.buffers = {buffer("x", f32, {n}, BufferRole::input),
                        buffer("y", f32, {cut.count}, BufferRole::output)};
      Loop loop;
      loop.axes = {0};
      loop.body = {{{element(0, {0}), {}}}, copy_program(f32), {}};
      loop.accumulates = {{ReductionKind::sum, element(1, {1}), 0, {0}, true}};
      kernel.stages = {loop};
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 12);
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        for (std::int64_t task = 0; task < cut.count; ++task) {
          std::vector<float> lanes(16, 0.0f);
          for (std::int64_t j = cut(task).begin; j < cut(task).end; ++j) {
            lanes[static_cast<std::size_t>(j % 16)] +=
                tensors[0].as<float>()[static_cast<std::size_t>(j)];
          }
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(task)], fold(lanes),
                           "block");
        }
      });
    }
  }
}

/// All other reductions, along rows, along columns and over both, with tiles of rows.
TEST(EmitReduce, ExtremaAndLogic) {
  const std::int64_t m = 6;
  for (std::int64_t n : {1, 5, 16, 37}) {
    for (std::int64_t tile : {0, 4}) {
      Kernel kernel;
      kernel.name = "extrema";
      kernel.axes = {{"m", m, -1}, {"n", n, -1}};
      if (tile > 0) kernel.tile = Tile{0, tile};
      kernel.buffers = {buffer("x", f32, {m, n}, BufferRole::input)};
      Loop loop;
      loop.axes = {0, 1};
      loop.body = {{{element(0, {0, 1}), {}}},
                   program({f32},
                           [](ir::ScalarBuilder& b, auto x) {
                             return std::vector<ir::Scalar>{x[0], less(x[0], b.constant(f32, 1))};
                           }),
                   {}};
      const ReductionKind kinds[] = {ReductionKind::max,     ReductionKind::min,
                                     ReductionKind::arg_max, ReductionKind::arg_min,
                                     ReductionKind::any,     ReductionKind::all};
      const std::vector<AxisId> overs[] = {{1}, {0}, {0, 1}};
      for (ReductionKind kind : kinds) {
        const bool argument = kind == ReductionKind::arg_max || kind == ReductionKind::arg_min;
        const bool logic = kind == ReductionKind::any || kind == ReductionKind::all;
        const ElementType type = argument ? ElementType::i32 : logic ? ElementType::boolean : f32;
        for (const std::vector<AxisId>& over : overs) {
          Shape shape;
          std::vector<AxisId> axes;
          for (AxisId axis : {0, 1}) {
            if (std::ranges::find(over, axis) != over.end()) continue;
            axes.push_back(axis);
            shape.push_back(axis == 0 ? m : n);
          }
          const auto id = static_cast<BufferId>(kernel.buffers.size());
          kernel.buffers.push_back(
              buffer("y" + std::to_string(id), type, shape, BufferRole::output));
          loop.accumulates.push_back({kind, element(id, axes), logic ? 1 : 0, over, false});
        }
      }
      kernel.stages = {loop};
      std::vector<Tensor> tensors = parameters(kernel);
      fill(tensors[0], 13, 0, 2);
      for (float& x : tensors[0].as<float>()) x = std::floor(x * 4) / 4;  // ties
      const auto x = [&](std::int64_t i, std::int64_t j) {
        return tensors[0].as<float>()[static_cast<std::size_t>(i * n + j)];
      };
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        std::size_t y = 1;
        for (ReductionKind kind : kinds) {
          for (const std::vector<AxisId>& over : overs) {
            const bool rows = over == overs[0], columns = over == overs[1];
            const std::int64_t outer = rows ? m : columns ? n : 1;
            const std::int64_t inner = rows ? n : columns ? m : m * n;
            for (std::int64_t o = 0; o < outer; ++o) {
              const auto value = [&](std::int64_t i) {
                return rows ? x(o, i) : columns ? x(i, o) : x(i / n, i % n);
              };
              std::int64_t best = 0;
              bool any = false, all = true;
              for (std::int64_t i = 0; i < inner; ++i) {
                const bool greatest = kind == ReductionKind::max || kind == ReductionKind::arg_max;
                if (greatest ? value(i) > value(best) : value(i) < value(best)) best = i;
                any = any || value(i) < 1;
                all = all && value(i) < 1;
              }
              const auto at_o = static_cast<std::size_t>(o);
              const Tensor& actual = result[y];
              if (actual.type.element == f32) {
                expect_same_bits(actual.as<float>()[at_o], value(best), "extremum");
              } else if (actual.type.element == ElementType::i32) {
                EXPECT_EQ(actual.as<std::int32_t>()[at_o], best);
              } else {
                EXPECT_EQ(actual.as<std::uint8_t>()[at_o] != 0,
                          kind == ReductionKind::any ? any : all);
              }
            }
            ++y;
          }
        }
      });
    }
  }
}

/// Row softmax without the exponential: three stages and a scratch row per position of the tile.

/// Least and greatest of values around zero: subnormals are zero of their sign, -0 < +0, NaN wins.
TEST(EmitReduce, ExtremaAroundZero) {
  const float values[] = {0.0f, -0.0f, 1e-40f, -1e-40f};
  for (std::int64_t rows : {3, 8}) {  // alone, and in groups of four
    for (std::int64_t n : kLengths) {
      for (ReductionKind kind : {ReductionKind::max, ReductionKind::min}) {
        Kernel kernel = sum_kernel(1, rows, n, {2}, false, 1, 0);
        std::get<Loop>(kernel.stages[0]).accumulates[0].kind = kind;
        std::vector<Tensor> tensors = parameters(kernel);
        const std::span<float> x = tensors[0].as<float>();
        for (std::size_t i = 0; i < x.size(); ++i) {
          const std::size_t row = i / static_cast<std::size_t>(n);
          // Rows of one value, of which some have another one at the end or a NaN at the start.
          const bool last = (i + 1) % static_cast<std::size_t>(n) == 0;
          x[i] = values[(row + (last ? row / 2 : 0)) % 4];
          if (row == 2 && i % static_cast<std::size_t>(n) == 0) x[i] = -std::nanf("");
        }
        const FloatEnvironment environment;
        run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
          const std::span<const float> y = result[1].as<float>();
          for (std::int64_t row = 0; row < rows; ++row) {
            const float* from = x.data() + row * n;
            if (row == 2) {
              EXPECT_TRUE(std::isnan(y[2]));
              continue;
            }
            bool positive = !std::signbit(from[0]);
            for (std::int64_t j = 1; j < n; ++j) {
              const bool other = !std::signbit(from[j]);
              positive = kind == ReductionKind::max ? positive || other : positive && other;
            }
            const float wanted = positive ? 0.0f : -0.0f;
            EXPECT_EQ(std::bit_cast<std::uint32_t>(y[static_cast<std::size_t>(row)]),
                      std::bit_cast<std::uint32_t>(wanted))
                << rows << " rows of " << n << ", row " << row;
          }
        });
      }
    }
  }
}

/// Least and greatest of floats of any bits, along rows and columns.
TEST(EmitReduce, ExtremaOfAnyBits) {
  const std::int64_t rows = 33, columns = 70;
  const FloatEnvironment environment;
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    for (const std::vector<AxisId>& over : {std::vector<AxisId>{2}, std::vector<AxisId>{0, 1}}) {
      for (ReductionKind kind : {ReductionKind::max, ReductionKind::min}) {
        Kernel kernel = sum_kernel(1, rows, columns, over, false, 1, 0);
        std::get<Loop>(kernel.stages[0]).accumulates[0].kind = kind;
        std::vector<Tensor> tensors = parameters(kernel);
        const std::span<float> x = tensors[0].as<float>();
        std::mt19937 random(seed);
        for (float& value : x) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        for (float& value : x) {
          // With an even seed of one sign, with a seed above 2 hardly ever NaN.
          if (seed % 2 == 0)
            value = kind == ReductionKind::max ? -std::abs(value) : std::abs(value);
          if (seed > 2 && std::isnan(value)) value = std::copysign(INFINITY, value);
        }
        const bool by_row = over.size() == 1;
        run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
          for (std::int64_t o = 0; o < (by_row ? rows : columns); ++o) {
            bool nan = false;
            float best = kind == ReductionKind::max ? -INFINITY : INFINITY;
            for (std::int64_t i = 0; i < (by_row ? columns : rows); ++i) {
              const float value =
                  x[static_cast<std::size_t>(by_row ? o * columns + i : i * columns + o)];
              nan = nan || std::isnan(value);
              if (kind == ReductionKind::max ? value > best : value < best) best = value;
            }
            // A subnormal number is the zero of its sign.
            const auto bits = std::bit_cast<std::uint32_t>(best);
            if ((bits & 0x7f800000) == 0) best = std::bit_cast<float>(bits & 0x80000000);
            const float found = result[1].as<float>()[static_cast<std::size_t>(o)];
            if (nan) {
              EXPECT_TRUE(std::isnan(found)) << "seed " << seed;
            } else {
              expect_same_bits(found, best, "seed " + std::to_string(seed));
            }
          }
        });
      }
    }
  }
}

TEST(EmitReduce, StagesShareScratch) {
  const std::int64_t m = 23, n = 21;
  for (std::int64_t tile : {0, 4}) {
    Kernel kernel;
    kernel.name = "stages";
    kernel.axes = {{"m", m, -1}, {"n", n, -1}};
    kernel.tasks = {{0, {m, 3, 1}}};
    if (tile > 0) kernel.tile = Tile{0, tile};
    const std::int64_t held = tile > 0 ? tile : 8;
    kernel.buffers = {buffer("x", f32, {m, n}, BufferRole::input),
                      buffer("y", f32, {m, n}, BufferRole::output),
                      buffer("t", f32, {held}, BufferRole::scratch, {0}),
                      buffer("e", f32, {held, n}, BufferRole::scratch, {0, -1}),
                      buffer("s", f32, {held}, BufferRole::scratch, {0})};
    Loop greatest;
    greatest.axes = {0, 1};
    greatest.body = {{{element(0, {0, 1}), {}}}, copy_program(f32), {}};
    greatest.accumulates = {{ReductionKind::max, element(2, {0}), 0, {1}, false}};
    Loop shifted;
    shifted.axes = {0, 1};
    shifted.body = {{{element(0, {0, 1}), {}}, {element(2, {0}), {}}},
                    program({f32, f32},
                            [](ir::ScalarBuilder&, auto x) {
                              return std::vector<ir::Scalar>{(x[0] - x[1]) * (x[0] - x[1])};
                            }),
                    {}};
    shifted.stores = {{element(3, {0, 1}), 0}};
    shifted.accumulates = {{ReductionKind::sum, element(4, {0}), 0, {1}, true}};
    Loop divided;
    divided.axes = {0, 1};
    divided.body = {
        {{element(3, {0, 1}), {}}, {element(4, {0}), {}}},
        program({f32, f32},
                [](ir::ScalarBuilder&, auto x) { return std::vector<ir::Scalar>{x[0] / x[1]}; }),
        {}};
    divided.stores = {{element(1, {0, 1}), 0}};
    kernel.stages = {greatest, shifted, divided};
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 14);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::int64_t i = 0; i < m; ++i) {
        const float* x = tensors[0].as<float>().data() + i * n;
        const float t = *std::max_element(x, x + n);
        std::vector<float> e;
        for (std::int64_t j = 0; j < n; ++j) e.push_back((x[j] - t) * (x[j] - t));
        const float s = lane_sum(e.data(), 1, n);
        for (std::int64_t j = 0; j < n; ++j) {
          expect_same_bits(result[1].as<float>()[static_cast<std::size_t>(i * n + j)],
                           e[static_cast<std::size_t>(j)] / s, "element");
        }
      }
    });
  }
}

TEST(Jit, IdenticalKernelsAreCompiledOnce) {
  std::vector<Kernel> kernels(3, sum_kernel(4, 4, 20, {2}, true, 2, 0));
  kernels[1].name = "another";
  kernels[1].axes[0].name = "z";
  kernels[2] = sum_kernel(4, 4, 21, {2}, true, 2, 0);
  const MachineCode code = compile(kernels, make_target(InstructionSet::native), 2);
  EXPECT_EQ(code.report.distinct_kernels, 2u);
  EXPECT_EQ(code.kernels[0].function, code.kernels[1].function);
  EXPECT_NE(code.kernels[0].function, code.kernels[2].function);
  EXPECT_EQ(kernel_symbols(kernels)[0], kernel_symbols(kernels)[1]);
}

TEST(Jit, TextForms) {
  const std::vector<Kernel> kernels{sum_kernel(4, 4, 20, {2}, true, 2, 0)};
  for (InstructionSet set : kInstructionSets) {
    const Target target = make_target(set);
    const std::string symbol = kernel_symbols(kernels)[0];
    EXPECT_NE(generate_code(kernels, target, CodeForm::llvm_ir).code.find("define void @" + symbol),
              std::string::npos);
    EXPECT_NE(generate_code(kernels, target, CodeForm::assembly).code.find(symbol + ":"),
              std::string::npos);
    EXPECT_EQ(generate_code(kernels, target, CodeForm::object).code.substr(1, 3), "ELF");
    EXPECT_EQ(generate_code(kernels, target, CodeForm::object).code,
              generate_code(kernels, target, CodeForm::object).code);
  }
}

}  // namespace
}  // namespace gradus::codegen
