// Contractions: every layout of the operands, odd sizes, tasks, parts, panels and epilogues,
// against one chain of fma per element.

#include <algorithm>
#include <array>

#include "codegen/contraction_choice.h"
#include "codegen/exchange.h"
#include "codegen/kernel_scratch.h"
#include "emit_support.h"

namespace gradus::codegen {
namespace {

struct Problem {
  std::int64_t batch = 1, m = 1, n = 1, k = 1;
  bool lhs_transposed = false;  // lhs is [k, m]
  ElementType type = ElementType::f32;
  std::int64_t m_tasks = 1, n_tasks = 1, parts = 1, part_unit = 1;
  std::int64_t panel = 0;
  RegisterTile tile{4, 2};
  std::int64_t tile_m = 0;      // m in tiles of the task
  std::int64_t tile_k = 0;      // k in tiles of the task
  bool rhs_transposed = false;  // rhs is [n, k], and copied
  std::int64_t chunk = 0;       // of k
  enum Epilogue { none, bias, long_one } epilogue = none;
  bool exchanged = false;  // factors, where there is one column
};

Kernel contraction(const Problem& p) {
  Kernel kernel;
  kernel.name = "contraction";
  kernel.axes = {{"b", p.batch, -1}, {"m", p.m, -1}, {"n", p.n, -1}, {"k", p.k, -1}};
  kernel.tasks = {{1, {p.m, p.m_tasks, 1}}, {2, {p.n, p.n_tasks, 1}}};
  if (p.tile_m > 0) kernel.tile = Tile{1, p.tile_m};
  if (p.tile_k > 0) kernel.tile = Tile{3, p.tile_k};
  const Shape lhs = p.lhs_transposed ? Shape{p.batch, p.k, p.m} : Shape{p.batch, p.m, p.k};
  const Shape rhs = p.panel > 0        ? Shape{p.batch, (p.n + p.panel - 1) / p.panel, p.k, p.panel}
                    : p.rhs_transposed ? Shape{p.batch, p.n, p.k}
                                       : Shape{p.batch, p.k, p.n};
  kernel.buffers = {buffer("x", p.type, lhs, BufferRole::input),
                    buffer("w", p.type, rhs, BufferRole::input),
                    buffer("bias", p.type, {p.n}, BufferRole::input),
                    buffer("y", p.type, {p.batch, p.m, p.n}, BufferRole::output)};
  Contract contract;
  contract.batch = {0};
  contract.rows = {1};
  contract.n = 2;
  contract.k = {3};
  contract.parts = {p.k, p.parts, p.part_unit};
  contract.lhs =
      element(0, p.lhs_transposed ? std::vector<AxisId>{0, 3, 1} : std::vector<AxisId>{0, 1, 3});
  contract.rhs = element(1, p.panel > 0        ? std::vector<AxisId>{0}
                            : p.rhs_transposed ? std::vector<AxisId>{0, 2, 3}
                                               : std::vector<AxisId>{0, 3, 2});
  contract.copied = p.rhs_transposed;
  contract.chunk = {0, p.chunk};
  contract.panel = p.panel;
  contract.tile = p.tile;
  if (p.epilogue == Problem::none) {
    contract.epilogue.program = copy_program(p.type);
  } else {
    contract.epilogue.loads = {{element(2, {2}), {}}};
    contract.epilogue.program = program({p.type, p.type}, [&](ir::ScalarBuilder& b, auto x) {
      ir::Scalar y = x[0] + x[1];
      if (p.epilogue == Problem::long_one) {
        const ir::Scalar row = convert(b.index(1, ElementType::i32), p.type);
        y = y * y * 0.5 + row * x[1] - y;
      }
      return std::vector<ir::Scalar>{y};
    });
  }
  contract.stores = {{element(3, {0, 1, 2}), 0}};
  kernel.stages = {contract};
  return kernel;
}

template <typename T>
T expected_element(const Problem& p, const std::vector<Tensor>& t, std::int64_t b, std::int64_t i,
                   std::int64_t j) {
  const auto at_index = [](const Tensor& tensor, std::int64_t index) {
    return tensor.as<T>()[static_cast<std::size_t>(index)];
  };
  const ir::Cut cut{p.k, p.parts, p.part_unit};
  T total{};
  for (std::int64_t part = 0; part < p.parts; ++part) {
    T sum{};
    for (std::int64_t l = cut(part).begin; l < cut(part).end; ++l) {
      const T x = at_index(t[0], b * p.m * p.k + (p.lhs_transposed ? l * p.m + i : i * p.k + l));
      const std::int64_t panels = p.panel > 0 ? (p.n + p.panel - 1) / p.panel : 0;
      const T w = at_index(
          t[1], p.panel > 0        ? ((b * panels + j / p.panel) * p.k + l) * p.panel + j % p.panel
                : p.rhs_transposed ? (b * p.n + j) * p.k + l
                                   : (b * p.k + l) * p.n + j);
      sum = fused_multiply_add(x, w, sum);
    }
    total = part == 0 ? sum : total + sum;
  }
  if (p.epilogue == Problem::none) return total;
  const T bias = at_index(t[2], j);
  const T y = total + bias;
  return p.epilogue == Problem::bias ? y : y * y * T{0.5} + static_cast<T>(i) * bias - y;
}

/// Makes the column of the kernel's contraction a row.
void exchange(Kernel& kernel) {
  auto& contract = std::get<Contract>(kernel.stages[0]);
  const AxisId m = contract.m();
  contract = exchange_one_column(kernel, contract, make_target(InstructionSet::native));
  EXPECT_EQ(contract.n, m) << "lanes are positions of m";
}

void check(const Problem& p) {
  SCOPED_TRACE(testing::Message() << "m " << p.m << " n " << p.n << " k " << p.k << " tile "
                                  << p.tile.rows << "x" << p.tile.vectors << " transposed "
                                  << p.lhs_transposed << " parts " << p.parts << " tasks "
                                  << p.m_tasks << "x" << p.n_tasks << " panel " << p.panel
                                  << " copied " << p.rhs_transposed << " chunk " << p.chunk
                                  << " epilogue " << p.epilogue);
  Kernel kernel = contraction(p);
  if (p.exchanged) exchange(kernel);
  std::vector<Tensor> tensors = parameters(kernel);
  for (std::uint32_t i = 0; i < 4; ++i) fill(tensors[i], i + 20);  // results too: they are not read
  dispatch(p.type, [&](auto sample) {
    using T = decltype(sample);
    if constexpr (std::is_floating_point_v<T>) {
      Tensor expected(tensors[3].type);
      {
        const FloatEnvironment environment;
        std::size_t e = 0;
        for (std::int64_t b = 0; b < p.batch; ++b) {
          for (std::int64_t i = 0; i < p.m; ++i) {
            for (std::int64_t j = 0; j < p.n; ++j) {
              expected.as<T>()[e++] = expected_element<T>(p, tensors, b, i, j);
            }
          }
        }
      }
      run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
        for (std::size_t e = 0; e < expected.as<T>().size(); ++e) {
          if (testing::Test::HasFailure()) return;
          expect_same_bits(result[3].as<T>()[e], expected.as<T>()[e], "element");
        }
      });
    }
  });
}

