#include <functional>
#include <optional>

#include "ir/compositions/activations.h"
#include "ir/compositions/indexing.h"
#include "ir/scan.h"
#include "tests/support/random_net.h"

namespace gradus::support {
namespace {

using ir::Expr;
using ir::ScanIteration;

Expr plus_row(Expr z, Expr row) { return z + ir::broadcast(row, z.shape(), {1}); }

/// h' = tanh(h kernel + add), a loop of its own; the last, or one that all iterations are in.
Expr inner_loop(Expr h, Expr kernel, std::optional<Expr> add, std::int64_t length, bool all) {
  ir::ScanOperands operands{{h}, {}, {kernel}};
  if (add) operands.invariant.push_back(*add);
  const std::vector<Expr> results =
      ir::scan(*h.graph, operands, length, all, [&](const ScanIteration& i) {
        Expr z = ir::matmul(i.carried[0], i.invariant[0]);
        if (add) z = z + i.invariant[1];
        const Expr next = ir::map("tanh", z);
        return all ? ir::ScanResults{{next}, {next * i.carried[0]}} : ir::ScanResults{{next}, {}};
      });
  return all ? results[0] + ir::mean(results[1], {0}) : results[0];
}

}  // namespace

/// A loop over damped copies of x whose body is put together from pieces: each adds the operands
/// that it needs, and makes z of the z before. At the end z is the first carried value.
class Net::Loop {
 public:
  Loop(Net& net, Expr x)
      : net_(net),
        random_(net.random_),
        length_(random_.between(1, 5)),
        units_(net.extent(20)),
        carried_(random_.between(1, 3)),
        reverse_(random_.chance(0.4)) {
    const Shape stack{length_, x.shape()[0], x.shape()[1]}, state{x.shape()[0], units_};
    for (std::int64_t i = 0; i < carried_; ++i) {
      operands_.carried.push_back(ir::broadcast(net.parameter({units_}), state, {1}));
    }
    operands_.stacked.push_back(ir::broadcast(x, stack, {1, 2}) *
                                ir::broadcast(net.parameter({length_}), stack, {0}));
    product_of_slices(x.shape()[1]);
    if (random_.chance(0.8)) product_of_carried();
    for (std::int64_t i = random_.between(0, 3); i > 0; --i) {
      using Add = void (Loop::*)();
      constexpr Add pieces[] = {&Loop::row,         &Loop::normalised, &Loop::noise,
                                &Loop::table,       &Loop::own_row,    &Loop::reduction,
                                &Loop::loop_within, &Loop::same_loop,  &Loop::every_other};
      (this->*random_.pick(pieces))();
    }
    const ir::Activation& activation = random_.pick(ir::activations());
    pieces_.push_back([&](const ScanIteration&, Expr z) { return activation.build(z); });
    outputs();
  }

  /// [examples, units], made of the loop's results.
  Expr build() {
    const std::vector<Expr> results =
        ir::scan(net_.step_.graph, operands_, length_, reverse_, [&](const ScanIteration& i) {
          Expr z;
          for (const Piece& piece : pieces_) z = piece(i, z);
          ir::ScanResults iteration{{z}, {}};
          if (carried_ > 1) iteration.next.push_back(i.carried[1] * 0.75 + z * i.carried[0]);
          if (carried_ > 2) iteration.next.push_back(i.carried[1]);  // the one before
          for (const Piece& output : outputs_) iteration.outputs.push_back(output(i, z));
          return iteration;
        });
    const auto first_output = static_cast<std::size_t>(carried_);
    switch (random_.between(0, 3)) {
      case 0:
        return results[first_output - 1];
      case 1:
        return ir::sum(results.back(), {0});
      case 2:  // through another loop, in the other direction
        return ir::mean(net_.one_direction(results.back(), 0, !reverse_, units_), {0}) + results[0];
      default: {
        Expr y = results[0] + ir::reduce("reduce_max", results[first_output], {0});
        for (std::size_t r = first_output; r < results.size(); ++r) {
          y = y + ir::mean(results[r], {0});
        }
        return y;
      }
    }
  }

 private:
  using Piece = std::function<Expr(const ScanIteration& i, Expr z)>;

  std::size_t invariant(Expr x) {
    operands_.invariant.push_back(x);
    return operands_.invariant.size() - 1;
  }
  std::size_t stack(Expr x) {
    operands_.stacked.push_back(x);
    return operands_.stacked.size() - 1;
  }
  void piece(Piece piece) { pieces_.push_back(std::move(piece)); }

