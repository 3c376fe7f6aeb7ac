#include "ir/math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/float_environment.h"
#include "base/philox.h"
#include "ir/evaluate_scalar.h"

namespace gradus::ir {
namespace {

using Reference = long double (*)(long double, long double);

/// An independent value for every function of the library.
const std::map<std::string_view, Reference>& references() {
  static const std::map<std::string_view, Reference> map{
      {"exp", [](long double x, long double) { return std::exp(x); }},
      {"log", [](long double x, long double) { return std::log(x); }},
      {"log1p", [](long double x, long double) { return std::log1p(x); }},
      {"expm1", [](long double x, long double) { return std::expm1(x); }},
      {"tanh", [](long double x, long double) { return std::tanh(x); }},
      {"sigmoid", [](long double x, long double) { return 1 / (1 + std::exp(-x)); }},
      {"erf", [](long double x, long double) { return std::erf(x); }},
      {"rsqrt", [](long double x, long double) { return 1 / std::sqrt(x); }},
      {"floor", [](long double x, long double) { return std::floor(x); }},
      {"ceil", [](long double x, long double) { return std::ceil(x); }},
      {"round", [](long double x, long double) { return std::nearbyint(x); }},
      {"pow", [](long double x, long double y) { return std::pow(x, y); }},
  };
  return map;
}

/// Any finite number: half of them of moderate size, half with random bits.
template <typename T>
T sample(std::uint32_t i, std::uint32_t stream) {
  const auto words = philox4x32({i, stream, 0, 0}, {7, 0});
  if (i % 2 == 0) {
    return static_cast<T>((static_cast<double>(words[0]) / 0x1p31 - 1) *
                          std::pow(10.0, words[1] % 4 - 1.0));
  }
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const auto bits = static_cast<Bits>((std::uint64_t{words[2]} << 32) | words[3]);
  return std::bit_cast<T>(bits);
}

template <typename T>
double worst_ulp(const MathFunction& function, Reference reference, std::uint32_t count) {
  double worst = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const T x = sample<T>(i, 1);
    const T y = sample<T>(i, 2);
    const long double exact = reference(x, y);
    T value;
    {
      const FloatEnvironment environment;
      const std::uint64_t operands[] = {to_word(x), to_word(y)};
      std::uint64_t result = 0;
      const auto arity = static_cast<std::size_t>(function.arity);
      evaluate(function.program, std::span(operands, arity), {}, std::span(&result, 1), nullptr);
      value = from_word<T>(result);
    }
    const bool subnormal_input = std::fpclassify(x) == FP_SUBNORMAL ||
                                 (function.arity == 2 && std::fpclassify(y) == FP_SUBNORMAL);
    if (std::isnan(exact)) {
      EXPECT_TRUE(std::isnan(value) || subnormal_input)
          << function.name << "(" << x << ", " << y << ")";
      continue;
    }
    const T rounded = static_cast<T>(exact);
    if (!std::isfinite(rounded) || subnormal_input) continue;
    const T magnitude = std::max(std::abs(rounded), std::numeric_limits<T>::min());
    if (std::abs(rounded) <= std::numeric_limits<T>::min()) continue;  // flushed
    const long double ulp =
        std::nextafter(magnitude, std::numeric_limits<T>::infinity()) - magnitude;
    const double error =
        static_cast<double>(std::abs(exact - static_cast<long double>(value)) / ulp);
    if (!(error <= worst)) worst = error;
    EXPECT_LE(error, function.ulp) << function.name << "(" << x << ", " << y << ") = " << value
                                   << ", exact " << static_cast<double>(exact);
    if (testing::Test::HasFailure()) return worst;
  }
  return worst;
}

TEST(Math, EveryFunctionKeepsItsUlpBound) {
  for (const MathFunction& function : math_functions()) {
    const auto reference = references().find(function.name);
    ASSERT_NE(reference, references().end()) << "no reference for " << function.name;
    const double worst = function.type == ElementType::f32
                             ? worst_ulp<float>(function, reference->second, 200'000)
                             : worst_ulp<double>(function, reference->second, 50'000);
    RecordProperty(std::string(function.name) + "_" + std::string(to_string(function.type)),
                   std::to_string(worst));
  }
}

/// With GRADUS_EXHAUSTIVE=1 in the environment: all f32 of every function of one operand; with N,
/// every N-th. Prints the greatest error and where it is.
TEST(Math, EveryFloatKeepsItsUlpBound) {
  const char* wanted = std::getenv("GRADUS_EXHAUSTIVE");
  if (wanted == nullptr) GTEST_SKIP() << "GRADUS_EXHAUSTIVE is not set";
  const std::uint64_t step = std::strtoull(wanted, nullptr, 10);
  ASSERT_GT(step, 0u);
  constexpr std::size_t kChunk = 1 << 16;
  for (const MathFunction& function : math_functions()) {
    if (function.type != ElementType::f32 || function.arity != 1) continue;
    const Reference reference = references().at(function.name);
    double worst = 0;
    float where = 0;
    std::vector<std::uint64_t> operands(kChunk), results(kChunk);
    for (std::uint64_t first = 0; first < std::uint64_t{1} << 32; first += kChunk * step) {
      for (std::size_t i = 0; i < kChunk; ++i) operands[i] = (first + i * step) & 0xffffffff;
      {
        const FloatEnvironment environment;
        evaluate_many(function.program, kChunk, operands, {}, results, {});
      }
      for (std::size_t i = 0; i < kChunk; ++i) {
        const auto x = from_word<float>(operands[i]);
        const auto value = from_word<float>(results[i]);
        if (std::fpclassify(x) == FP_SUBNORMAL) continue;
        const auto exact = reference(x, 0);
        if (std::isnan(exact)) {
          ASSERT_TRUE(std::isnan(value)) << function.name << "(" << x << ")";
          continue;
        }
        const auto rounded = static_cast<float>(exact);
        const float magnitude = std::abs(rounded);
        if (!std::isfinite(rounded) || magnitude <= std::numeric_limits<float>::min()) continue;
        const double ulp = std::nextafter(magnitude, INFINITY) - magnitude;
        const auto error = static_cast<double>(std::abs(exact - value)) / ulp;
        if (error > worst) {
          worst = error;
          where = x;
        }
      }
    }
    printf("%s: %.3f ulp at %.9g\n", std::string(function.name).c_str(), worst,
           static_cast<double>(where));
    EXPECT_LE(worst, function.ulp) << function.name << "(" << where << ")";
  }
}

}  // namespace
}  // namespace gradus::ir
