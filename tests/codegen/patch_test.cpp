// Loops in patches: which patches are chosen, what their bodies load, and that every shape of
// windows has the bits of the kernel interpreter.

#include "codegen/patch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "codegen/interpret_kernel.h"
#include "codegen/jit.h"
#include "codegen/text_kernel.h"
#include "kernel_execution.h"

namespace gradus::codegen {
namespace {

/// Windows of `taps` x `taps` places of an image, each channel by itself.
struct Windows {
  std::int64_t batch = 2, height = 5, width = 28, taps = 3, channels = 40;
  std::int64_t stride = 1, dilation = 1, low = 1;
  std::string reduction = "sum";
  std::int64_t row_tasks = 1;

  [[nodiscard]] std::int64_t places(std::int64_t outputs) const {
    return (outputs - 1) * stride + (taps - 1) * dilation + 1 - low;  // one or more are outside
  }
  [[nodiscard]] std::string image_load() const {
    const auto place = [&](const char* output, const char* tap) {
      return fmt::format("{}*{} + {}*{} - {}", stride, output, dilation, tap, low);
    };
    const std::int64_t h = places(height), w = places(width);
    return fmt::format(
        "load 0 = image[b, {0}, {1}, c] if 0 <= {0} < {2} and 0 <= {1} < {3}\n"
        "    load 1 = {4}\n"
        "    operands f32, f32\n"
        "    %0 = operand f32 0\n"
        "    %1 = operand f32 1\n"
        "    %2 = mul f32 %0, %1\n"
        "    return %2",
        place("y", "i"), place("x", "j"), h, w, "{}");
  }
  [[nodiscard]] std::string header() const {
    return fmt::format("axes b = {}, y = {}, x = {}, i = {}, j = {}, c = {}, b_block = block of b",
                       batch, height, width, taps, taps, channels);
  }
  [[nodiscard]] Kernel forward() const {
    return read(fmt::format(R"(kernel "forward" {{
  {}
  tasks b in {}, y in {}
  in image : f32[{},{},{},{}]
  in w : f32[{},{},{}]
  out z : f32[{},{},{},{}]
  loop b, y, x, i, j, c {{
    {}
    reduce z[b, y, x, c] = {} %2 over i, j
  }}
}}
)",
                            header(), batch, row_tasks, batch, places(height), places(width),
                            channels, taps, taps, channels, batch, height, width, channels,
                            fmt::format(fmt::runtime(image_load()), "w[i, j, c]"), reduction));
  }
  [[nodiscard]] Kernel weights() const {
    return read(fmt::format(R"(kernel "weights" {{
  {}
  tasks b in {}, c in 1 unit 16
  in image : f32[{},{},{},{}]
  in dz : f32[{},{},{},{}]
  out dw : f32[{},{},{},{}]
  loop b, y, i, j, x, c {{
    {}
    reduce dw[b_block, i, j, c] = {} %2 over b, y, x
  }}
}}
)",
                            header(), batch, batch, places(height), places(width), channels, batch,
                            height, width, channels, batch, taps, taps, channels,
                            fmt::format(fmt::runtime(image_load()), "dz[b, y, x, c]"), reduction));
  }

 private:
  static Kernel read(const std::string& text) { return read_kernels(text).at(0); }
};

const Loop& loop_of(const Kernel& kernel) { return std::get<Loop>(kernel.stages.at(0)); }

PatchAxis whole(AxisId axis, std::int64_t extent) { return {axis, {extent}, true}; }

TEST(Patch, WindowsOfARowShareElementsAndWeights) {
  const Kernel kernel = Windows{}.forward();
  const std::vector<PatchAxis> kept{whole(1, 5), whole(2, 28)};
  const std::vector<PatchAxis> reduced{whole(3, 3), whole(4, 3)};
  const auto shape = choose_patch(loop_of(kernel), kept, reduced, {7, 64});
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->kept, (std::vector<std::int64_t>{1, 7}));
  EXPECT_EQ(shape->reduced, (std::vector<std::int64_t>{1, 3})) << "more share no more";

  const std::vector<Span> spans{{3, 3}, {4, 3}, {2, 7}};
  const PatchBody body = patch_body(loop_of(kernel), kernel.axes, spans);
  EXPECT_EQ(body.loads.size(), 3U * (7 + 2) + 9) << "elements of three rows, and the weights";
  EXPECT_EQ(body.program.results.size(), 63U);
  // Only the place before a row of the image may be outside of it.
  const auto guards_of_columns = [](const Load& load) {
    return std::ranges::count_if(load.guards, [](const Guard& guard) {
      return std::ranges::any_of(guard.value.terms, [](const Term& t) { return t.axis == 2; });
    });
  };
  std::int64_t guarded = 0;
  for (const Load& load : body.loads) guarded += guards_of_columns(load);
  EXPECT_EQ(guarded, 3);
}

TEST(Patch, NoneWherePointsShareTooLittle) {
  Windows apart{.stride = 3, .low = 0};
  Kernel kernel = apart.forward();
  Loop loop = loop_of(kernel);
  loop.body.loads.pop_back();  // the weights, which all windows share
  const std::vector<PatchAxis> kept{whole(2, 28)};
  const std::vector<PatchAxis> reduced{whole(3, 3), whole(4, 3)};
  EXPECT_FALSE(choose_patch(loop, kept, reduced, {8, 128}));
  EXPECT_FALSE(choose_patch(loop_of(Windows{}.forward()), kept, reduced, {1, 128}))
      << "one sum at a time";
}