TEST(Contract, SumsGoOnFromTileToTile) {
  for (std::int64_t n : {1, 10, 33}) {
    for (std::int64_t tile : {1, 5, 19, 30}) {
      for (const auto epilogue : {Problem::none, Problem::bias, Problem::long_one}) {
        for (const bool transposed : {false, true}) {
          check({.batch = 3,
                 .m = 7,
                 .n = n,
                 .k = 19,
                 .lhs_transposed = transposed,
                 .m_tasks = 2,
                 .n_tasks = n == 33 ? 2 : 1,
                 .tile_k = tile,
                 .epilogue = epilogue});
        }
      }
    }
  }
}

TEST(Contract, SizesAndTiles) {
  for (std::int64_t m : {1, 3, 4, 9}) {
    for (std::int64_t n : {1, 10, 16, 33, 64}) {
      for (RegisterTile tile : {RegisterTile{4, 2}, RegisterTile{5, 1}, RegisterTile{2, 3}}) {
        check({.m = m, .n = n, .k = 7, .tile = tile});
      }
    }
  }
}

TEST(Contract, Types) {
  for (ElementType type :
       {ElementType::f32, ElementType::f64, ElementType::i32, ElementType::i64, ElementType::u32}) {
    for (bool transposed : {false, true}) {
      check({.m = 6, .n = 21, .k = 9, .lhs_transposed = transposed, .type = type});
    }
  }
}

TEST(Contract, TasksOfUnequalLength) {
  for (std::int64_t tasks : {2, 3, 4}) {
    for (bool transposed : {false, true}) {
      check({.batch = 2,
             .m = 23,
             .n = 37,
             .k = 5,
             .lhs_transposed = transposed,
             .m_tasks = tasks,
             .n_tasks = tasks});
    }
  }
  check({.m = 50, .n = 20, .k = 5, .m_tasks = 3, .tile_m = 7});
}

