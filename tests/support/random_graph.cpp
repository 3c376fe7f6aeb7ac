#include "tests/support/random_graph.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include "ir/op.h"
#include "ir/text.h"
#include "tests/support/random.h"

namespace gradus::support {
namespace {

using ir::Expr;
using ir::Integers;

constexpr std::int64_t kGreatestSize = 2000;  // elements of a value
constexpr std::size_t kGreatestRank = 6;

class Grower {
 public:
  explicit Grower(std::uint64_t seed) : random_(seed), graph_(text("graph")) {}

  ir::Graph grow() {
    for (int i = 0; i < 4; ++i) new_input({element(), shape()});
    const std::int64_t steps = random_.between(5, 60);
    for (std::int64_t i = 0; i < steps; ++i) {
      graph_.set_provenance(provenance());
      step();
    }
    graph_.set_provenance({});
    finish();
    return std::move(graph_);
  }

 private:
  // --- Names, places, numbers -----------------------------------------------------------------

  std::string text(const std::string& plain) {
    const std::string odd[] = {"a \"quoted\" name", "back\\slash", "line\nbreak", "größe 大",
                               "# no comment",      "\\",          "\t",          ""};
    return random_.chance(0.8) ? plain : std::string(random_.pick(odd));
  }
  std::string unique(const std::string& plain) {
    return text(plain) + std::to_string(next_name_++);
  }
  SourceLocation place() {
    SourceLocation where;
    where.file = text("model.json");
    if (random_.chance(0.9)) {
      where.line = static_cast<std::uint32_t>(random_.between(1, 30));
      where.column = static_cast<std::uint32_t>(random_.between(1, 80));
    }
    if (random_.chance(0.5)) {
      where.length = static_cast<std::uint32_t>(random_.between(0, 9));
    }
    return where;
  }
  ir::Provenance provenance() {
    ir::Provenance result;
    while (random_.chance(0.5)) {
      ir::Origin origin;
      origin.where = place();
      while (random_.chance(0.2)) origin.uses.push_back(place());
      if (random_.chance(0.8)) origin.layer = text("encoder/hidden");
      constexpr ir::Role roles[] = {ir::Role::forward, ir::Role::backward, ir::Role::update,
                                    ir::Role::metric};
      result.merge({std::make_shared<const ir::Origin>(origin), random_.pick(roles)});
    }
    return result;
  }

  ElementType element() {
    return random_.chance(0.4) ? ElementType::f32 : random_.pick(kElementTypes);
  }
  Shape shape() {
    constexpr std::int64_t extents[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 70};
    Shape result;
    const std::int64_t rank = random_.between(0, 4);
    while (static_cast<std::int64_t>(result.size()) < rank) {
      result.push_back(random_.chance(0.02) ? 0 : random_.pick(extents));
    }
    while (element_count(result) > kGreatestSize) result.pop_back();
    return result;
  }
  static bool fits(const Shape& shape) {
    return shape.size() <= kGreatestRank && element_count(shape) <= kGreatestSize;
  }
  /// Any bits for floats, so that every NaN and every subnormal occurs.
  template <typename T>
  T bits() {
    if constexpr (std::is_same_v<T, bool>) {
      return random_.chance(0.5);
    } else if constexpr (std::is_same_v<T, float>) {
      return random_.chance(0.5) ? std::bit_cast<float>(random_.word())
                                 : static_cast<float>(random_.between(-8, 8)) / 4;
    } else if constexpr (std::is_same_v<T, double>) {
      return random_.chance(0.5) ? std::bit_cast<double>(random_.seed())
                                 : static_cast<double>(random_.between(-8, 8)) / 4;
    } else {
      return random_.chance(0.2) ? std::numeric_limits<T>::min() : static_cast<T>(random_.seed());
    }
  }
  Integers axes_of(std::int64_t rank) {
    Integers axes;
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      if (random_.chance(0.5)) axes.push_back(axis);
    }
    return axes;
  }
  Integers permutation_of(std::int64_t rank) {
    Integers permutation;
    for (std::int64_t axis = 0; axis < rank; ++axis) {
      permutation.insert(permutation.begin() + random_.between(0, axis), axis);
    }
    return permutation;
  }

  // --- Nodes ------------------------------------------------------------------------------------

