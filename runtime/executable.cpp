#include "runtime/executable.h"

#include <algorithm>

namespace gradus::runtime {
namespace {

constexpr std::int64_t kPage = 4096;

std::int64_t aligned(std::int64_t bytes, std::int64_t alignment = kBufferAlignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

/// Operations, or elements moved, that take about as long as to call other workers and to await
/// them.
constexpr std::int64_t kLeastSharedWork = 16 * 1024;

}  // namespace

std::int64_t Step::most_workers(std::int64_t rounds) const {
  std::int64_t bytes = 0;
  for (const BufferReference& buffer : buffers) bytes += buffer.bytes;
  const std::int64_t moved = bytes / static_cast<std::int64_t>(sizeof(float));
  return std::max(operations, moved) * rounds < kLeastSharedWork ? 1 : tasks;
}

std::int64_t Executable::scratch_stride() const { return aligned(scratch_bytes, kPage); }

std::int64_t Executable::all_scratch(std::int64_t workers) const {
  return scratch_bytes == 0 ? 0 : scratch_stride() * workers + 2 * kScratchMargin;
}

void Turns::find() {
  Chain& chain = turn_.chain;
  const std::vector<Chain>& chains = executable_.chains;
  while (next_chain_ < chains.size() && chains[next_chain_].first < chain.first) ++next_chain_;
  if (at_end()) return;
  const bool found = next_chain_ < chains.size() && chains[next_chain_].first == chain.first;
  chain = found ? chains[next_chain_] : Chain{chain.first, 1, executable_.steps[chain.first].tasks};
  const std::vector<Loop>& loops = executable_.loops;
  turn_.iterations = chain.whole_loop ? loops.at(next_loop_).length : 1;
}

void Turns::advance() {
  const std::size_t next = turn_.chain.first + turn_.chain.count;
  turn_.chain.first = next;
  const std::vector<Loop>& loops = executable_.loops;
  if (next_loop_ < loops.size() && loops[next_loop_].first + loops[next_loop_].count == next) {
    const Loop& loop = loops[next_loop_];
    turn_.iteration += turn_.iterations;
    if (turn_.iteration < loop.length) {
      turn_.chain.first = loop.first;
      next_chain_ = 0;
    } else {
      turn_.iteration = 0;
      ++next_loop_;
    }
  }
  find();
}

const StateEntry* StateLayout::find(const std::string& name) const {
  for (const StateEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void StateLayout::add(std::string name, TensorType type, StateKind kind) {
  GRADUS_CHECK(find(name) == nullptr, "two state entries are named " + name);
  const std::int64_t offset = bytes;  // a multiple of the alignment, by the next line
  bytes = aligned(offset + type.byte_size());
  entries.push_back({std::move(name), std::move(type), kind, offset});
}

}  // namespace gradus::runtime
