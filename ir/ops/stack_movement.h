#pragma once

#include "ir/op.h"

namespace gradus::ir {

// Movement on the stacks of all iterations of a loop: OpRecord::stack of the ops of these names.
Expr stack_broadcast(const StackContext& c);
Expr stack_reshape(const StackContext& c);
Expr stack_transpose(const StackContext& c);
Expr stack_slice(const StackContext& c);
Expr stack_reverse(const StackContext& c);

}  // namespace gradus::ir