using Element = std::array<std::int64_t, 3>;  // of an image: its number, row and column

std::int64_t at(const Affine& affine, const std::vector<std::int64_t>& positions) {
  std::int64_t sum = affine.offset;
  for (const Term& term : affine.terms) {
    sum += term.coefficient * positions[static_cast<std::size_t>(term.axis)];
  }
  return sum;
}

/// The elements of the image that a patch at `positions` reads.
std::set<Element> image_reads(const Loop& loop, std::vector<std::int64_t> positions,
                              std::span<const Span> spans) {
  if (spans.empty()) {
    const Access& image = loop.body.loads[0].access;
    return {{positions[0], at(image.index[1], positions), at(image.index[2], positions)}};
  }
  std::set<Element> result;
  for (std::int64_t step = 0; step < spans[0].count; ++step) {
    result.merge(image_reads(loop, positions, spans.subspan(1)));
    ++positions[static_cast<std::size_t>(spans[0].axis)];
  }
  return result;
}

TEST(Patch, ReadsFirstWhatNoEarlierPatchReads) {
  for (const std::int64_t stride : {1, 2, 3}) {
    const Kernel kernel = Windows{.stride = stride}.forward();
    const Loop& loop = loop_of(kernel);
    const std::vector<Span> spans{{3, 3}, {4, 3}, {2, 7}};
    const std::vector<Span> around{{0, 1}, {1, 1}, {2, 7}};
    std::set<Element> expected = image_reads(loop, {1, 3, 14, 0, 0, 0, 0}, spans);
    for (std::int64_t y = 0; y <= 3; ++y) {
      for (std::int64_t x = 0; x < (y < 3 ? 28 : 14); x += 7) {
        for (const Element& e : image_reads(loop, {1, y, x, 0, 0, 0, 0}, spans)) expected.erase(e);
      }
    }
    std::set<Element> found;
    for (const Access& access : first_reads(kernel, loop, spans, around)) {
      ASSERT_EQ(access.buffer, loop.body.loads[0].access.buffer) << "all patches read the weights";
      const std::vector<std::int64_t> here{1, 3, 14, 0, 0, 0, 0};
      found.insert({1, at(access.index[1], here), at(access.index[2], here)});
    }
    EXPECT_EQ(found, expected) << "stride " << stride;
    EXPECT_FALSE(found.empty());
  }
}

TEST(Patch, ReadsNothingFirstThatAnotherTapHasRead) {
  const Kernel kernel = Windows{}.weights();
  const Loop& loop = loop_of(kernel);
  // All taps at once read a row of the image and one of dz first; one row of taps reads rows that
  // others have read, but for the last one.
  const std::vector<Span> all{{2, 7}, {3, 3}, {4, 3}}, one_row{{2, 7}, {4, 3}};
  const std::vector<Span> around{{0, 1}, {1, 1}, {2, 7}};
  EXPECT_EQ(first_reads(kernel, loop, all, around).size(), 14U);
  const std::vector<Span> with_rows{{0, 1}, {1, 1}, {3, 1}, {2, 7}};
  EXPECT_TRUE(first_reads(kernel, loop, one_row, with_rows).empty());
}

void expect_the_interpreters_bits(const Kernel& kernel, const std::string& what) {
  const std::vector<Kernel> kernels{kernel};
  std::vector<Tensor> given = random_parameters(kernel, 5);
  for (Tensor& tensor : given) {  // with mantissas so long that sums depend on their order
    for (float& element : tensor.as<float>()) element *= 1.1F;
  }
  std::vector<Tensor> expected = given;
  runtime::FaultWord fault = 0;
  interpret(kernel, addresses(expected), &fault);
  for (InstructionSet set : kInstructionSets) {
    if (!host_supports(set)) continue;
    const MachineCode code = compile(kernels, make_target(set), 1);
    std::vector<Tensor> found = given;
    run_compiled(code.kernels[0], kernel.task_count(), addresses(found));
    EXPECT_EQ(found, expected) << kernel.name << ", " << what << ", for " << to_string(set);
  }
}

TEST(Patch, WindowsOfAllShapesHaveTheBitsOfTheInterpreter) {
  const std::vector<std::pair<std::string, Windows>> cases{
      {"as they come", {}},
      {"a rest of a row", {.width = 23}},
      {"short rows", {.width = 2}},
      {"far apart", {.width = 14, .stride = 2}},
      {"with holes", {.width = 14, .dilation = 2, .low = 2}},
      {"one large window", {.width = 9, .taps = 7, .low = 3}},
      {"the greatest", {.width = 12, .stride = 2, .reduction = "max"}},
      {"rows of several tasks", {.height = 7, .row_tasks = 3}},
      {"many channels", {.width = 8, .channels = 150}},
      {"one channel", {.channels = 1}},
  };
  for (const auto& [what, windows] : cases) {
    expect_the_interpreters_bits(windows.forward(), what);
    expect_the_interpreters_bits(windows.weights(), what);
  }
}

}  // namespace
}  // namespace gradus::codegen