TEST(Contract, OneColumn) {
  for (std::int64_t m : {5, 16, 37, 300}) {
    for (bool transposed : {false, true}) {
      for (std::int64_t parts : {1, 2}) {
        check({.m = m, .n = 1, .k = 6, .lhs_transposed = transposed, .parts = parts});
      }
      check({.m = m,
             .n = 1,
             .k = 1,
             .lhs_transposed = transposed,
             .m_tasks = 3,
             .epilogue = Problem::long_one});
    }
  }
}

TEST(Contract, OneColumnAsOneRow) {
  for (std::int64_t m : {16, 37, 300}) {
    for (bool transposed : {false, true}) {
      for (std::int64_t parts : {1, 2}) {
        for (std::int64_t k : {16, 1100}) {  // copied whole, and in pieces
          check({.batch = 2,
                 .m = m,
                 .n = 1,
                 .k = k,
                 .lhs_transposed = transposed,
                 .m_tasks = 3,
                 .parts = parts,
                 .epilogue = Problem::long_one,
                 .exchanged = true});
        }
      }
      check({.m = m,
             .n = 1,
             .k = 20,
             .lhs_transposed = transposed,
             .type = ElementType::f64,
             .tile_m = 7,
             .exchanged = true});
    }
  }
}

TEST(Contract, OnlyOneColumnBecomesARow) {
  const Target target = make_target(InstructionSet::native);
  const auto lanes = [&](const Problem& p) {
    const Kernel kernel = contraction(p);
    return exchange_one_column(kernel, std::get<Contract>(kernel.stages[0]), target).n;
  };
  constexpr AxisId kM = 1, kN = 2;
  EXPECT_EQ(lanes({.m = 40, .n = 1, .k = 16}), kM);
  EXPECT_EQ(lanes({.m = 40, .n = 2, .k = 16}), kN);
  EXPECT_EQ(lanes({.m = 12, .n = 1, .k = 16}), kN) << "no whole square to transpose";
  EXPECT_EQ(lanes({.m = 40, .n = 1, .k = 9}), kN);
  EXPECT_EQ(lanes({.m = 3, .n = 1, .k = 9, .lhs_transposed = true}), kM) << "neighbours as it is";
  EXPECT_EQ(lanes({.m = 40, .n = 1, .k = 16, .tile_k = 4}), kN) << "sums go on from tile to tile";
}

TEST(Contract, Parts) {
  for (std::int64_t parts : {2, 3, 5}) {
    for (auto epilogue : {Problem::none, Problem::bias}) {
      for (std::int64_t unit : {1, 4}) {
        check({.m = 5, .n = 19, .k = 41, .parts = parts, .part_unit = unit, .epilogue = epilogue});
      }
    }
  }
}

TEST(Contract, Panels) {
  for (std::int64_t n : {5, 64, 100}) {
    for (std::int64_t parts : {1, 2}) {
      check({.batch = 2, .m = 6, .n = n, .k = 9, .parts = parts, .panel = 64, .tile = {3, 2}});
    }
  }
}

TEST(Contract, Copied) {
  for (std::int64_t n : {5, 32, 100}) {
    for (std::int64_t chunk : {0, 16, 25}) {
      for (ElementType type : {ElementType::f32, ElementType::f64}) {
        check({.batch = 2,
               .m = 6,
               .n = n,
               .k = 70,
               .type = type,
               .m_tasks = 2,
               .n_tasks = n > 5 ? 2 : 1,
               .parts = chunk == 0 ? 1 : 2,
               .tile = {3, 2},
               .rhs_transposed = true,
               .chunk = chunk,
               .epilogue = Problem::bias});
      }
    }
  }
}

/// Sums rest in scratch between chunks unless they are the result as they are, in whole vectors.
TEST(Contract, SumsRestInTheResult) {
  const Problem plain{
      .batch = 2, .m = 7, .n = 48, .k = 70, .m_tasks = 2, .tile = {3, 2}, .chunk = 16};
  const auto expect = [&](bool in_result, auto&& change) {
    Problem p = plain;
    change(p);
    const Kernel kernel = contraction(p);
    EXPECT_EQ(rests_in_result(kernel, std::get<Contract>(kernel.stages[0])), in_result);
    check(p);
  };
  expect(true, [](Problem&) {});
  expect(true, [](Problem& p) { p.type = ElementType::f64; });
  expect(true, [](Problem& p) { p.lhs_transposed = true; });
  expect(true, [](Problem& p) { p.rhs_transposed = true; });
  expect(true, [](Problem& p) { p.panel = 64; });
  expect(false, [](Problem& p) { p.n = 40; });
  expect(false, [](Problem& p) { p.n_tasks = 2; });
  expect(false, [](Problem& p) { p.parts = 2; });
  expect(false, [](Problem& p) { p.epilogue = Problem::bias; });
  expect(false, [](Problem& p) { p.k = 0; });
  expect(false, [](Problem& p) {
    p.k = 5;
    p.parts = 2;
    p.part_unit = 8;  // the second part is empty
  });
}