  Expr any() { return random_.pick(values_); }
  /// A value of exactly this type, a new input when there is none.
  Expr of_type(const TensorType& type) {
    std::vector<Expr> fitting;
    for (Expr value : values_) {
      if (value.type() == type) fitting.push_back(value);
    }
    return fitting.empty() || random_.chance(0.1) ? new_input(type) : random_.pick(fitting);
  }
  Expr new_input(TensorType type) {
    constexpr ir::InputKind kinds[] = {ir::InputKind::state, ir::InputKind::batch,
                                       ir::InputKind::scalar};
    values_.push_back(
        {&graph_, graph_.add_input(unique("x"), random_.pick(kinds), std::move(type))});
    return values_.back();
  }
  /// Adds the node if the op takes what it is given and the result is not too large.
  void try_add(const ir::OpRecord& op, const std::vector<Expr>& operands,
               ir::Attributes attributes = {}) {
    std::vector<ir::Value> values;
    for (Expr operand : operands) values.push_back(operand.value);
    try {
      const Expr y{&graph_, {graph_.add(op, values, std::move(attributes)), 0}};
      if (fits(y.shape())) values_.push_back(y);
    } catch (const ir::TypeError&) {
      return;
    }
  }

  void step() {
    switch (random_.between(0, 10)) {
      case 10:
        return indexing();
      case 6:
        return convolution();
      case 7:
        return windows();
      case 0:
      case 1:
        return plain();
      case 2:
      case 8:
        return example();
      case 3:
        return reduction();
      case 4:
        return movement();
      case 5:
        return contraction();
      default:
        return constant();
    }
  }

