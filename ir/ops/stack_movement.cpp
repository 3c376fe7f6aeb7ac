#include "ir/ops/stack_movement.h"

#include "ir/ops/families.h"

namespace gradus::ir {

Expr stack_broadcast(const StackContext& c) {
  Integers axes = behind_stack_axis(c.attributes.get<Integers>("axes"));
  axes.insert(axes.begin(), 0);
  return broadcast(c.x[0], stack_shape(c), axes);
}

Expr stack_reshape(const StackContext& c) { return reshape(c.x[0], stack_shape(c)); }

Expr stack_transpose(const StackContext& c) {
  Integers permutation = behind_stack_axis(c.attributes.get<Integers>("permutation"));
  permutation.insert(permutation.begin(), 0);
  return transpose(c.x[0], permutation);
}

Expr stack_slice(const StackContext& c) {
  const auto with_first = [&](std::string_view name, std::int64_t first) {
    Integers list = c.attributes.get<Integers>(name);
    list.insert(list.begin(), first);
    return list;
  };
  return slice(c.x[0], with_first("start", 0), with_first("limit", c.x[0].shape()[0]),
               with_first("stride", 1));
}

Expr stack_reverse(const StackContext& c) {
  return reverse(c.x[0], behind_stack_axis(c.attributes.get<Integers>("axes")));
}

}  // namespace gradus::ir
