// Every scalar instruction on every type that it takes, with the values that break things, at
// every instruction set, against ir/evaluate_scalar.

#include "emit_support.h"
#include "ir/evaluate_scalar.h"
#include "ir/math.h"
#include "ir/scalar_tables.h"

namespace gradus::codegen {
namespace {

using ir::ScalarOp;

std::vector<std::uint64_t> interesting(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return {0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
              0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000, 0x00800001,
              0x7f7fffff, 0xff7fffff, 0x3f000000, 0x3eaaaaab, 0x40490fdb, 0xc0200000, 0x4f000000,
              0xcf000000, 0x4f800000, 0x5f000000, 0x43800000, 0x1f800000, 0x20000000, 0x4b800001,
              0x00ffffff, 0x3f7fffff, 0x3f800001, 0x42fe0000, 0xc2fc0000};
    case ElementType::f64:
      return {0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
              0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x0000000000000001,
              0x800fffffffffffff, 0x0010000000000000, 0x8010000000000001, 0x7fefffffffffffff,
              0x3fe0000000000000, 0x400921fb54442d18, 0xc004000000000000, 0x41e0000000000000,
              0xc1e0000000000000, 0x43e0000000000000, 0x4070000000000000, 0x2000000000000000,
              0x3810000000000000, 0x380fffffffffffff, 0x47efffffffffffff, 0x36a0000000000000};
    case ElementType::i32:
      return {0,          1,          2,          3,          7,          31,
              126,        127,        254,        1000,       0x7fffffff, 0x80000000,
              0x80000001, 0xffffffff, 0xfffffffe, 0xffffff00, 0xfffffc00, 65537};
    case ElementType::u32:
      return {0,     1,          2,          3,          7,          31,         255,
              65536, 0x7fffffff, 0x80000000, 0xffffffff, 0xd2511f53, 0x01000001, 0xffffff7f};
    case ElementType::i64:
      return {0,
              1,
              2,
              3,
              63,
              255,
              0x7fffffff,
              0x80000000,
              0x7fffffffffffffff,
              0x8000000000000000,
              0xffffffffffffffff,
              0xfffffffffffffffe,
              0x20000000000001,
              0x123456789abcdef};
    case ElementType::u8:
      return {0, 1, 2, 3, 7, 100, 127, 128, 200, 255};
    case ElementType::boolean:
      return {0, 1};
  }
  return {};
}

void put(Tensor& tensor, std::size_t i, std::uint64_t word) {
  const auto size = static_cast<std::size_t>(byte_size(tensor.type.element));
  std::memcpy(tensor.bytes.data() + i * size, &word, size);
}

std::uint64_t get(const Tensor& tensor, std::size_t i) {
  const auto size = static_cast<std::size_t>(byte_size(tensor.type.element));
  std::uint64_t word = 0;
  std::memcpy(&word, tensor.bytes.data() + i * size, size);
  return word;
}

bool is_nan(ElementType type, std::uint64_t word) {
  if (type == ElementType::f32) return std::isnan(ir::from_word<float>(word));
  if (type == ElementType::f64) return std::isnan(ir::from_word<double>(word));
  return false;
}

struct Case {
  std::string name;
  ir::ScalarProgram program;
};

/// One kernel with a loop over all combinations of interesting operands for each case.
void check_cases(const std::vector<Case>& cases) {
  std::vector<Kernel> kernels;
  std::vector<std::vector<std::vector<std::uint64_t>>> words;  // by case, operand, element
  for (const Case& c : cases) {
    std::vector<std::vector<std::uint64_t>> operands(c.program.operand_types.size());
    std::int64_t count = 1;
    for (ElementType type : c.program.operand_types) {
      count *= static_cast<std::int64_t>(interesting(type).size());
    }
    count = std::min<std::int64_t>(count, 30'000);
    for (std::int64_t e = 0; e < count; ++e) {
      std::int64_t rest = e * 31 % count;
      for (std::size_t i = 0; i < operands.size(); ++i) {
        const std::vector<std::uint64_t> values = interesting(c.program.operand_types[i]);
        operands[i].push_back(values[static_cast<std::size_t>(rest) % values.size()]);
        rest = count == 30'000 ? (rest * 7919 + e) % 1'000'003
                               : rest / static_cast<std::int64_t>(values.size());
      }
    }
    Kernel kernel;
    kernel.name = c.name;
    kernel.axes = {{"i", count, -1}};
    Loop loop;
    loop.axes = {0};
    const auto faults = std::ranges::count_if(c.program.code, [&](const auto& instruction) {
      return ir::can_fault(c.program, instruction);
    });
    loop.body = {{}, c.program, std::vector<std::uint32_t>(static_cast<std::size_t>(faults), 5)};
    for (ElementType type : c.program.operand_types) {
      loop.body.loads.push_back({element(static_cast<BufferId>(kernel.buffers.size()), {0}), {}});
      kernel.buffers.push_back(
          buffer("x" + std::to_string(kernel.buffers.size()), type, {count}, BufferRole::input));
    }
    const auto result = static_cast<std::size_t>(c.program.results[0]);
    kernel.buffers.push_back(buffer("y", c.program.code[result].type, {count}, BufferRole::output));
    loop.stores = {{element(static_cast<BufferId>(kernel.buffers.size()) - 1, {0}), 0}};
    kernel.stages = {loop};
    kernels.push_back(std::move(kernel));
    words.push_back(std::move(operands));
  }
  for (const Target& target : host_targets()) {
    const MachineCode code = compile(kernels, target, 2);
    for (std::size_t k = 0; k < kernels.size(); ++k) {
      std::vector<Tensor> tensors = parameters(kernels[k]);
      for (std::size_t i = 0; i < words[k].size(); ++i) {
        for (std::size_t e = 0; e < words[k][i].size(); ++e) put(tensors[i], e, words[k][i][e]);
      }
      const runtime::FaultWord fault = run_tasks(code.kernels[k], tensors, 0, 1);
      const FloatEnvironment environment;
      const ElementType type = tensors.back().type.element;
      std::uint64_t expected_fault = 0;
      int differences = 0;
      for (std::size_t e = 0; e < words[k][0].size() && differences < 5; ++e) {
        std::vector<std::uint64_t> x;
        for (const std::vector<std::uint64_t>& operand : words[k]) x.push_back(operand[e]);
        std::uint64_t expected = 0;
        ir::evaluate(cases[k].program, x, {}, std::span(&expected, 1), &expected_fault);
        const std::uint64_t actual = get(tensors.back(), e);
        if (actual == expected || (is_nan(type, actual) && is_nan(type, expected))) continue;
        ++differences;
        ADD_FAILURE() << to_string(target.set) << " " << cases[k].name << std::hex << ": " << actual
                      << " instead of " << expected << " for " << x[0] << " "
                      << (x.size() > 1 ? x[1] : 0) << " " << (x.size() > 2 ? x[2] : 0);
      }
      EXPECT_EQ(fault >> 56, expected_fault & 0xff) << cases[k].name;
      if (fault != 0) {
        EXPECT_EQ(fault >> 32 & 0xffffff, 5u) << cases[k].name;
      }
    }
  }
}

Case one_instruction(ScalarOp op, ElementType type, const std::vector<ElementType>& operands,
                     std::uint64_t immediate = 0) {
  ir::ScalarProgram recorded;
  recorded.operand_types = operands;
  ir::ScalarInstruction instruction{.op = op, .type = type, .immediate = immediate};
  for (std::size_t i = 0; i < operands.size(); ++i) {
    recorded.code.push_back({.op = ScalarOp::operand, .type = operands[i], .immediate = i});
    instruction.arguments[i] = static_cast<std::int32_t>(i);
  }
  recorded.code.push_back(instruction);
  recorded.results = {static_cast<std::int32_t>(operands.size())};
  return {std::string(info(op).name) + " " + std::string(to_string(type)) + " of " +
              std::string(to_string(operands[0])),
          recorded};
}

TEST(EmitScalar, Arithmetic) {
  std::vector<Case> cases;
  for (ElementType type : kElementTypes) {
    if (type == ElementType::boolean) continue;
    for (ScalarOp op : {ScalarOp::add, ScalarOp::sub, ScalarOp::mul, ScalarOp::div, ScalarOp::rem,
                        ScalarOp::min, ScalarOp::max}) {
      cases.push_back(one_instruction(op, type, {type, type}));
    }
    for (ScalarOp op : {ScalarOp::neg, ScalarOp::abs}) {
      cases.push_back(one_instruction(op, type, {type}));
    }
    cases.push_back(one_instruction(ScalarOp::select, type, {ElementType::boolean, type, type}));
    if (!is_float(type)) continue;
    cases.push_back(one_instruction(ScalarOp::fma, type, {type, type, type}));
    cases.push_back(one_instruction(ScalarOp::sqrt, type, {type}));
    cases.push_back(one_instruction(ScalarOp::ldexp, type, {type, ElementType::i32}));
  }
  check_cases(cases);
}

TEST(EmitScalar, ComparisonsAndBits) {
  std::vector<Case> cases;
  for (ElementType type : kElementTypes) {
    for (ScalarOp op :
         {ScalarOp::equal, ScalarOp::not_equal, ScalarOp::less, ScalarOp::less_equal}) {
      if (type == ElementType::boolean && op != ScalarOp::equal && op != ScalarOp::not_equal) {
        continue;
      }
      cases.push_back(one_instruction(op, ElementType::boolean, {type, type}));
    }
    if (is_float(type)) continue;
    for (ScalarOp op : {ScalarOp::bit_and, ScalarOp::bit_or, ScalarOp::bit_xor}) {
      cases.push_back(one_instruction(op, type, {type, type}));
    }
    if (type == ElementType::boolean) continue;
    for (int amount : {0, 1, 3, 7}) {
      for (bool left : {true, false}) {
        cases.push_back({"shift", program({type}, [&](ir::ScalarBuilder&, auto x) {
                           return std::vector{left ? x[0] << amount : x[0] >> amount};
                         })});
      }
    }
  }
  const ElementType u32 = ElementType::u32;
  cases.push_back(one_instruction(ScalarOp::mul_high, u32, {u32, u32}));
  check_cases(cases);
}

TEST(EmitScalar, Conversions) {
  std::vector<Case> cases;
  for (ElementType from : kElementTypes) {
    for (ElementType to : kElementTypes) {
      cases.push_back(one_instruction(ScalarOp::convert, to, {from}));
      if (byte_size(from) == byte_size(to) && from != ElementType::boolean &&
          to != ElementType::boolean) {
        cases.push_back(one_instruction(ScalarOp::bitcast, to, {from}));
      }
    }
  }
  check_cases(cases);
}

// LLVM would drop these multiplications, and turn these selections into minima and maxima, which it
// may only where the result is flushed anyway.
TEST(EmitScalar, KeepsFlushesAndMoves) {
  std::vector<Case> cases;
  for (ElementType type : {ElementType::f32, ElementType::f64}) {
    const auto add = [&](const char* name, auto record) {
      cases.push_back({name, program({type, type}, [&](ir::ScalarBuilder&, auto x) {
                         return std::vector<ir::Scalar>{record(x[0], x[1])};
                       })});
    };
    add("times one", [](auto x, auto) { return x * 1.0; });
    add("one times", [](auto x, auto) { return 1.0 * x; });
    add("times minus one", [](auto x, auto) { return x * -1.0; });
    add("over one", [](auto x, auto) { return x / 1.0; });
    add("over minus one", [](auto x, auto) { return x / -1.0; });
    add("plus minus zero", [](auto x, auto) { return x + -0.0; });
    add("minus zero", [](auto x, auto) { return x - 0.0; });
    add("zero minus", [](auto x, auto) { return 0.0 - x; });
    add("minus zero minus", [](auto x, auto) { return -0.0 - x; });
    add("times two", [](auto x, auto) { return x * 2.0; });
    add("over four", [](auto x, auto) { return x / 4.0; });
    add("over tiny", [](auto x, auto) { return x / 0x1p127; });
    add("relu", [](auto x, auto) { return select(less(0.0 * x, x), x, x * 0.0); });
    add("plain relu", [](auto x, auto) {
      return select(less(x, x.builder->constant(x.type(), 0)), x.builder->constant(x.type(), 0), x);
    });
    add("lesser", [](auto x, auto y) { return select(less(x, y), x, y); });
    add("greater", [](auto x, auto y) { return select(less(y, x), x, y); });
    add("lesser or equal", [](auto x, auto y) { return select(less_equal(x, y), x, y); });
    add("lesser and more", [](auto x, auto y) { return select(less(x, y), x, y) + y; });
    add("greater times", [](auto x, auto y) { return select(less(y, x), x, y) * x; });
    add("the other where less", [](auto x, auto y) { return sqrt(select(less(x, y), y, x)); });
    add("clamped", [](auto x, auto y) {
      const auto one = x.builder->constant(x.type(), 1);
      return fma(select(less(one, x), one, x), y, x);
    });
    add("lesser, flushed and kept", [](auto x, auto y) {
      const auto lesser = select(less(x, y), x, y);
      return select(less(lesser + lesser, y), lesser, x);
    });
    add("lesser, negated", [](auto x, auto y) { return -select(less(x, y), x, y); });
    add("negated sum", [](auto x, auto y) { return -(x + y); });
    add("negated difference", [](auto x, auto y) { return -(x - y); });
    add("minus negative", [](auto x, auto y) { return x - (-y); });
    add("negated fma", [](auto x, auto y) { return -fma(x, y, x); });
    add("fma by one", [](auto x, auto y) { return fma(x, x.builder->constant(x.type(), 1), y); });
    add("fma of minus zero",
        [](auto x, auto y) { return fma(x, y, x.builder->constant(x.type(), -0.0)); });
    add("not contracted", [](auto x, auto y) { return x * y + x; });
    add("small constants",
        [](auto x, auto) { return x + x.builder->constant(x.type(), 0x1p-100) * 0x1p-100; });
    add("absolute difference", [](auto x, auto y) { return abs(x - y); });
  }
  check_cases(cases);
}

// Of integers, and of floats of both widths, which make vectors of fewer lanes.
TEST(EmitScalar, Tables) {
  std::vector<Case> cases;
  for (std::size_t number = 0; number < ir::scalar_tables().size(); ++number) {
    for (ElementType type : {ElementType::i32, ElementType::f32, ElementType::f64}) {
      const std::string name(ir::scalar_tables()[number].name);
      cases.push_back({"table " + name, program({type}, [&](ir::ScalarBuilder&, auto x) {
                         const ir::Scalar index = convert(x[0], ElementType::i32);
                         const ir::Scalar picked = table(name, index);
                         return std::vector{type == ElementType::f64 ? convert(picked, type)
                                                                     : picked};
                       })});
    }
  }
  check_cases(cases);
}

TEST(EmitScalar, MathFunctions) {
  std::vector<Case> cases;
  for (const ir::MathFunction& function : ir::math_functions()) {
    const std::vector<ElementType> types(static_cast<std::size_t>(function.arity), function.type);
    cases.push_back({std::string(function.name), function.program});
  }
  check_cases(cases);
}

}  // namespace
}  // namespace gradus::codegen