TEST(Contract, Epilogues) {
  for (auto epilogue : {Problem::none, Problem::bias, Problem::long_one}) {
    for (std::int64_t n : {10, 48}) {
      check({.batch = 2, .m = 9, .n = n, .k = 6, .m_tasks = 2, .epilogue = epilogue});
    }
  }
}

/// Tiles of whole groups of rows under an epilogue with random words.
TEST(Contract, RandomEpilogue) {
  for (std::int64_t m : {24, 30}) {
    Problem p{.m = m, .n = 40, .k = 6, .m_tasks = 2, .tile = {8, 2}, .epilogue = Problem::bias};
    Kernel kernel = contraction(p);
    auto& contract = std::get<Contract>(kernel.stages[0]);
    const ElementType u32 = ElementType::u32;
    contract.epilogue.program = program({p.type, p.type}, [&](ir::ScalarBuilder& b, auto x) {
      const ir::Scalar row = b.index(1, u32), column = b.index(2, u32);
      std::array<ir::Scalar, 4> word{row >> 2, column, row >> 2, column};
      for (int round = 0; round < 8; ++round) {
        for (std::size_t i = 0; i < 4; ++i) word[i] = (word[i] * 3.0 + word[(i + 1) % 4]) ^ word[i];
      }
      const ir::Scalar which = row & b.constant(u32, 3);
      const auto is = [&](int number) { return equal(which, b.constant(u32, number)); };
      const ir::Scalar drawn =
          select(is(0), word[0], select(is(1), word[1], select(is(2), word[2], word[3])));
      return std::vector<ir::Scalar>{x[0] * convert(drawn >> 8, p.type) + x[1]};
    });
    std::vector<Tensor> tensors = parameters(kernel);
    for (std::uint32_t i = 0; i < 3; ++i) fill(tensors[i], i + 40);
    run_everywhere(kernel, tensors, [](const std::vector<Tensor>&) {});
  }
}

TEST(Contract, EmptySum) { check({.m = 3, .n = 5, .k = 0, .parts = 1}); }

/// A contraction into scratch, and a row maximum of it: tiles of rows.
TEST(Contract, FeedsALoop) {
  const std::int64_t m = 22, n = 10, k = 12;
  Kernel kernel = contraction({.m = m, .n = n, .k = k, .m_tasks = 2, .tile_m = 4});
  kernel.buffers[3] = buffer("t", ElementType::f32, {m}, BufferRole::output);
  kernel.buffers.push_back(
      buffer("y", ElementType::f32, {1, 4, n}, BufferRole::scratch, {-1, 1, -1}));
  auto& contract = std::get<Contract>(kernel.stages[0]);
  contract.stores[0].target.buffer = 4;
  Loop loop;
  loop.axes = {1, 2};
  loop.body = {{{{4, {Affine{}, at(1), at(2)}}, {}}}, copy_program(ElementType::f32), {}};
  loop.accumulates = {{ir::ReductionKind::max, element(3, {1}), 0, {2}, false}};
  kernel.stages.push_back(loop);
  std::vector<Tensor> tensors = parameters(kernel);
  for (std::uint32_t i = 0; i < 3; ++i) fill(tensors[i], i + 30);
  const Problem p{.m = m, .n = n, .k = k};
  run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
    for (std::int64_t i = 0; i < m; ++i) {
      float greatest = -INFINITY;
      for (std::int64_t j = 0; j < n; ++j) {
        greatest = std::max(greatest, expected_element<float>(p, tensors, 0, i, j));
      }
      expect_same_bits(result[3].as<float>()[static_cast<std::size_t>(i)], greatest, "row");
    }
  });
}