  /// An op without required attributes on values that may fit.
  void plain() {
    const ir::OpRecord& op = random_.pick(ir::op_records());
    for (const ir::AttributeSpec& spec : op.attributes) {
      if (!spec.default_value) return;
    }
    if (op.least_operands == 0) return;
    std::vector<Expr> operands{any()};
    while (static_cast<int>(operands.size()) < op.least_operands) {
      operands.push_back(random_.chance(0.2) ? any() : of_type(operands[0].type()));
    }
    try_add(op, operands);
  }
  /// One of the registry's own examples.
  void example() {
    const ir::OpRecord& op = random_.pick(ir::op_records());
    const ir::OpExample& example = random_.pick(op.examples);
    if (std::holds_alternative<ir::InputComputation>(op.compute)) return;
    std::vector<Expr> operands;
    for (std::string_view type : example.operands) {
      operands.push_back(of_type(*parse_tensor_type(type)));
    }
    try_add(op, operands, parse_attributes(op, example.attributes));
  }
  void reduction() {
    const ir::OpRecord& op = random_.pick(ir::op_records());
    const bool reduces = std::holds_alternative<ir::ReductionComputation>(op.compute) ||
                         std::holds_alternative<ir::BlockSumComputation>(op.compute);
    if (!reduces) return reduction();
    const Expr x = any();
    try_add(op, {x}, {{"axes", axes_of(x.rank())}});
  }
  void movement() {
    const Expr x = any();
    const auto rank = static_cast<std::size_t>(x.rank());
    Integers low(rank), high(rank), interior(rank), start(rank), limit(rank), stride(rank);
    for (std::size_t i = 0; i < rank; ++i) {
      low[i] = random_.between(-1, 2);
      high[i] = random_.between(-1, 2);
      interior[i] = random_.between(0, 2);
      start[i] = random_.between(0, x.shape()[i]);
      limit[i] = random_.between(start[i], x.shape()[i]);
      stride[i] = random_.between(1, 3);
    }
    Shape wide;
    Integers axes;
    for (std::int64_t extent : x.shape()) {
      while (random_.chance(0.3)) wide.push_back(random_.between(1, 4));
      axes.push_back(static_cast<std::int64_t>(wide.size()));
      wide.push_back(extent);
    }
    const Expr zero = ir::constant(graph_, x.element(), 0);
    switch (random_.between(0, 6)) {
      case 0:
        return try_add(ir::op("transpose"), {x}, {{"permutation", permutation_of(x.rank())}});
      case 1:
        return try_add(ir::op("reshape"), {x}, {{"shape", other_shape(x.shape())}});
      case 2:
        return try_add(ir::op("pad"), {x, zero},
                       {{"low", low}, {"high", high}, {"interior", interior}});
      case 3:
        return try_add(ir::op("slice"), {x},
                       {{"start", start}, {"limit", limit}, {"stride", stride}});
      case 4:
        return try_add(ir::op("broadcast"), {x}, {{"shape", wide}, {"axes", axes}});
      case 5:
        return try_add(ir::op("reverse"), {x}, {{"axes", axes_of(x.rank())}});
      default:
        return try_add(ir::op("concat"), {x, of_type(x.type())},
                       {{"axis", random_.between(0, std::max<std::int64_t>(x.rank() - 1, 0))}});
    }
  }
  /// The same number of elements: two neighbours merged, or an axis of extent 1 added.
  Shape other_shape(Shape shape) {
    if (shape.size() >= 2 && random_.chance(0.7)) {
      const auto i =
          static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(shape.size()) - 2));
      shape[i] *= shape[i + 1];
      shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    } else {
      shape.insert(shape.begin() + random_.between(0, static_cast<std::int64_t>(shape.size())), 1);
    }
    return shape;
  }
  /// A contraction with a partner made to fit: every axis of x is batch, contracted or free.
  void contraction() {
    const Expr x = any();
    if (x.element() == ElementType::boolean || x.type().element_count() > 400) return;
    ir::DotAxes axes;
    Shape partner;
    // Of matrices a half-plane may count: the first axis is free, the second one contracted.
    const bool matrices = x.rank() >= 2 && random_.chance(0.3);
    std::int64_t number = 0;
    for (std::int64_t axis : permutation_of(x.rank())) {
      const std::int64_t kind =
          matrices
              ? std::array{2, 1, 0}[static_cast<std::size_t>(std::min<std::int64_t>(number++, 2))]
              : random_.between(0, 2);
      if (kind == 2) continue;
      (kind == 0 ? axes.lhs_batch : axes.lhs_contract).push_back(axis);
      (kind == 0 ? axes.rhs_batch : axes.rhs_contract)
          .push_back(static_cast<std::int64_t>(partner.size()));
      partner.push_back(x.shape()[static_cast<std::size_t>(axis)]);
    }
    if (matrices) partner.push_back(random_.between(1, 40));
    while (!matrices && random_.chance(0.6)) partner.push_back(random_.between(1, 12));
    const Integers order = permutation_of(static_cast<std::int64_t>(partner.size()));
    Shape permuted(partner.size());
    Integers place(partner.size());
    for (std::size_t i = 0; i < order.size(); ++i) {
      permuted[i] = partner[static_cast<std::size_t>(order[i])];
      place[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
    }
    for (Integers* list : {&axes.rhs_batch, &axes.rhs_contract}) {
      for (std::int64_t& axis : *list) axis = place[static_cast<std::size_t>(axis)];
    }
    if (!fits(permuted)) return;
    try_add(ir::op("dot"), {x, of_type({x.element(), permuted})},
            {{"lhs_batch", axes.lhs_batch},
             {"rhs_batch", axes.rhs_batch},
             {"lhs_contract", axes.lhs_contract},
             {"rhs_contract", axes.rhs_contract},
             {"half_plane", matrices ? half_plane() : Integers{}}});
  }
  /// Two of the three axes of a product of matrices, and an offset.
  Integers half_plane() {
    const Integers axes = permutation_of(3);
    return {axes[0], axes[1], random_.between(-12, 12)};
  }
  /// A convolution with a partner made to fit: every axis of x takes a part, every number is
  /// random.
  void convolution() {
    const Expr x = random_.chance(0.5) ? any() : of_type({ElementType::f32, image_shape()});
    if (!is_float(x.element()) || x.rank() < 2 || x.type().element_count() > 400) return;
    Integers order = permutation_of(x.rank());
    ir::ConvolutionAxes axes;
    Shape partner;
    const auto of_partner = [&](std::int64_t extent) {
      partner.push_back(extent);
      return static_cast<std::int64_t>(partner.size()) - 1;
    };
    axes.lhs_batch = order[0];
    axes.lhs_feature = order[1];
    axes.rhs_in = of_partner(x.shape()[static_cast<std::size_t>(order[1])]);
    axes.rhs_out = of_partner(random_.between(1, 9));
    std::size_t next = 2;
    if (next < order.size() && random_.chance(0.3)) {
      axes.lhs_group = order[next++];
      axes.rhs_group = of_partner(x.shape()[static_cast<std::size_t>(axes.lhs_group)]);
    }
    if (next == 2 && order.size() == 4 && random_.chance(0.3)) {
      axes.algorithm = random_.chance(0.5) ? ir::ConvolutionAlgorithm::winograd_2x2
                                           : ir::ConvolutionAlgorithm::winograd_4x4;
    }
    for (; next < order.size(); ++next) {
      if (axes.algorithm != ir::ConvolutionAlgorithm::direct) {
        axes.spatial.push_back(
            {order[next], of_partner(3), 1, random_.between(-1, 2), random_.between(-1, 2), 1, 1});
        continue;
      }
      axes.spatial.push_back({order[next], of_partner(random_.between(1, 3)), random_.between(1, 3),
                              random_.between(-1, 2), random_.between(-1, 2), random_.between(1, 3),
                              random_.between(1, 3)});
    }
    const Integers places = permutation_of(static_cast<std::int64_t>(partner.size()));
    Shape permuted(partner.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      permuted[static_cast<std::size_t>(places[i])] = partner[i];
    }
    for (std::int64_t* axis : {&axes.rhs_in, &axes.rhs_out, &axes.rhs_group}) {
      if (*axis >= 0) *axis = places[static_cast<std::size_t>(*axis)];
    }
    for (ir::SpatialAxis& axis : axes.spatial)
      axis.rhs = places[static_cast<std::size_t>(axis.rhs)];
    if (!fits(permuted)) return;
    try_add(ir::op("conv"), {x, of_type({x.element(), permuted})}, ir::to_attributes(axes));
  }
  Shape image_shape() {
    return {random_.between(1, 3), random_.between(1, 7), random_.between(1, 7),
            random_.between(1, 4)};
  }
  /// Reads x, or adds its slices, at positions that mostly exist; sums and sorts along an axis.
  void indexing() {
    const Expr x = any();
    if (x.rank() == 0) return;
    const std::int64_t axis = random_.between(0, x.rank() - 1);
    const ir::Attributes along{{"axis", axis}};
    const std::int64_t kind = random_.between(0, 5);
    if (kind == 0) return try_add(ir::op("cumulative_sum"), {x}, along);
    if (kind == 1) {
      if (x.shape()[static_cast<std::size_t>(axis)] > 40) return;
      return try_add(ir::op("arg_sort"), {x},
                     {{"axis", axis}, {"descending", random_.chance(0.5)}});
    }
    const std::int64_t batch = random_.between(0, axis);
    Shape shape(x.shape().begin(), x.shape().begin() + batch);
    if (kind <= 3) {
      const std::int64_t extent = x.shape()[static_cast<std::size_t>(axis)];
      if (extent == 0) return;
      while (random_.chance(0.5)) shape.push_back(random_.between(1, 9));
      return try_add(ir::op("gather"), {x, indices(shape, extent)},
                     {{"axis", axis}, {"batch", batch}});
    }
    const std::int64_t places = random_.between(0, x.rank() - axis);
    shape.insert(shape.end(), x.shape().begin() + axis, x.shape().begin() + axis + places);
    const std::int64_t extent = random_.between(1, 9);
    try_add(ir::op("scatter_add"), {x, indices(shape, extent)},
            {{"axis", axis}, {"batch", batch}, {"extent", extent}});
  }
  /// Positions within [0, extent), or whatever integers there are.
  Expr indices(const Shape& shape, std::int64_t extent) {
    constexpr ElementType types[] = {ElementType::i32, ElementType::i64, ElementType::u32,
                                     ElementType::u8};
    const TensorType type{random_.pick(types), shape};
    if (random_.chance(0.05)) return of_type(type);
    if (random_.chance(0.4) && type.element != ElementType::u8 && !shape.empty()) {
      const ir::NodeId iota = graph_.add(ir::op("iota"), {},
                                         {{"element", type.element},
                                          {"shape", shape},
                                          {"axis", random_.between(0, type.rank() - 1)}});
      const Expr position{&graph_, {iota, 0}};
      return ir::map("rem", position, ir::full_like(position, static_cast<double>(extent)));
    }
    Tensor value(type);
    dispatch(type.element, [&](auto zero) {
      for (auto& each : value.as<decltype(zero)>()) {
        each = static_cast<decltype(zero)>(
            random_.between(0, std::min<std::int64_t>(extent, 100) - 1));
      }
    });
    return ir::constant(graph_, std::move(value));
  }
  /// Two axes of x as places and taps of windows, or back.
  void windows() {
    const Expr x = any();
    if (x.rank() < 2) return;
    const Integers order = permutation_of(x.rank());
    ir::Attributes attributes{{"places", Integers{order[0]}},
                              {"taps", Integers{order[1]}},
                              {"stride", Integers{random_.between(1, 3)}},
                              {"dilation", Integers{random_.between(1, 2)}}};
    if (random_.chance(0.5)) return try_add(ir::op("window"), {x}, attributes);
    attributes.set("extents", Integers{random_.between(1, 30)});
    try_add(ir::op("unwindow"), {x, ir::constant(graph_, x.element(), 0)}, attributes);
  }
  void constant() {
    TensorType type{element(), shape()};
    while (type.element_count() > 40) type.shape.pop_back();
    Tensor value(type);
    dispatch(type.element, [&](auto zero) {
      for (auto& x : value.as<decltype(zero)>()) x = bits<decltype(zero)>();
    });
    values_.push_back(ir::constant(graph_, std::move(value)));
  }

  void finish() {
    for (std::int64_t i = random_.between(1, 6); i > 0; --i) {
      graph_.add_result(unique("y"), any().value);
    }
    const std::vector<ir::NodeId> inputs(graph_.inputs().begin(), graph_.inputs().end());
    for (ir::NodeId id : inputs) {
      const ir::Attributes& attributes = graph_.node(id).attributes;
      if (attributes.get<std::string>("kind") != "state" || random_.chance(0.5)) continue;
      const std::string name = attributes.get<std::string>("name");
      graph_.add_update(name, of_type(graph_.node(id).types[0]).value);
    }
  }

  Random random_;
  int next_name_ = 0;
  ir::Graph graph_;
  std::vector<Expr> values_;
};

}  // namespace

ir::Graph random_graph(std::uint64_t seed) { return Grower(seed).grow(); }

}  // namespace gradus::support