  /// It goes before the loop.
  void product_of_slices(std::int64_t features) {
    const auto kernel = invariant(net_.parameter({features, units_}));
    const bool gated = random_.chance(0.2);
    piece([=](const ScanIteration& i, Expr) {
      const Expr z = ir::matmul(i.slices[0], i.invariant[kernel]);
      return gated ? z * i.carried[0] : z;
    });
  }
  /// Of weights that may be made of others, once before the loop.
  void product_of_carried() {
    const auto kernel = invariant(net_.parameter({units_, units_}));
    const bool made = random_.chance(0.3);
    piece([=](const ScanIteration& i, Expr z) {
      const Expr w = i.invariant[kernel];
      return z + ir::matmul(i.carried[0], made ? ir::map("tanh", ir::matmul(w, w)) : w);
    });
  }
  void row() {
    const auto row = invariant(net_.parameter({units_}));
    piece([=](const ScanIteration& i, Expr z) { return plus_row(z, i.invariant[row]); });
  }
  void normalised() {
    const bool as_shares = random_.chance(0.3);
    piece([=](const ScanIteration&, Expr z) {
      return as_shares ? ir::softmax(z) : ir::normalize_rows(z, 1e-3);
    });
  }
  void noise() {
    const auto seed = invariant(net_.step_.counter("seed"));
    const auto step = invariant(net_.step_.counter("step"));
    piece([=, stream = net_.stream()](const ScanIteration& i, Expr z) {
      const Expr keep =
          ir::apply("random_bernoulli", {i.invariant[seed], i.invariant[step], i.position},
                    {{"shape", z.shape()}, {"stream", stream}, {"probability", 0.75}});
      return ir::select(keep, z, i.carried[0]);
    });
  }
  /// Rows of a table, by slices of positions.
  void table() {
    const std::int64_t rows = net_.extent(7);
    ir::Graph& graph = net_.step_.graph;
    const Shape shape{length_, operands_.carried[0].shape()[0]};
    const Expr count = ir::iota(graph, ElementType::i32, shape, 1) * 2.0 +
                       ir::iota(graph, ElementType::i32, shape, 0);
    const auto index =
        stack(ir::map("rem", count, ir::full_like(count, static_cast<double>(rows))));
    const auto table = invariant(net_.parameter({rows, units_}));
    piece([=](const ScanIteration& i, Expr z) {
      return z + ir::gather(i.invariant[table], i.slices[index], 0);
    });
  }
  /// Every iteration has one.
  void own_row() {
    const auto table = invariant(net_.parameter({length_, units_}));
    piece([=](const ScanIteration& i, Expr z) {
      const Expr row = ir::gather(i.invariant[table], i.position, 0);
      return plus_row(z, row) + ir::cast(i.position, z.element()) * 0.1;
    });
  }
  /// It goes before the loop, unless of what is carried.
  void reduction() {
    const bool stays = random_.chance(0.5), sum = random_.chance(0.5);
    piece([=](const ScanIteration& i, Expr z) {
      const Expr of = stays ? i.carried[0] : i.slices[0];
      const Expr reduced = ir::map("tanh", ir::reduce(sum ? "sum" : "reduce_max", of, {1}));
      return z * 0.5 + ir::broadcast_reduced(reduced, z.shape(), {1});
    });
  }
  void loop_within() {
    const auto kernel = invariant(net_.parameter({units_, units_}));
    const bool all = random_.chance(0.5), reads = random_.chance(0.5);
    piece([=, inner = random_.between(1, 3)](const ScanIteration& i, Expr z) {
      const std::optional<Expr> add = reads ? std::optional(z) : std::nullopt;
      return inner_loop(i.carried[0], i.invariant[kernel], add, inner, all) + z;
    });
  }
  /// A loop within that is the same in every iteration.
  void same_loop() {
    const auto kernel = invariant(net_.parameter({units_, units_}));
    const auto start = invariant(net_.parameter({3, units_}));
    const bool all = random_.chance(0.5);
    piece([=, inner = random_.between(1, 3)](const ScanIteration& i, Expr z) {
      const Expr y = inner_loop(i.invariant[start], i.invariant[kernel], std::nullopt, inner, all);
      return plus_row(z, ir::sum(y, {0}));
    });
  }
  void every_other() {
    piece([](const ScanIteration& i, Expr z) {
      const Expr odd = ir::map("rem", i.position, ir::full_like(i.position, 2));
      const Expr counts = ir::map("equal", odd, ir::full_like(odd, 0));
      return ir::select(ir::broadcast_scalar(counts, z.shape()), z, i.carried[0]);
    });
  }

  void outputs() {
    outputs_.push_back([](const ScanIteration&, Expr z) { return z; });
    if (random_.chance(0.3)) {
      outputs_.push_back([](const ScanIteration& i, Expr) { return i.carried.back(); });
    }
    if (random_.chance(0.3)) {
      outputs_.push_back([](const ScanIteration& i, Expr z) {
        return z * ir::broadcast_reduced(ir::mean(i.slices[0], {1}), z.shape(), {1});
      });
    }
  }

  Net& net_;
  Random& random_;
  std::int64_t length_, units_, carried_;
  bool reverse_;
  ir::ScanOperands operands_;
  std::vector<Piece> pieces_;
  std::vector<Piece> outputs_;
};

Expr Net::loop(Expr x) { return options_.many ? rows(x) : Loop(*this, x).build(); }

}  // namespace gradus::support
