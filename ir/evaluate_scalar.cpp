#include "ir/evaluate_scalar.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/float_environment.h"
#include "ir/math.h"
#include "ir/scalar_tables.h"

namespace gradus::ir {
namespace {

/// What an instruction computes on: `lanes` words per value, elements side by side.
struct Lanes {
  std::int64_t count = 1;
  std::uint64_t* out = nullptr;
  std::array<const std::uint64_t*, 3> in{};
};

template <typename T, typename Function>
void map(const Lanes& lanes, Function&& function) {
  for (std::int64_t e = 0; e < lanes.count; ++e) {
    lanes.out[e] = to_word(function(from_word<T>(lanes.in[0][e])));
  }
}
template <typename T, typename Function>
void map2(const Lanes& lanes, Function&& function) {
  for (std::int64_t e = 0; e < lanes.count; ++e) {
    lanes.out[e] = to_word(function(from_word<T>(lanes.in[0][e]), from_word<T>(lanes.in[1][e])));
  }
}

/// Calls `function` with a value of the C++ type of a number type; bool must not get here.
template <typename Function>
void dispatch_number(ElementType type, Function&& function) {
  dispatch(type, [&](auto sample) {
    if constexpr (std::is_same_v<decltype(sample), bool>) {
      GRADUS_CHECK(false, "arithmetic on bool");
    } else {
      function(sample);
    }
  });
}

template <typename T>
using Unsigned = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

/// Integers wrap: calculate modulo a power of two of at least T's width.
template <typename T>
constexpr Unsigned<T> wide(T x) {
  return static_cast<Unsigned<T>>(x);
}

template <typename T>
T integer_quotient(T a, T b) {
  if (b == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return static_cast<T>(0 - wide(a));
  }
  return static_cast<T>(a / b);
}
template <typename T>
T integer_remainder(T a, T b) {
  if (b == 0) return 0;
  if constexpr (std::is_signed_v<T>) {
    if (b == -1) return 0;
  }
  return static_cast<T>(a % b);
}

/// The lesser or the greater value; NaN wins, -0 < +0.
template <typename T>
T extremum(T a, T b, bool lesser) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return a;
    if (std::isnan(b)) return b;
    a = flush_subnormal(a);
    b = flush_subnormal(b);
    if (a == b) return std::signbit(a) == lesser ? a : b;
  }
  return (a < b) == lesser ? a : b;
}

template <typename T>
T magnitude(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::abs(x);
  } else {
    return x < T{0} ? static_cast<T>(0 - wide(x)) : x;
  }
}

template <typename T>
T negated(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return -x;
  } else {
    return static_cast<T>(0 - wide(x));
  }
}

/// x * 2^n without rounding: infinite when too large, zero below the normal range.
template <typename T>
T scaled(T x, std::int32_t n) {
  x = flush_subnormal(x);
  if (x == 0 || !std::isfinite(x)) return x;
  const std::int64_t exponent = std::int64_t{std::ilogb(x)} + n;
  if (exponent >= std::numeric_limits<T>::max_exponent) {
    return std::copysign(std::numeric_limits<T>::infinity(), x);
  }
  if (exponent < std::numeric_limits<T>::min_exponent - 1) return std::copysign(T{0}, x);
  return std::ldexp(x, n);
}

