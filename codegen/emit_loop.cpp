#include "codegen/emit_loop.h"

#include "codegen/emit_transpose.h"

namespace gradus::codegen {

StoreEmitter::StoreEmitter(EmitContext& context, const std::vector<Store>& stores,
                           VectorAxis vector)
    : stores_(stores) {
  for (const Store& store : stores) targets_.emplace_back(context, store.target, vector);
}

void StoreEmitter::advance(AxisSet known) {
  for (Reference& target : targets_) {
    if (!target.has_base() && (target.base_axes() & ~known) == 0) target.emit_base();
  }
}

void StoreEmitter::store(BodyEmitter& body) {
  for (std::size_t i = 0; i < stores_.size(); ++i) {
    targets_[i].store(body.result(stores_[i].value), body.mask());
  }
}

LoopEmitter::LoopEmitter(EmitContext& context, const Loop& loop)
    : c_(context), loop_(loop), effective_(effective_axes(context, loop.axes)) {}

void LoopEmitter::begin_task() {
  for (const Accumulate& accumulate : loop_.accumulates) {
    const auto instruction = static_cast<std::size_t>(
        loop_.body.program.results[static_cast<std::size_t>(accumulate.value)]);
    accumulates_.push_back(std::make_unique<AccumulateEmitter>(
        c_, accumulate, loop_.body.program.code[instruction].type, effective_));
    if (accumulates_.back()->whole_task()) accumulates_.back()->begin();
  }
}

void LoopEmitter::end_task() {
  for (const auto& accumulate : accumulates_) {
    if (accumulate->whole_task()) accumulate->end();
  }
}

void LoopEmitter::emit() {
  if (emit_transposing(c_, loop_, effective_)) return;
  for (const auto& accumulate : accumulates_) {
    if (!accumulate->whole_task()) accumulate->begin();
  }
  BodyEmitter body(c_, loop_.body, loop_.axes, effective_.vector);
  StoreEmitter stores(c_, loop_.stores, effective_.vector);
  AxisSet known = ~AxisSet{0};  // what has no loop is known from the start
  for (AxisId axis : effective_.axes) known &= ~axis_bit(axis);
  const AxisSet outside = known;
  bool fixed_lanes = false;
  for (const Accumulate& accumulate : loop_.accumulates) {
    fixed_lanes = fixed_lanes || accumulate.lanes;
  }
  Nest nest{.axes = effective_.axes, .vector = effective_.vector, .fixed_lanes = fixed_lanes};
  nest.enter = [&](std::size_t level) {
    known = outside;
    for (std::size_t l = 0; l < level; ++l) known |= axis_bit(effective_.axes[l]);
    body.advance(known);
    stores.advance(known);
    for (const auto& accumulate : accumulates_) accumulate->enter(level);
  };
  nest.leave = [&](std::size_t level) {
    for (const auto& accumulate : accumulates_) accumulate->leave(level);
  };
  nest.point = [&](llvm::Value* mask) {
    if (effective_.vector.lanes > 1) body.forget(effective_.vector.axis);
    body.set_mask(mask);
    body.advance(~AxisSet{0});
    stores.advance(~AxisSet{0});
    stores.store(body);
    for (std::size_t i = 0; i < accumulates_.size(); ++i) {
      accumulates_[i]->add(body.result(loop_.accumulates[i].value), mask);
    }
  };
  emit_nest(c_, nest);
  for (const auto& accumulate : accumulates_) {
    if (!accumulate->whole_task()) accumulate->end();
  }
}

}  // namespace gradus::codegen
