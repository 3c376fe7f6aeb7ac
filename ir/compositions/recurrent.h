#pragma once

// Recurrent nets: cells, and their loops over time. Gates stand one after another along the last
// axis of kernels, in Keras's order.

#include <optional>
#include <vector>

#include "ir/expr.h"

namespace gradus::ir {

/// What the cells apply.
struct CellActivations {
  Expr (*activation)(Expr x) = nullptr;  // of the candidate, and of what is given
  Expr (*recurrent)(Expr x) = nullptr;   // of the gates
};

/// All of a loop over time.
struct Recurrence {
  Expr x;                    // [time, batch, gates * units]: inputs times kernel, plus bias
  Expr kernel;               // [units, gates * units]: of the carried value
  std::optional<Expr> bias;  // [gates * units], added to the carried value's product; of a GRU only
  CellActivations functions;
  bool backwards = false;          // the last time first
  std::vector<Expr> first = {};    // [batch, units]: carried values before the loop; 0 when absent
  std::optional<Expr> there = {};  // bool [time, batch]: at other times nothing changes
};
struct RecurrenceResults {
  std::vector<Expr> carried;  // [batch, units] after the last iteration: h, of an LSTM c too
  Expr all;                   // [time, batch, units]

  [[nodiscard]] Expr last() const { return carried.front(); }
};

/// h' = f(x + h kernel).
RecurrenceResults simple_rnn(const Recurrence& r);
/// Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000). Gates: input, forget,
/// candidate, output. c' = forget c + input f(candidate), h' = output f(c').
RecurrenceResults lstm(const Recurrence& r);
/// Cho et al. 2014. Gates: update z, reset, candidate. h' = z h + (1 - z) f(candidate). With
/// `reset_after` the reset gate acts on the product of h with the kernel, else on h.
RecurrenceResults gru(const Recurrence& r, bool reset_after);

}  // namespace gradus::ir
