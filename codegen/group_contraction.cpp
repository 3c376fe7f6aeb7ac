// What GroupLoops knows of its group's contractions.

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/check.h"
#include "codegen/body.h"
#include "codegen/group_loops.h"
#include "codegen/kernel_index.h"
#include "ir/half_plane.h"
#include "ir/op.h"
#include "ir/scan.h"
#include "passes/inner_batch.h"
#include "passes/roots.h"

namespace gradus::codegen {

using ir::NodeId;

namespace {

// The same on every machine: they decide tasks.
constexpr std::int64_t kEpilogueBytes =
    1 << 20;                                  // more than a second cache holds beside the rest ...
constexpr std::int64_t kProductsPerByte = 8;  // ... are moved unseen beside so many products

}  // namespace

ContractionAxes GroupLoops::contraction_axes(NodeId contraction) {
  const std::vector<int>& axes = group_.axes.at(contraction);
  const passes::ContractionCounts counts = passes::contraction_counts(graph_, contraction);
  GRADUS_CHECK(counts.columns == 1, "the contraction is not canonical");
  std::size_t next = 0;
  const auto take = [&](std::size_t length) {
    std::vector<AxisId> ids;
    for (const std::size_t end = next + length; next < end; ++next) {
      if (axes[next] >= 0) ids.push_back(axes[next]);
    }
    return ids;
  };
  ContractionAxes roles;
  roles.batch = take(counts.batch);
  roles.rows = take(counts.rows);
  const std::vector<AxisId> columns = take(counts.columns);
  roles.k = take(counts.contracted);
  roles.n = columns.empty() ? unit_axis(2) : columns[0];
  if (roles.rows.empty()) roles.rows = {unit_axis(1)};
  if (roles.k.empty()) roles.k = {unit_axis(3)};
  return roles;
}

/// Bytes of memory that a contraction's epilogue reads and writes element by element.
std::int64_t GroupLoops::epilogue_bytes(NodeId contraction) const {
  const std::int64_t elements = element_count(graph_.node(contraction).types[0].shape);
  std::set<NodeId> read;
  std::int64_t bytes = 0;
  for (NodeId id : group_.roots) {
    if (stage_of(id) != contraction) continue;
    if (is_output(id)) bytes += graph_.node(id).types[0].byte_size();
    if (id == contraction) continue;
    const passes::Root& root = plan_.roots.at(id);
    for (const passes::Read& leaf : root.leaves) read.insert(leaf.value);
    for (const passes::Read& other : root.roots) {
      if (!in_group(other.value)) read.insert(other.value);
    }
  }
  for (NodeId id : read) {
    const TensorType& type = graph_.node(id).types[0];
    if (element_count(type.shape) >= elements) bytes += type.byte_size();
  }
  return bytes;
}

/// The last epilogue moves so much memory that it should be whole rows.
bool GroupLoops::epilogue_waits() const {
  const std::int64_t products = element_count(iterations_.at(*last_).extents);
  const std::int64_t bytes = epilogue_bytes(*last_);
  return bytes > kEpilogueBytes && bytes * kProductsPerByte >= products;
}

std::pair<NodeId, std::vector<Affine>> GroupLoops::operand_index(NodeId contraction,
                                                                 std::size_t side) const {
  const ir::Value operand = graph_.operands(contraction)[side];
  const passes::OperandRead memory = passes::operand_read(graph_, operand.node);
  std::vector<Affine> own;  // index of the operand
  for (int slot : iterations_.at(contraction).operand_slots[side]) {
    const AxisId domain = axes_of(contraction)[static_cast<std::size_t>(slot)];
    own.push_back(domain < 0 ? Affine{} : Affine{{{domain, 1}}, 0, 1});
  }
  std::vector<Affine> index;
  for (const ir::AxisMap& map : memory.map) index.push_back(compose(map, own));
  return {memory.node, std::move(index)};
}

namespace {

/// Neighbours along `axis` are neighbours in memory.
bool is_contiguous(const std::vector<Affine>& index, AxisId axis) {
  const auto moves = [&](const Affine& affine) { return coefficient_of(affine, axis) != 0; };
  return !index.empty() && coefficient_of(index.back(), axis) == 1 &&
         std::none_of(index.begin(), index.end() - 1, moves);
}

/// Bytes between neighbours along `axis` in memory of the given type.
std::int64_t stride_of(const std::vector<Affine>& index, const TensorType& type, AxisId axis) {
  return std::abs(element_stride(index, type.shape, axis)) * byte_size(type.element);
}

/// Whether the value is the same in every iteration of the loop whose body the graph is.
bool is_invariant(const ir::Graph& body, NodeId value) {
  const std::vector<NodeId> invariant = ir::scan_signature(body).invariant;
  return std::ranges::find(invariant, value) != invariant.end();
}

}  // namespace

/// The model chooses how contractions run, `choose` for the last one.
void GroupLoops::choose_contractions(const Chooser& choose) {
  for (NodeId id : contractions_) {
    considered_ = candidates(contraction_box(id), target_);
    chosen_ = id == *last_ ? choose(considered_) : 0;
    choices_[id] = considered_.at(chosen_).choice;
  }
}

/// A contraction in the longest task.
ContractionBox GroupLoops::contraction_box(NodeId contraction) {
  const ContractionAxes roles = contraction_axes(contraction);
  const auto [lhs, lhs_index] = operand_index(contraction, 0);
  const auto [rhs, rhs_index] = operand_index(contraction, 1);
  const TensorType& lhs_type = graph_.node(lhs).types[0];
  const TensorType& rhs_type = graph_.node(rhs).types[0];
  ContractionBox box;
  box.type = graph_.node(contraction).types[0].element;
  box.m = task_extent(roles.m());
  box.n = task_extent(roles.n);
  for (AxisId axis : roles.rows) box.rows *= extent(axis);
  for (std::size_t i = 0; i + 1 < roles.rows.size(); ++i) {
    box.outer_rows *= task_extent(roles.rows[i]);
  }
  const bool whole = !is_local(roles.m());
  if (whole && roles.rows.size() > 1) box.lines = task_extent(roles.rows[roles.rows.size() - 2]);
  box.k.clear();
  for (AxisId k : roles.k) box.k.push_back(local_extent(k));
  box.resting = kernel_.tile.has_value();
  box.tasks = kernel_.task_count();
  box.rhs_row_bytes = extent(roles.n) * byte_size(box.type);
  box.rhs_bytes = box.rhs_row_bytes;
  for (AxisId k : roles.k) box.rhs_bytes *= extent(k);
  const bool several = extent(roles.n) > 1;
  box.in_place = !several || is_contiguous(rhs_index, roles.n);
  box.packable = several && !in_group(passes::memory_of(graph_, rhs));
  if (loop_length_ > 1 && is_invariant(graph_, passes::memory_of(graph_, rhs))) {
    box.repeats = loop_length_;
  }
  for (const TaskAxis& task : kernel_.tasks) {
    if (task.axis == roles.n && task.cut.count > 1) box.column_unit = task.cut.unit;
  }
  box.rhs_k_stride = stride_of(rhs_index, rhs_type, roles.k.back());
  box.lhs_m_stride = stride_of(lhs_index, lhs_type, roles.m());
  box.lhs_k_stride = stride_of(lhs_index, lhs_type, roles.k.back());
  double share = 1;  // of lhs that the task reads
  for (const std::vector<AxisId>& axes : {roles.batch, roles.rows, roles.k}) {
    for (AxisId axis : axes) {
      share *= static_cast<double>(task_extent(axis)) / static_cast<double>(extent(axis));
    }
  }
  box.lhs_bytes = static_cast<std::int64_t>(share * static_cast<double>(lhs_type.byte_size()));
  using enum ir::MatrixAxis;
  const auto counted = ir::half_plane(graph_.node(contraction).attributes);
  if (counted && counted->low != contracted && counted->high != contracted) {
    box.border = {extent(roles.m()), extent(roles.n), counted->offset, counted->low == row};
  }
  box.tiled = !stored_.empty() && !kernel_.tasks.empty();
  box.results = element_count(graph_.node(contraction).types[0].shape);
  box.epilogue_bytes = epilogue_bytes(contraction);
  box.streamed = passes::batch_inside(graph_, group_, contraction);
  return box;
}

}  // namespace gradus::codegen