template <typename To, typename From>
To converted(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    constexpr From below = static_cast<From>(std::numeric_limits<To>::min());
    constexpr From above = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (std::isnan(x)) return 0;
    if (x < below) return std::numeric_limits<To>::min();
    if (x >= above) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

void arithmetic(ScalarOp op, ElementType type, const Lanes& lanes) {
  dispatch_number(type, [&](auto sample) {
    using T = decltype(sample);
    constexpr bool real = std::is_floating_point_v<T>;
    switch (op) {
      case ScalarOp::add:
        if constexpr (real)
          return map2<T>(lanes, [](T a, T b) { return a + b; });
        else
          return map2<T>(lanes, [](T a, T b) { return static_cast<T>(wide(a) + wide(b)); });
      case ScalarOp::sub:
        if constexpr (real)
          return map2<T>(lanes, [](T a, T b) { return a - b; });
        else
          return map2<T>(lanes, [](T a, T b) { return static_cast<T>(wide(a) - wide(b)); });
      case ScalarOp::mul:
        if constexpr (real)
          return map2<T>(lanes, [](T a, T b) { return a * b; });
        else
          return map2<T>(lanes, [](T a, T b) { return static_cast<T>(wide(a) * wide(b)); });
      case ScalarOp::div:
        if constexpr (real)
          return map2<T>(lanes, [](T a, T b) { return a / b; });
        else
          return map2<T>(lanes, integer_quotient<T>);
      case ScalarOp::rem:
        if constexpr (real)
          return map2<T>(lanes, [](T a, T b) { return float_remainder(a, b); });
        else
          return map2<T>(lanes, integer_remainder<T>);
      case ScalarOp::min:
        return map2<T>(lanes, [](T a, T b) { return extremum(a, b, true); });
      case ScalarOp::max:
        return map2<T>(lanes, [](T a, T b) { return extremum(a, b, false); });
      case ScalarOp::neg:
        return map<T>(lanes, negated<T>);
      default:
        return map<T>(lanes, magnitude<T>);
    }
  });
}

void float_arithmetic(ScalarOp op, ElementType type, const Lanes& lanes) {
  const auto run = [&](auto sample) {
    using T = decltype(sample);
    const auto [a, b, c] = lanes.in;
    for (std::int64_t e = 0; e < lanes.count; ++e) {
      const T x = from_word<T>(a[e]);
      if (op == ScalarOp::fma) {
        lanes.out[e] = to_word(fused_multiply_add(x, from_word<T>(b[e]), from_word<T>(c[e])));
      } else if (op == ScalarOp::sqrt) {
        lanes.out[e] = to_word(std::sqrt(x));
      } else {
        lanes.out[e] = to_word(scaled(x, from_word<std::int32_t>(b[e])));
      }
    }
  };
  if (type == ElementType::f32) return run(float{});
  return run(double{});
}

void compare(ScalarOp op, ElementType operand_type, const Lanes& lanes) {
  dispatch(operand_type, [&](auto sample) {
    using T = decltype(sample);
    switch (op) {
      case ScalarOp::equal:
        return map2<T>(lanes, [](T a, T b) { return a == b; });
      case ScalarOp::not_equal:
        return map2<T>(lanes, [](T a, T b) { return a != b; });
      case ScalarOp::less:
        return map2<T>(lanes, [](T a, T b) { return a < b; });
      default:
        return map2<T>(lanes, [](T a, T b) { return a <= b; });
    }
  });
}

void shift(ScalarOp op, ElementType type, const Lanes& lanes) {
  dispatch_number(type, [&](auto sample) {
    using T = decltype(sample);
    if constexpr (std::is_integral_v<T>) {
      constexpr T last = static_cast<T>(8 * sizeof(T) - 1);
      if (op == ScalarOp::shift_left) {
        return map2<T>(lanes, [](T a, T n) { return static_cast<T>(wide(a) << (n & last)); });
      }
      return map2<T>(lanes, [](T a, T n) { return static_cast<T>(a >> (n & last)); });
    }
  });
}

/// Operations on words as they are: the upper ends are zero and stay so.
void bits(ScalarOp op, const Lanes& lanes) {
  const auto [a, b, c] = lanes.in;
  for (std::int64_t e = 0; e < lanes.count; ++e) {
    switch (op) {
      case ScalarOp::bit_and:
        lanes.out[e] = a[e] & b[e];
        break;
      case ScalarOp::bit_or:
        lanes.out[e] = a[e] | b[e];
        break;
      case ScalarOp::bit_xor:
        lanes.out[e] = a[e] ^ b[e];
        break;
      case ScalarOp::mul_high:
        lanes.out[e] = a[e] * b[e] >> 32;
        break;
      case ScalarOp::select:
        lanes.out[e] = a[e] != 0 ? b[e] : c[e];
        break;
      default:  // bitcast
        lanes.out[e] = a[e];
        break;
    }
  }
}

void convert_lanes(ElementType from, ElementType to, const Lanes& lanes) {
  dispatch(from, [&](auto source) {
    dispatch(to, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      map<From>(lanes, [](From x) { return converted<To>(x); });
    });
  });
}

