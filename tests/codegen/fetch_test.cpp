// What kernels fetch ahead, and how rows of far memory are read.

#include "codegen/fetch.h"

#include <fmt/format.h>

#include "codegen/emit_program.h"
#include "codegen/text_kernel.h"
#include "emit_support.h"

namespace gradus::codegen {
namespace {

constexpr ElementType f32 = ElementType::f32;

/// y = -x of [m, n] floats.
Kernel negation(std::int64_t m, std::int64_t n) {
  Kernel kernel;
  kernel.name = "negation";
  kernel.axes = {{"m", m, -1}, {"n", n, -1}};
  kernel.tasks = {{0, {m, 2, 1}}};
  kernel.buffers = {buffer("x", f32, {m, n}, BufferRole::input),
                    buffer("y", f32, {m, n}, BufferRole::output)};
  Loop loop;
  loop.axes = {0, 1};
  loop.body.loads = {{element(0, {0, 1}), {}}};
  loop.body.program =
      program({f32}, [](ir::ScalarBuilder&, auto x) { return std::vector<ir::Scalar>{-x[0]}; });
  loop.stores = {{element(1, {0, 1}), 0}};
  kernel.stages = {loop};
  return kernel;
}

std::string llvm_ir(const Kernel& kernel) {
  const std::vector<Kernel> kernels{kernel};
  return generate_code(kernels, make_target(InstructionSet::x86_64_v4), CodeForm::llvm_ir).code;
}

bool fetches(const Kernel& kernel) {
  return llvm_ir(kernel).find("call void @llvm.prefetch") != std::string::npos;
}

TEST(Fetch, FetchesWhatItIsGoingToWrite) {
  EXPECT_TRUE(fetches(negation(64, 1024)));
  EXPECT_TRUE(fetches(negation(1024, 20))) << "rows shorter than the way ahead";
  EXPECT_FALSE(fetches(negation(16, 64))) << "all in a first cache";
  for (const auto& [m, n] : {std::pair<std::int64_t, std::int64_t>{40, 1024}, {1024, 20}}) {
    Kernel kernel = negation(m, n);
    std::vector<Tensor> tensors = parameters(kernel);
    fill(tensors[0], 1);
    run_everywhere(kernel, tensors, [&](const std::vector<Tensor>& result) {
      for (std::size_t i = 0; i < result[0].as<float>().size(); ++i) {
        ASSERT_EQ(result[1].as<float>()[i], -result[0].as<float>()[i]);
      }
    });
  }
}

TEST(Fetch, RowsOfFarMemoryAreOneStream) {
  const auto loads = [](std::int64_t rows) {
    const std::string code = llvm_ir(parse_kernel(fmt::format(R"(kernel "sums" {{
  axes m = {0}, n = 64
  tasks m in 4
  in x : f32[{0},64]
  out y : f32[{0}]
  loop m, n {{
    load 0 = x[m, n]
    operands f32
    %0 = operand f32 0
    return %0
    reduce y[m] = sum %0 over n lanes
  }}
}}
)",
                                                              rows)));
    std::size_t count = 0;
    for (std::size_t i = 0; (i = code.find("= load <16 x float>", i)) != code.npos; ++i) ++count;
    return count;
  };
  EXPECT_EQ(loads(64), loads(1024) + 3) << "of a group of four rows, and of one row";
}

TEST(Fetch, TranspositionsFetchLaterBlocks) {
  const auto fetched = [](std::int64_t rows, std::int64_t columns) {
    const std::string code = llvm_ir(parse_kernel(fmt::format(R"(kernel "transposed" {{
  axes m = {1}, n = {0}
  in x : f32[{0},{1}]
  out y : f32[{1},{0}]
  loop m, n {{
    load 0 = x[n, m]
    operands f32
    %0 = operand f32 0
    return %0
    store y[m, n] = %0
  }}
}}
)",
                                                              rows, columns)));
    const std::size_t call = code.find("call void @gradus_transpose");
    const std::size_t end = code.find(')', call);
    return code.substr(code.rfind(' ', end) + 1, end - code.rfind(' ', end) - 1);
  };
  EXPECT_EQ(fetched(64, 64), "0") << "all in a first cache";
  EXPECT_EQ(fetched(1024, 32), std::to_string(2 * 16 * 32 * 4)) << "two rows of blocks later";
  EXPECT_EQ(fetched(64, 1024).front(), '%') << "in this row or the next one";
}

/// The greatest of each column of x, read by columns or by rows, in tiles of columns.
Kernel extrema(const char* access) {
  return parse_kernel(fmt::format(R"(kernel "extrema" {{
  axes m = 1024, n = 1024
  tasks m in 2
  tile m by 4
  in x : f32[1024,1024]
  out y : f32[1024]
  loop m, n {{
    load 0 = {}
    operands f32
    %0 = operand f32 0
    return %0
    reduce y[m] = max %0 over n
  }}
}}
)",
                                  access));
}

