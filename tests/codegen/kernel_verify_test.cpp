#include <gtest/gtest.h>

#include <utility>

#include "base/check.h"
#include "codegen/text_kernel.h"
#include "codegen/verify_kernel.h"
#include "kernel_texts.h"

namespace gradus::codegen {
namespace {

using Edits = std::vector<std::pair<std::string, std::string>>;

/// Replaces the first occurrence of each text.
std::string edited(std::string text, const Edits& edits) {
  for (const auto& [from, to] : edits) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
  }
  return text;
}

/// A change of one of the kernel texts that breaks one law.
struct BrokenKernel {
  std::string law, kernel;
  Edits edits;
  int stage;
  std::string message;
  friend void PrintTo(const BrokenKernel& broken, std::ostream* out) { *out << broken.law; }
};

const std::string kMaximum = "reduce t[m] = max %0 over n";

const BrokenKernel kBrokenKernels[] = {
    // The kernel as a whole.
    {"unique_names", "softmax", {{"n = 21", "n = 21, m = 3"}}, -1, "two axes named m"},
    {"block_axis", "block_sums", {{"tasks m in 2", "tasks n in 2"}}, -1, "belongs to no task axis"},
    {"cut_count", "block_sums", {{"tasks m in 2", "tasks m in 0"}}, -1, "is cut as"},
    {"cut_too_fine", "block_sums", {{"tasks m in 2", "tasks m in 71"}}, -1, "is cut as"},
    {"task_axis_twice", "softmax", {{"m in 3", "m in 3, m in 2"}}, -1, "stands twice"},
    {"task_axis_of_blocks",
     "block_sums",
     {{"m in 2", "m in 2, m_block in 1"}},
     -1,
     "task axis m_block is a block axis"},
    {"tile_size", "softmax", {{"tile m by 2", "tile m by 0"}}, -1, "tiles of 0 positions"},
    {"parameters_first",
     "softmax",
     {{"in z", "scratch u : f32[1]\n  in z"}},
     -1,
     "parameter z comes after scratch"},
    {"local_of_parameter",
     "softmax",
     {{"out y : f32[7,21]", "out y : f32[7,21] local m, -"}},
     -1,
     "is no scratch"},
    {"local_rank", "softmax", {{"local m, -", "local m"}}, -1, "of 1 dimensions"},
    {"local_axis", "softmax", {{"local m, -", "local m, n"}}, -1, "neither task nor tile axis"},
    {"local_range", "softmax", {{"t : f32[2]", "t : f32[1]"}}, -1, "holds 1 positions of m"},
    // Accesses.
    {"local_index", "softmax", {{"reduce t[m]", "reduce t[0]"}}, 0, "indexed by its axis m alone"},
    {"index_rank", "softmax", {{"z[m, n]", "z[m]"}}, 0, "1 indices for z"},
    {"bounds_below", "softmax", {{"z[m, n]", "z[m, n - 1]"}}, 0, "index 1 runs from -1 to 19"},
    {"bounds_above",
     "softmax",
     {{"z : f32[7,21]", "z : f32[7,20]"}},
     0,
     "index 1 runs from 0 to 20"},
    {"bounds_of_guard", "pad_scale", {{"-j + 6 < 5", "-j + 6 < 6"}}, 0, "index 1 runs from 0 to 5"},
    {"bounds_of_divisor",
     "pad_scale",
     {{"(i - 1)/2 < 4", "(i - 1)/2 < 5"}},
     0,
     "index 0 runs from 0 to 4"},
    {"bounds_of_store",
     "division",
     {{"y[4*i + j]", "y[4*i + j + 1]"}},
     0,
     "index 0 runs from 1 to 24"},
    {"bounds_of_factor",
     "attention",
     {{"queries[b, q, k]", "queries[b, q, k + 1]"}},
     0,
     "index 2 runs from 1 to 4"},
    {"bounds_overflow",
     "softmax",
     {{"z[m, n]", "z[m, 1000000000000000000*n]"}},
     0,
     "beyond all extents"},
    {"exact_division",
     "pad_scale",
     {{"if 0 <= (i - 1)/2 < 4", "if 0 <= i < 4"}},
     0,
     "no guard makes the division of index 0 exact"},
    {"axis_of_another_stage",
     "softmax",
     {{"loop m, n", "loop n"}},
     0,
     "uses axis m, which the stage does not run over"},
    {"loop_axis_twice", "softmax", {{"loop m, n", "loop m, m"}}, 0, "names axis m twice"},
    // Bodies.
    {"operand_types", "softmax", {{"z : f32", "z : i32"}}, 0, "other types than what is loaded"},
    {"operand_count", "softmax", {{"load 0 = z[m, n]\n", "\n"}}, 0, "other types than"},
    {"store_type", "softmax", {{"y : f32", "y : f64"}}, 2, "a value of type f32 for a buffer"},
    {"position_type",
     "reductions",
     {{"first_least : i32", "first_least : f32"}},
     0,
     "a value of type i32"},
    {"logical_type", "reductions", {{"any %1", "any %0"}}, 0, "any of values of type f64"},
    {"numeric_type", "reductions", {{"min %0", "min %1"}}, 0, "min of values of type bool"},
    {"index_instruction",
     "reductions",
     {{"index i64 1", "index i64 7"}},
     0,
     "axis 7 has no position"},
    {"fault_nodes", "division", {{"faults 17, 18", "faults 17"}}, 0, "2 instructions can fault"},
    // What a stage writes.
    {"input_written", "update", {{"inout v", "in v"}}, 0, "an input is only read"},
    {"output_read", "update", {{"inout v", "out v"}}, 0, "an output is only written"},
    {"one_writer", "pad_scale", {{"store y[i, j]", "store y[i, 0]"}}, 0, "points that differ in j"},
    {"one_writer_of_many", "division", {{"y[4*i + j]", "y[3*i + j]"}}, 0, "points that differ in"},
    {"two_stores", "update", {{"store v[i]", "store w[i]"}}, 0, "may write one element"},
    {"other_points", "update", {{"w[i]", "w[-i + 49]"}}, 0, "at other points"},
    {"accumulated_and_read",
     "softmax",
     {{"load 1 = t[m]", "load 1 = s[m]"}},
     1,
     "reads s[m] and writes s[m]"},
    {"factor_and_written",
     "attention",
     {{"queries[b, q, k]", "scores[b, q, k]"}},
     0,
     "reads scores[b, q, k] and writes scores[b, q, n]"},
    // Reductions.
    {"over_order", "block_sums", {{"over m, n lanes", "over n, m"}}, 0, "in the loop's order"},
    {"over_outside",
     "softmax",
     {{"axes m = 7", "axes p = 3, m = 7"}, {"max %0 over n", "max %0 over n, p"}},
     0,
     "must name axes of the loop"},
    {"over_tile_inside",
     "block_sums",
     {{"tile m by 16", "tile n by 16"}},
     0,
     "tiles would change its order"},
    {"over_repeated_by_tiles",
     "block_sums",
     {{"n = 21", "n = 21, other = 4"}, {"tile m by 16", "tile other by 2"}},
     0,
     "repeats in every tile"},
    {"over_and_target",
     "softmax",
     {{kMaximum, "reduce t[m] = max %0 over m, n"}},
     0,
     "the target of a reduction over m"},
    {"over_misses_axis",
     "softmax",
     {{kMaximum, "reduce t[m] = max %0 over m"}},
     0,
     "points that differ in n"},
    {"lanes_of_inner_axis",
     "block_sums",
     {{"over m\n", "over m lanes\n"}},
     0,
     "lanes are for sums"},
    {"lanes_of_maximum",
     "softmax",
     {{"max %0 over n", "max %0 over n lanes"}},
     0,
     "lanes are for sums"},
    // Scratch.
    {"scratch_unwritten",
     "attention",
     {{"load 1 = top[b, q]", "load 1 = other[b, q]"},
      {"scratch top", "scratch other : f32[1,3] local b, q\n  scratch top"}},
     2,
     "reads scratch other[b, q] before"},
    {"scratch_written_later",
     "attention",
     {{"load 0 = scores[b, q, n]\n", "load 0 = weights[b, q, n]\n"}},
     1,
     "reads scratch weights[b, q, n] before"},
    {"scratch_written_partly",
     "attention",
     {{"weights : f32[1,3,8]", "weights : f32[1,3,9]"},
      {"store weights[b, q, n]", "store weights[b, q, n + 1]"}},
     3,
     "reads scratch weights[b, q, n] before"},
    {"scratch_tile_unwritten",
     "tiles",
     {{"    store v[7, n, i, j, c] = %39\n", ""}},
     1,
     "reads scratch v[p, n, i, j, c] before"},
    {"scratch_open_sum",
     "attention",
     {{"total[b, q] = sum %3 over n lanes", "total[b, 0] = sum %3 over q, n"},
      {"total : f32[1,3] local b, q", "total : f32[1,3] local b, -"},
      {"load 1 = total[b, q]", "load 1 = total[b, 0]"}},
     3,
     "reads scratch total[b, 0] before"},
    // Tasks and tiles.
    {"race_of_unused_axis",
     "pad_scale",
     {{"j = 10", "j = 10, k = 4"}, {"i in 3", "i in 3, k in 2"}},
     0,
     "different tasks of axis k meet in the elements of y"},
    {"race_of_blocks",
     "block_sums",
     {{"columns[m_block, n]", "columns[0, n]"}},
     0,
     "different tasks of axis m meet in the elements of columns"},
    {"race_with_reader",
     "update",
     {{"g : f32[50]", "g : f32[50]\n  out copy : f32[50]"},
      {"loop i {",
       "loop i {\n    load 0 = w[-i + 49]\n    operands f32\n    %0 = operand f32 0\n"
       "    return %0\n    store copy[i] = %0\n  }\n  loop i {"}},
     1,
     "different tasks of axis i meet in the elements of w"},
    {"tile_with_reader",
     "update",
     {{"tasks i in 3 unit 16\n", ""},
      {"g : f32[50]", "g : f32[50]\n  out copy : f32[50]"},
      {"loop i {",
       "loop i {\n    load 0 = w[-i + 49]\n    operands f32\n    %0 = operand f32 0\n"
       "    return %0\n    store copy[i] = %0\n  }\n  loop i {"}},
     1,
     "different tiles of axis i meet in the elements of w"},
    // Picked indices and loops in order.
    {"picked_by_nothing", "gather", {{"x[@0, j]", "x[@1, j]"}}, 0, "no integer loaded before"},
    {"picked_by_float",
     "gather",
     {{"in index : i32[9]", "in index : f32[9]"}},
     0,
     "no integer loaded before"},
    {"stored_by_index",
     "scatter_add",
     {{"loop i, j ordered i", "loop i, j"}},
     1,
     "points that differ in i may write one element"},
    {"ordered_axis_cut",
     "scatter_add",
     {{"tasks j in 2 unit 16", "tasks i in 2"}},
     1,
     "neither tasks nor tiles cut"},
    {"ordered_by_no_axis",
     "scatter_add",
     {{"ordered i", "ordered at"}},
     1,
     "names axes of the loop"},
    {"ordered_elsewhere",
     "scatter_add",
     {{"load 1 = y[@0, j]", "load 1 = y[@0, -j + 39]"}, {"tasks j in 2 unit 16\n", "\n"}},
     1,
     "no order tells apart"},
    {"ordered_race",
     "cumulative_sum",
     {{"y[i, j - 1]", "y[-i + 4, j - 1]"}, {"tasks i in 3\n", "\n"}},
     0,
     "no order tells apart"},
    {"ordered_reduction",
     "cumulative_sum",
     {{"inout y : f32[5,21]", "inout y : f32[5,21]\n  out s : f32[5]"},
      {"store y[i, j] = %2", "store y[i, j] = %2\n    reduce s[i] = sum %2 over j"}},
     0,
     "has no reductions"},
    // Contractions.
    {"contract_cut_k", "dense", {{"tasks m in 2", "tasks k in 2"}}, 0, "k must be whole"},
    {"contract_tiles_of_inner_k",
     "sums_over_tiles",
     {{"tasks k0 in 4", "tasks k0 in 2"},
      {"doubled : f32[3,1,3,5]", "doubled : f32[3,2,3,5]"},
      {"out sums : f32[4,", "out sums : f32[2,"}},
     1,
     "tiles would change its order"},
    {"contract_late_load",
     "sums_over_tiles",
     {{"out sums", "inout sums"},
      {"    operands f32\n    %0 = operand f32 0\n    %1 = constant f32 1\n",
       "    load 1 = sums[k0_block, b, m, n]\n    operands f32, f32\n    %0 = operand f32 0\n"
       "    %1 = operand f32 1\n"}},
     1,
     "may change before the end of the task"},
    {"contract_chunks_of_tiles",
     "sums_over_tiles",
     {{"tile 4 x 2", "tile 4 x 2 chunk k1 by 2"}},
     1,
     "no parts and no chunks"},
    {"contract_half_plane",
     "causal_attention",
     {{"where n <= q", "where b <= q"}},
     0,
     "a half-plane is of two of the axes"},
    {"contract_half_plane_of_one",
     "causal_attention",
     {{"where d <= k + 1", "where d <= d + 1"}},
     5,
     "a half-plane is of two of the axes"},
    {"contract_lines", "convolution", {{"tile 2 x 7 x 1", "tile 2 x 6 x 1"}}, 0, "the whole of m"},
    {"contract_inner_k",
     "convolution",
     {{"tasks b in 2", "tasks b in 2, j in 3"}},
     0,
     "k must be whole"},
    {"contract_window",
     "convolution",
     {{"image : f32[2,7,9,6]", "image : f32[2,6,9,6]"}},
     0,
     "index 1 runs from 0 to 6"},
    {"contract_divided",
     "convolution",
     {{"image[b, y + i, x + j, f]", "image[b, y + i, (2*x + 2*j)/2, f]"}},
     0,
     "divi"},
    {"contract_types", "dense", {{"x : f32", "x : f64"}}, 0, "one floating-point type"},
    {"contract_lhs",
     "attention",
     {{"keys : f32[2,4,8]", "keys : f32[2,4,8]\n  in other : f32[2,7,8]"},
      {"queries[b, q, k]", "other[b, q, n]"}},
     0,
     "must not depend on n"},
    {"contract_rhs",
     "attention",
     {{"keys : f32[2,4,8]", "keys : f32[2,7,8]"}, {"keys[b, k, n]", "keys[b, q, n]"}},
     0,
     "must not depend on q"},
    {"contract_contiguous",
     "attention",
     {{"keys : f32[2,4,8]", "keys : f32[2,8,4]"}, {"keys[b, k, n]", "keys[b, n, k]"}},
     0,
     "n is not contiguous"},
    {"contract_panels",
     "dense",
     {{"f32[2,1500,32]", "f32[3,1500,32]"}},
     0,
     "does not hold panels [2,1500,32]"},
    {"contract_copied",
     "dense",
     {{"panels[] panel 32", "panels[] panel 32 copied"}},
     0,
     "copied in chunks or in one part"},
    {"contract_panels_in_tasks",
     "dense",
     {{"n in 2 unit 32", "n in 2 unit 16"}},
     0,
     "tasks cut panels of width 32 at multiples of 16"},
    {"contract_panels_in_tiles",
     "dense",
     {{"n in 2 unit 32", "n in 2 unit 32\n  tile n by 16"}},
     0,
     "cut panels"},
    {"contract_tile", "dense", {{"tile 4 x 2", "tile 4 x 0"}}, 0, "an empty register tile"},
    {"contract_parts", "dense", {{"parts 2", "parts 0"}}, 0, "is cut as"},
    {"contract_epilogue", "dense", {{"load 1 = b[n]\n", "\n"}}, 0, "other types than"},
};

class VerifyKernel : public testing::TestWithParam<BrokenKernel> {};

TEST_P(VerifyKernel, FindsTheBrokenLaw) {
  const BrokenKernel& broken = GetParam();
  const Kernel kernel = parse_kernel(edited(kernel_text(broken.kernel), broken.edits));
  const std::optional<KernelViolation> violation = find_violation(kernel);
  ASSERT_TRUE(violation.has_value());
  EXPECT_EQ(violation->stage, broken.stage) << violation->message;
  EXPECT_NE(violation->message.find(broken.message), std::string::npos) << violation->message;
  EXPECT_NE(violation->message.find("kernel \"" + kernel.name + "\""), std::string::npos);
  EXPECT_THROW(verify(kernel), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Laws, VerifyKernel, testing::ValuesIn(kBrokenKernels),
                         [](const auto& test) { return test.param.law; });

// What no text can say.

Kernel softmax() { return parse_kernel(kernel_text("softmax")); }
Loop& first_loop(Kernel& kernel) { return std::get<Loop>(kernel.stages.front()); }

void expect_violation(const Kernel& kernel, const std::string& message) {
  const std::optional<KernelViolation> violation = find_violation(kernel);
  ASSERT_TRUE(violation.has_value()) << message;
  EXPECT_NE(violation->message.find(message), std::string::npos) << violation->message;
}

TEST(VerifyKernelStructure, Names) {
  Kernel kernel = softmax();
  kernel.axes[0].name = "m n";
  expect_violation(kernel, "'m n' is no axis name");
  kernel = softmax();
  kernel.buffers[0].name = "";
  expect_violation(kernel, "'' is no buffer name");
}

TEST(VerifyKernelStructure, Ids) {
  Kernel kernel = softmax();
  first_loop(kernel).axes[0] = 9;
  expect_violation(kernel, "axis number 9");
  kernel = softmax();
  first_loop(kernel).body.loads[0].access.buffer = -1;
  expect_violation(kernel, "buffer number -1");
  kernel = softmax();
  first_loop(kernel).body.loads[0].access.index[0].terms[0].axis = 2;
  expect_violation(kernel, "axis number 2");
  kernel = softmax();
  kernel.tasks[0].axis = 5;
  expect_violation(kernel, "task axis number 5");
  kernel = softmax();
  first_loop(kernel).accumulates[0].value = 1;
  expect_violation(kernel, "result number 1 of a program with 1");
}

TEST(VerifyKernelStructure, Affines) {
  Kernel kernel = softmax();
  first_loop(kernel).body.loads[0].access.index[0].divisor = 0;
  expect_violation(kernel, "divisor below 1");
  kernel = softmax();
  first_loop(kernel).body.loads[0].access.index[0].terms[0].coefficient = 0;
  expect_violation(kernel, "coefficient 0");
  kernel = softmax();
  first_loop(kernel).body.loads[0].access.index[0].terms = {{1, 1}, {0, 1}};
  expect_violation(kernel, "not in order");
}

TEST(VerifyKernelStructure, Cuts) {
  Kernel kernel = softmax();
  kernel.tasks[0].cut.extent = 6;
  expect_violation(kernel, "axis m of extent 7 is cut as extent 6");
}

TEST(VerifyKernelStructure, Programs) {
  Kernel kernel = softmax();
  auto& program = std::get<Loop>(kernel.stages[1]).body.program;
  program.code[2].arguments[1] = 2;
  expect_violation(kernel, "uses %2, which is not earlier");
  kernel = softmax();
  std::get<Loop>(kernel.stages[1]).body.program.code[2].type = ElementType::f64;
  expect_violation(kernel, "instruction %2");
  kernel = softmax();
  first_loop(kernel).body.program.code[0].immediate = 3;
  expect_violation(kernel, "no operand 3");
  kernel = softmax();
  first_loop(kernel).body.program.results[0] = 5;
  expect_violation(kernel, "returns %5");
}

/// Kernels that look suspicious and keep the laws.
TEST(VerifyKernelStructure, Accepts) {
  const std::pair<std::string, Edits> kernels[] = {
      // Two stores of one loop that keep apart, as a concatenation does.
      {"division",
       {{"y : i32[24]", "y : i32[48]"},
        {"store y[4*i + j] = %3", "store y[4*i + j] = %3\n    store y[4*i + j + 24] = %3"}}},
      // Tasks along both axes of one flat dimension.
      {"division", {{"in a", "tasks i in 2, j in 2\n  in a"}}},
      // An update in place that reads only what its own task writes.
      {"update", {{"tile i by 7\n", ""}}},
      // A guard that never holds.
      {"pad_scale", {{"-j + 6 < 5", "-j + 6 < 5 and 0 <= j - 10 < 5"}}},
  };
  for (const auto& [name, edits] : kernels) {
    const auto violation = find_violation(parse_kernel(edited(kernel_text(name), edits)));
    EXPECT_FALSE(violation.has_value()) << violation->message;
  }
}

}  // namespace
}  // namespace gradus::codegen