void raise_fault(std::span<ScalarFault> faults, std::int64_t element, FaultKind kind,
                 std::size_t instruction) {
  if (faults.empty()) return;
  ScalarFault& fault = faults[static_cast<std::size_t>(element)];
  if (fault.kind == FaultKind::none) fault = {kind, static_cast<std::int32_t>(instruction)};
}

/// Raises what instruction number `number` raises for its operands.
void raise_faults(const ScalarInstruction& instruction, std::size_t number, const Lanes& lanes,
                  std::span<ScalarFault> faults) {
  const bool division = instruction.op != ScalarOp::fault;
  const FaultKind kind =
      division ? FaultKind::division_by_zero : static_cast<FaultKind>(instruction.immediate);
  for (std::int64_t e = 0; e < lanes.count; ++e) {
    if (division ? lanes.in[1][e] == 0 : lanes.in[0][e] != 0) raise_fault(faults, e, kind, number);
  }
}

/// Walks a program over `count` elements. Operand i is at operands[i], axis a's positions at
/// indices[a * count].
class Walk {
 public:
  Walk(const ScalarProgram& program, std::int64_t count, const std::uint64_t* const* operands,
       std::span<const std::int64_t> indices, std::uint64_t* values, std::span<ScalarFault> faults)
      : program_(program),
        count_(count),
        operands_(operands),
        indices_(indices),
        values_(values),
        faults_(faults) {}

  void run() {
    for (std::size_t i = 0; i < program_.code.size(); ++i) step(i);
  }

 private:
  void step(std::size_t number);
  void call(const MathFunction& function, const Lanes& lanes);

  const ScalarProgram& program_;
  std::int64_t count_;
  const std::uint64_t* const* operands_;
  std::span<const std::int64_t> indices_;
  std::uint64_t* values_;  // of instruction i at values_[i * count_]
  std::span<ScalarFault> faults_;
};

/// Runs `walk(values)` with room for all values of `program`: on the stack when that is little.
template <typename Function>
void with_values(const ScalarProgram& program, std::int64_t count, Function&& walk) {
  const std::size_t words = program.code.size() * static_cast<std::size_t>(count);
  if (words <= 256) {
    std::uint64_t values[256];
    walk(values);
  } else {
    const auto values = std::make_unique_for_overwrite<std::uint64_t[]>(words);
    walk(values.get());
  }
}

void Walk::call(const MathFunction& function, const Lanes& lanes) {
  with_values(function.program, count_, [&](std::uint64_t* values) {
    Walk(function.program, count_, lanes.in.data(), {}, values, {}).run();
    std::copy_n(values + function.program.results[0] * count_, count_, lanes.out);
  });
}