TEST(Fetch, FetchesOnlyNeighbours) {
  EXPECT_TRUE(fetches(extrema("x[m, n]")));
  EXPECT_FALSE(fetches(extrema("x[n, m]"))) << "each lane is a line of its own";
}

TEST(Fetch, LongBodiesFetchElementsThatTheyReadOnce) {
  Kernel kernel = negation(64, 1024);
  Loop loop;
  loop.axes = {0, 1};
  kernel.axes[1].extent = 512;
  const auto reads = [&](std::int64_t offset) {
    Access access = element(0, {0, 1});
    access.index[1].offset = offset;
    return Load{access, {}};
  };
  const auto fetches = [&](std::int64_t offset) {
    loop.body.loads = {reads(0), reads(offset)};
    const std::vector<LoopCourse> courses{{&loop, {0, 1}, 512, false, 100}};
    return share_fetches(kernel, courses)[&loop].size();
  };
  EXPECT_EQ(fetches(512), 2U) << "two halves of a row";
  EXPECT_EQ(fetches(511), 0U) << "neighbours";
}

/// Three loops over a tile of rows, as of a softmax.
TEST(Fetch, LoopsOfATileShareWhatItStreamsThrough) {
  Kernel kernel = negation(64, 1024);
  kernel.tile = Tile{0, 4};
  kernel.buffers.push_back(buffer("s", f32, {4, 1024}, BufferRole::scratch, {0, -1}));
  Loop reads, computes, writes;
  for (Loop* loop : {&reads, &computes, &writes}) loop->axes = {0, 1};
  reads.body.loads = computes.body.loads = {{element(0, {0, 1}), {}}};
  computes.stores = {{element(2, {0, 1}), 0}};
  writes.body.loads = {{element(2, {0, 1}), {}}};
  writes.stores = {{element(1, {0, 1}), 0}};
  const auto courses = [&](std::size_t work) {
    return std::vector<LoopCourse>{{&reads, {0, 1}, 1024, false, 2},
                                   {&computes, {0, 1}, 1024, false, work},
                                   {&writes, {0, 1}, 1024, false, 3}};
  };
  // The loop that computes much fetches the next tile and what the last loop writes.
  auto fetches = share_fetches(kernel, courses(20));
  ASSERT_EQ(fetches[&computes].size(), 2U);
  EXPECT_EQ(fetches[&computes][0].purpose, Purpose::write);
  EXPECT_EQ(fetches[&computes][0].axis, -1);
  EXPECT_EQ(fetches[&computes][1].purpose, Purpose::read);
  EXPECT_EQ(fetches[&computes][1].axis, 0);
  EXPECT_EQ(fetches[&computes][1].positions, 4);
  EXPECT_TRUE(fetches[&reads].empty());
  EXPECT_TRUE(fetches[&writes].empty());
  // What is written is fetched before the loop that has the stores, whatever that one computes.
  std::vector<LoopCourse> late = courses(2);
  late.back().work = 100;
  fetches = share_fetches(kernel, late);
  ASSERT_EQ(fetches[&reads].size(), 1U);
  EXPECT_EQ(fetches[&reads][0].purpose, Purpose::write);
}

TEST(Fetch, LoopsReadShortRowsAheadThatAreApart) {
  const auto reads = [](std::int64_t width, const std::vector<AxisId>& axes, bool columns) {
    Kernel kernel = negation(1024, 64);
    kernel.buffers[0].type.shape = {1024, width};
    const auto& loop = std::get<Loop>(kernel.stages[0]);
    const LoopCourse course{&loop, axes, columns ? 1024 : 64, columns, 2};
    std::vector<Fetch> found = share_fetches(kernel, std::span(&course, 1))[&loop];
    std::erase_if(found, [](const Fetch& fetch) { return fetch.purpose == Purpose::write; });
    return found;
  };
  EXPECT_TRUE(reads(64, {0, 1}, false).empty()) << "one row behind the other";
  const std::vector<Fetch> apart = reads(256, {0, 1}, false);
  ASSERT_EQ(apart.size(), 1U);
  EXPECT_EQ(apart[0].axis, 0);
  EXPECT_EQ(apart[0].positions, 16) << "1024 points";
  const std::vector<Fetch> columns = reads(256, {0}, true);
  ASSERT_EQ(columns.size(), 1U);
  EXPECT_EQ(columns[0].axis, 0);
}

}  // namespace
}  // namespace gradus::codegen
