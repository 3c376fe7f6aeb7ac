#include "ir/compositions/recurrent.h"

#include "ir/scan.h"

namespace gradus::ir {
namespace {

/// Gate `number` of [batch, gates * units].
Expr gate(Expr gates, std::int64_t number, std::int64_t units) {
  return slice(gates, {0, number * units}, {gates.shape()[0], (number + 1) * units}, {1, 1});
}

/// The carried values before the loop.
std::vector<Expr> first_of(const Recurrence& r, std::size_t count) {
  if (!r.first.empty()) return r.first;
  const TensorType type{r.x.element(), {r.x.shape()[1], r.kernel.shape()[0]}};
  return std::vector<Expr>(count, full(*r.x.graph, type, 0));
}

Expr plus_bias(Expr x, Expr bias) { return x + broadcast(bias, x.shape(), {x.rank() - 1}); }

using Iterate = std::function<ScanResults(const ScanIteration&)>;

/// Where the slice of `there` is false the carried values stay, and h, the first of them, is given
/// again.
ScanResults masked(const ScanIteration& i, const Iterate& iterate) {
  ScanResults results = iterate(i);
  for (std::size_t k = 0; k < results.next.size(); ++k) {
    const Expr there = broadcast(i.slices[1], i.carried[k].shape(), {0});
    results.next[k] = select(there, results.next[k], i.carried[k]);
  }
  results.outputs = {results.next.front()};
  return results;
}

RecurrenceResults loop(const Recurrence& r, std::size_t carried, const Iterate& iterate) {
  ScanOperands operands{first_of(r, carried), {r.x}, {r.kernel}};
  if (r.bias) operands.invariant.push_back(*r.bias);
  if (r.there) operands.stacked.push_back(*r.there);
  const Iterate step =
      r.there ? [&](const ScanIteration& i) { return masked(i, iterate); } : iterate;
  std::vector<Expr> results = scan(*r.x.graph, operands, r.x.shape()[0], r.backwards, step);
  const Expr all = results.back();
  results.pop_back();
  return {std::move(results), all};
}

}  // namespace

RecurrenceResults simple_rnn(const Recurrence& r) {
  return loop(r, 1, [&](const ScanIteration& i) {
    const Expr h = r.functions.activation(i.slices[0] + matmul(i.carried[0], i.invariant[0]));
    return ScanResults{{h}, {h}};
  });
}

RecurrenceResults lstm(const Recurrence& r) {
  const std::int64_t units = r.kernel.shape()[0];
  return loop(r, 2, [&](const ScanIteration& i) {
    const CellActivations& f = r.functions;
    const Expr gates = i.slices[0] + matmul(i.carried[0], i.invariant[0]);
    const Expr c = f.recurrent(gate(gates, 1, units)) * i.carried[1] +
                   f.recurrent(gate(gates, 0, units)) * f.activation(gate(gates, 2, units));
    const Expr h = f.recurrent(gate(gates, 3, units)) * f.activation(c);
    return ScanResults{{h, c}, {h}};
  });
}

RecurrenceResults gru(const Recurrence& r, bool reset_after) {
  const std::int64_t units = r.kernel.shape()[0];
  return loop(r, 1, [&](const ScanIteration& i) {
    const CellActivations& f = r.functions;
    const Expr x = i.slices[0], h = i.carried[0], kernel = i.invariant[0];
    const auto product = [&](Expr value, std::int64_t first, std::int64_t last) {
      Expr result = matmul(value, slice(kernel, {0, first * units}, {units, last * units}, {1, 1}));
      if (i.invariant.size() == 1) return result;
      return plus_bias(result, slice(i.invariant[1], {first * units}, {last * units}, {1}));
    };
    const Expr recurrent = product(h, 0, reset_after ? 3 : 2);
    const auto gate_of = [&](std::int64_t number) {
      return f.recurrent(gate(x, number, units) + gate(recurrent, number, units));
    };
    const Expr update = gate_of(0);
    const Expr reset = gate_of(1);
    const Expr inner = reset_after ? reset * gate(recurrent, 2, units) : product(reset * h, 2, 3);
    const Expr candidate = f.activation(gate(x, 2, units) + inner);
    const Expr next = update * h + (1.0 - update) * candidate;
    return ScanResults{{next}, {next}};
  });
}

}  // namespace gradus::ir