void Walk::step(std::size_t number) {
  const ScalarInstruction& instruction = program_.code[number];
  const ElementType type = instruction.type;
  Lanes lanes{.count = count_, .out = values_ + number * static_cast<std::size_t>(count_)};
  for (std::size_t k = 0; k < 3 && instruction.arguments[k] >= 0; ++k) {
    lanes.in[k] = values_ + instruction.arguments[k] * count_;
  }
  switch (instruction.op) {
    case ScalarOp::operand:
      std::copy_n(operands_[instruction.immediate], count_, lanes.out);
      return;
    case ScalarOp::constant:
      std::fill_n(lanes.out, count_, instruction.immediate);
      return;
    case ScalarOp::index: {
      const std::size_t first = instruction.immediate * static_cast<std::size_t>(count_);
      GRADUS_CHECK(first < indices_.size(), "an index without a position");
      for (std::size_t e = 0; e < static_cast<std::size_t>(count_); ++e) {
        const std::int64_t position = indices_[first + e];
        lanes.out[e] = type == ElementType::i64 ? to_word(position)
                                                : to_word(static_cast<std::uint32_t>(position));
      }
      return;
    }
    case ScalarOp::div:
    case ScalarOp::rem:
      if (!is_float(type)) raise_faults(instruction, number, lanes, faults_);
      return arithmetic(instruction.op, type, lanes);
    case ScalarOp::add:
    case ScalarOp::sub:
    case ScalarOp::mul:
    case ScalarOp::neg:
    case ScalarOp::abs:
    case ScalarOp::min:
    case ScalarOp::max:
      return arithmetic(instruction.op, type, lanes);
    case ScalarOp::fma:
    case ScalarOp::sqrt:
    case ScalarOp::ldexp:
      return float_arithmetic(instruction.op, type, lanes);
    case ScalarOp::equal:
    case ScalarOp::not_equal:
    case ScalarOp::less:
    case ScalarOp::less_equal:
      return compare(instruction.op,
                     program_.code[static_cast<std::size_t>(instruction.arguments[0])].type, lanes);
    case ScalarOp::shift_left:
    case ScalarOp::shift_right:
      return shift(instruction.op, type, lanes);
    case ScalarOp::bit_and:
    case ScalarOp::bit_or:
    case ScalarOp::bit_xor:
    case ScalarOp::mul_high:
    case ScalarOp::select:
    case ScalarOp::bitcast:
      return bits(instruction.op, lanes);
    case ScalarOp::convert:
      return convert_lanes(program_.code[static_cast<std::size_t>(instruction.arguments[0])].type,
                           type, lanes);
    case ScalarOp::table:
      return map<std::int32_t>(lanes, [&values = scalar_tables()[instruction.immediate].values](
                                          std::int32_t i) { return values[wide(i) % kTableSize]; });
    case ScalarOp::call:
      return call(math_functions()[instruction.immediate], lanes);
    case ScalarOp::fault:
      raise_faults(instruction, number, lanes, faults_);
      std::copy_n(lanes.in[0], count_, lanes.out);
      return;
  }
}

}  // namespace

void evaluate(const ScalarProgram& program, std::span<const std::uint64_t> operands,
              std::span<const std::int64_t> indices, std::span<std::uint64_t> results,
              std::uint64_t* fault) {
  ScalarFault raised;
  evaluate_many(program, 1, operands, indices, results, {&raised, 1});
  if (fault != nullptr && *fault == 0) *fault = static_cast<std::uint64_t>(raised.kind);
}

void evaluate_many(const ScalarProgram& program, std::int64_t count,
                   std::span<const std::uint64_t> operands, std::span<const std::int64_t> indices,
                   std::span<std::uint64_t> results, std::span<ScalarFault> faults) {
  const auto n = static_cast<std::size_t>(count);
  GRADUS_CHECK(operands.size() == program.operand_types.size() * n, "operands of a scalar program");
  GRADUS_CHECK(results.size() == program.results.size() * n, "results of a scalar program");
  GRADUS_CHECK(faults.empty() || faults.size() == n, "faults of a scalar program");
  const auto with_pointers = [&](const std::uint64_t** pointers) {
    for (std::size_t i = 0; i < program.operand_types.size(); ++i) {
      pointers[i] = operands.data() + i * n;
    }
    with_values(program, count, [&](std::uint64_t* values) {
      Walk(program, count, pointers, indices, values, faults).run();
      for (std::size_t r = 0; r < program.results.size(); ++r) {
        std::copy_n(values + program.results[r] * count, count, results.data() + r * n);
      }
    });
  };
  if (program.operand_types.size() <= 16) {
    const std::uint64_t* pointers[16];
    with_pointers(pointers);
  } else {
    std::vector<const std::uint64_t*> pointers(program.operand_types.size());
    with_pointers(pointers.data());
  }
}

}  // namespace gradus::ir