/// Lines that a kernel's code fetches for reading and for writing.
std::array<std::ptrdiff_t, 2> fetches(const Problem& problem) {
  const std::vector<Kernel> kernels{contraction(problem)};
  const std::string code =
      generate_code(kernels, make_target(InstructionSet::x86_64_v4), CodeForm::llvm_ir).code;
  std::array<std::ptrdiff_t, 2> result{};
  const std::string call = "call void @llvm.prefetch.p0(ptr ";
  for (std::size_t at = code.find(call); at != std::string::npos; at = code.find(call, at + 1)) {
    ++result[code.substr(code.find(", i32 ", at)).starts_with(", i32 1,") ? 1 : 0];
  }
  return result;
}

TEST(Contract, FetchesTheNextRowsAndTheResult) {
  using Lines = std::array<std::ptrdiff_t, 2>;
  const Problem problem{.m = 256, .n = 64, .k = 64, .tile = {4, 2}};
  EXPECT_EQ(fetches(problem), (Lines{1, 2})) << "a row per step, of two lines in the result";
  const auto with = [&](auto&& change) {
    Problem other = problem;
    change(other);
    return fetches(other);
  };
  EXPECT_EQ(with([](Problem& p) { p.type = ElementType::f64; }), (Lines{1, 2}));
  EXPECT_EQ(with([](Problem& p) {
              p.tile = {22, 1};
              p.m = 22 * 16;
            }),
            (Lines{2, 1}))
      << "more rows than a line has elements";
  EXPECT_EQ(with([](Problem& p) { p.epilogue = Problem::long_one; }), (Lines{1, 2}));
  EXPECT_EQ(with([](Problem& p) { p.lhs_transposed = true; }), (Lines{0, 2}));
  EXPECT_EQ(with([](Problem& p) { p.k = 8; }), (Lines{0, 2})) << "lhs is in a first cache";
  EXPECT_EQ(with([](Problem& p) { p.parts = 2; }), (Lines{1, 8})) << "before the first part";
  EXPECT_EQ(with([](Problem& p) {
              p.k = 32;
              p.m = 33 * 22;
              p.tile = {33, 1};
            }),
            (Lines{3, 33}))
      << "more rows than steps: before the first one";
  EXPECT_EQ(with([](Problem& p) { p.m = 16; }), (Lines{0, 0})) << "all is";
}

TEST(Contract, FetchesTheNextPieceWhereItBegins) {
  const auto code = [](std::int64_t chunk) {
    const std::vector<Kernel> kernels{
        contraction({.m = 64, .n = 64, .k = 100, .lhs_transposed = true, .chunk = chunk})};
    return generate_code(kernels, make_target(InstructionSet::x86_64_v4), CodeForm::llvm_ir).code;
  };
  EXPECT_EQ(code(28), code(25)) << "four pieces of 25, however long they may be";
  EXPECT_NE(code(28), code(20));
}

TEST(Contract, RegisterTilesFit) {
  for (const Target& target : host_targets()) {
    for (std::int64_t m : {1, 2, 3, 10, 32, 64, 128, 784}) {
      for (std::int64_t n : {1, 10, 16, 32, 100, 256, 512}) {
        const RegisterTile tile = candidates({.m = m, .n = n}, target)[0].choice.tile;
        EXPECT_GE(tile.rows, 1);
        EXPECT_LE(tile.rows * tile.vectors + tile.vectors + 1, target.vector_registers());
        EXPECT_LE(tile.rows, m);
      }
    }
  }
}

/// Whether the code moves a vector register to the stack.
bool spills(const Problem& problem, const Target& target) {
  const std::vector<Kernel> kernels{contraction(problem)};
  const std::string text = generate_code(kernels, target, CodeForm::assembly).code;
  for (const char* size : {"16-byte Spill", "32-byte Spill", "64-byte Spill"}) {
    if (text.find(size) != std::string::npos) return true;
  }
  return false;
}

/// No accumulator leaves its register where the tile fits the registers.
TEST(Contract, SpillsNoVector) {
  for (InstructionSet set : {InstructionSet::x86_64_v3, InstructionSet::x86_64_v4}) {
    const Target target = make_target(set);
    for (bool transposed : {false, true}) {
      for (std::int64_t n : {32, 64, 256}) {
        Problem p{.m = 120, .n = n, .k = 200, .lhs_transposed = transposed};
        p.tile = candidates({.type = p.type, .m = p.m, .n = p.n}, target)[0].choice.tile;
        EXPECT_FALSE(spills(p, target))
            << to_string(set) << " tile " << p.tile.rows << "x" << p.tile.vectors;
        p.tile = {20, 2};
        EXPECT_TRUE(spills(p, target)) << "a tile that cannot fit";
      }
    }
  }
}

}  // namespace
}  // namespace gradus::codegen
