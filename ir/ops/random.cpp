// Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011) as a scalar program. The
// key is the seed; the counter is (innermost index, outer index / 4, stream, step); the word is the
// outer index modulo 4, so that vector lanes are counters and four rows share one evaluation. In a
// loop the position of the iteration is the index along one axis more, in front of the others.

#include <cmath>

#include "ir/ops/families.h"

namespace gradus::ir {
namespace {

using X = std::span<const Scalar>;
using enum ElementType;

std::vector<TensorType> infer_random(const InferContext& context, bool bernoulli) {
  for (const TensorType& operand : context.operands) {
    if (operand != TensorType{i64, {}}) {
      throw TypeError("seed, step and position are i64[], found " + to_string(operand));
    }
  }
  const ElementType element = bernoulli ? boolean : context.attributes.get<ElementType>("element");
  if (!bernoulli && !is_float(element)) throw TypeError("random numbers are f32 or f64");
  return {{element, context.attributes.get<Integers>("shape")}};
}
std::vector<TensorType> infer_float_random(const InferContext& c) { return infer_random(c, false); }
std::vector<TensorType> infer_normal(const InferContext& c) {
  const double share = c.attributes.get<double>("share");
  if (!(share > 0 && share <= 1)) throw TypeError("a share is in (0, 1]");
  return infer_random(c, false);
}
std::vector<TensorType> infer_bernoulli(const InferContext& c) {
  const double probability = c.attributes.get<double>("probability");
  if (!(probability >= 0 && probability <= 1)) throw TypeError("a probability is in [0, 1]");
  return infer_random(c, true);
}

/// 32 uniform bits for this element; operands are seed, step and perhaps the position in a loop.
Scalar random_word(ScalarBuilder& b, X x, const Attributes& attributes) {
  const auto word = [&](std::uint64_t bits) { return b.constant_bits(u32, bits & 0xFFFFFFFFu); };
  const Integers& shape = attributes.get<Integers>("shape");
  const int rank = static_cast<int>(shape.size());
  const bool in_loop = x.size() == 3;
  const Scalar position = in_loop ? convert(x[2], u32) : word(0);
  const Scalar inner = rank == 0 ? position : b.index(rank - 1, u32);
  Scalar outer = rank == 0 ? word(0) : position;
  for (int axis = 0; axis + 1 < rank; ++axis) {
    outer = outer * word(static_cast<std::uint64_t>(shape[static_cast<std::size_t>(axis)])) +
            b.index(axis, u32);
  }
  const auto stream = static_cast<std::uint64_t>(attributes.get<std::int64_t>("stream"));
  Scalar counter[4] = {inner, outer >> 2, word(stream), convert(x[1], u32)};
  Scalar key[2] = {convert(x[0], u32), convert(x[0] >> 32, u32)};
  const Scalar multiplier[2] = {word(0xD2511F53), word(0xCD9E8D57)};
  for (int round = 0; round < 10; ++round) {
    const Scalar high0 = b.emit(ScalarOp::mul_high, u32, {multiplier[0], counter[0]});
    const Scalar high1 = b.emit(ScalarOp::mul_high, u32, {multiplier[1], counter[2]});
    const Scalar low0 = multiplier[0] * counter[0];
    const Scalar low1 = multiplier[1] * counter[2];
    counter[0] = high1 ^ counter[1] ^ key[0];
    counter[1] = low1;
    counter[2] = high0 ^ counter[3] ^ key[1];
    counter[3] = low0;
    key[0] = key[0] + word(0x9E3779B9);
    key[1] = key[1] + word(0xBB67AE85);
  }
  if (rank + (in_loop ? 1 : 0) <= 1) return counter[0];
  const Scalar lane = outer & word(3);
  const Scalar low = select(equal(lane, word(0)), counter[0], counter[1]);
  const Scalar high = select(equal(lane, word(2)), counter[2], counter[3]);
  return select(less(lane, word(2)), low, high);
}

/// (top bits + 1/2) / 2^bits: strictly inside (0, 1), exact in the type.
Scalar open_uniform(Scalar word, ElementType type) {
  const int bits = type == f32 ? 23 : 32;
  const Scalar top = bits == 32 ? word : word >> (32 - bits);
  return (convert(top, type) + 0.5) * (type == f32 ? 0x1p-23 : 0x1p-32);
}

Scalar record_uniform(ScalarBuilder& b, X x, const Attributes& attributes) {
  const ElementType type = attributes.get<ElementType>("element");
  const Scalar word = random_word(b, x, attributes);
  return type == f32 ? convert(word >> 8, f32) * 0x1p-24 : convert(word, f64) * 0x1p-32;
}

Scalar polynomial(Scalar x, std::initializer_list<double> coefficients) {
  Scalar sum;
  for (double c : coefficients) {
    const Scalar constant = x.builder->constant(x.type(), c);
    sum = sum.builder ? fma(sum, x, constant) : constant;
  }
  return sum;
}

/// Giles, "Approximating the erfinv function" (GPU Computing Gems 2, 2011), single precision.
Scalar erf_inverse(Scalar x) {
  const Scalar w = -x.builder->call("log", {(1.0 - x) * (1.0 + x)});
  const Scalar central =
      polynomial(w - 2.5, {2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06,
                           0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941});
  const Scalar tail = polynomial(
      sqrt(w) - 3.0, {-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                      -0.0076224613, 0.00943887047, 1.00167406, 2.83297682});
  return select(less(w, x.builder->constant(x.type(), 5)), central, tail) * x;
}

Scalar record_normal(ScalarBuilder& b, X x, const Attributes& attributes) {
  const ElementType type = attributes.get<ElementType>("element");
  const double share = attributes.get<double>("share");
  const Scalar uniform = open_uniform(random_word(b, x, attributes), type);
  const Scalar centred = uniform * 2.0 - 1.0;
  return erf_inverse(share == 1 ? centred : centred * share) * 1.4142135623730951;
}

Scalar record_bernoulli(ScalarBuilder& b, X x, const Attributes& attributes) {
  const double threshold = std::floor(attributes.get<double>("probability") * 0x1p32);
  if (threshold >= 0x1p32) return b.constant(boolean, 1);
  return less(random_word(b, x, attributes), b.constant(u32, threshold));
}

}  // namespace

std::vector<OpRecord> random_ops() {
  const AttributeSpec shape{"shape", AttributeKind::integers, "Shape of the result."};
  const AttributeSpec stream{"stream", AttributeKind::integer,
                             "Tells sequences apart; fixed when the op is built."};
  const AttributeSpec element{"element", AttributeKind::element_type, "f32 or f64.",
                              Attribute(f32)};
  std::vector<OpRecord> ops;
  const auto random = [&](std::string_view name, std::string_view doc,
                          std::vector<AttributeSpec> attributes, auto infer, auto record,
                          std::vector<OpExample> examples) {
    ops.push_back({.name = name,
                   .doc = doc,
                   .least_operands = 2,
                   .most_operands = 3,
                   .attributes = std::move(attributes),
                   .infer = infer,
                   .compute = ElementwiseComputation{record},
                   .examples = std::move(examples)});
  };
  random("random_uniform",
         "Uniform in [0, 1), a multiple of 2^-24 (f32) or 2^-32 (f64), from (seed, step). A third "
         "operand is the position t of an iteration: the elements are those at index t of axis 0 "
         "of a tensor with one axis more.",
         {shape, stream, element}, infer_float_random, record_uniform,
         {{{"i64[]", "i64[]"}, "shape = [5,20], stream = 7"},
          {{"i64[]", "i64[]"}, "shape = [3], stream = 1, element = f64"},
          {{"i64[]", "i64[]", "i64[]"}, "shape = [5,20], stream = 7", 0, 9}});
  random("random_normal",
         "Standard normal: the inverse distribution function of a uniform number (Giles 2011), "
         "from (seed, step), or (seed, step, position) as random_uniform.",
         {shape,
          stream,
          element,
          {"share", AttributeKind::number,
           "Share of the distribution, about 0, that is drawn: erf(c / sqrt 2) cuts at c.",
           Attribute(1.0)}},
         infer_normal, record_normal,
         {{{"i64[]", "i64[]"}, "shape = [5,20], stream = 7"},
          {{"i64[]", "i64[]"}, "shape = [5,20], stream = 7, share = 0.5"},
          {{"i64[]", "i64[]"}, "shape = [3], stream = 1, element = f64"}});
  random("random_bernoulli",
         "True with the given probability, from (seed, step), or (seed, step, position) as "
         "random_uniform.",
         {shape, stream, {"probability", AttributeKind::number, "In [0, 1]."}}, infer_bernoulli,
         record_bernoulli,
         {{{"i64[]", "i64[]"}, "shape = [5,20], stream = 7, probability = 0.25"}});
  return ops;
}

}  // namespace gradus::ir
