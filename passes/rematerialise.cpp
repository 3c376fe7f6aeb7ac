#include "passes/rematerialise.h"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <functional>
#include <limits>
#include <optional>
#include <set>

#include "base/check.h"

namespace gradus::passes {
namespace {

constexpr std::int64_t kAlignment = 64;
/// Operations that take as long as moving a byte to or from memory.
constexpr std::int64_t kOperationsPerByte = 8;
/// Values that are tried before all others, those of the best estimate.
constexpr std::size_t kFirstTried = 6;
/// How many runs deep what a step reads is made again too; each is tried.
constexpr int kDepths[] = {0, 1, 2, 4, 8, 16};

using Numbers = std::vector<std::size_t>;

bool contains(const Numbers& numbers, std::size_t number) {
  return std::ranges::find(numbers, number) != numbers.end();
}
bool meet(const Numbers& a, const Numbers& b) {
  return std::ranges::any_of(a, [&](std::size_t number) { return contains(b, number); });
}

/// One run of a step; its buffers are numbers of Timeline::copies.
struct Run {
  std::size_t step = 0;
  Numbers reads;
  Numbers writes;
};

struct Copy {
  std::size_t buffer = 0;
  std::int64_t number = 0;
};

/// Where a copy is used: the run that writes it and those that read it, ascending.
using Uses = std::vector<Numbers>;

/// The order of runs, as a value: decisions are tried on a copy.
class Timeline {
 public:
  explicit Timeline(const MemoryProgram& program) : program_(&program) {
    for (std::size_t i = 0; i < program.buffers.size(); ++i) copies_.push_back({i, 0});
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
      runs_.push_back({i, program.steps[i].reads, program.steps[i].writes});
    }
    numbers_.assign(program.buffers.size(), 0);
  }

  [[nodiscard]] const std::vector<Run>& runs() const { return runs_; }
  [[nodiscard]] const std::vector<Copy>& copies() const { return copies_; }
  [[nodiscard]] std::int64_t cost() const { return cost_; }
  [[nodiscard]] const StepBuffer& buffer(std::size_t copy) const {
    return program_->buffers[copies_[copy].buffer];
  }
  [[nodiscard]] bool kept(std::size_t copy) const {
    return copies_[copy].number == 0 && buffer(copy).kept;
  }
  [[nodiscard]] std::int64_t bytes(std::size_t copy) const {
    return (buffer(copy).bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  [[nodiscard]] Uses uses() const {
    Uses uses(copies_.size());
    for (std::size_t at = 0; at < runs_.size(); ++at) {
      for (const Numbers* list : {&runs_[at].writes, &runs_[at].reads}) {
        for (std::size_t copy : *list) {
          if (uses[copy].empty() || uses[copy].back() != at) uses[copy].push_back(at);
        }
      }
    }
    return uses;
  }

  /// The bytes alive at each run.
  [[nodiscard]] std::vector<std::int64_t> alive(const Uses& uses) const {
    std::vector<std::int64_t> change(runs_.size() + 1, 0);
    for (std::size_t copy = 0; copy < copies_.size(); ++copy) {
      if (uses[copy].empty()) continue;
      change[uses[copy].front()] += bytes(copy);
      change[kept(copy) ? runs_.size() : uses[copy].back() + 1] -= bytes(copy);
    }
    for (std::size_t at = 1; at < change.size(); ++at) change[at] += change[at - 1];
    change.pop_back();
    return change;
  }

  /// Says of a copy that a step to be run again reads whether it is made again too.
  using Again = std::function<bool(std::size_t copy, std::size_t at, int depth)>;

  /// Runs the step that writes `copy` again before run number `at`; uses from there on read the new
  /// copy. False, and the timeline is unusable, where that would read another state.
  bool run_again(std::size_t copy, std::size_t at, const Again& again) {
    fresh_ = copies_.size();
    return run_again(copy, at, again, 0);
  }

  [[nodiscard]] bool used_from(std::size_t copy, std::size_t at) const {
    if (kept(copy)) return true;
    return std::any_of(runs_.begin() + static_cast<std::ptrdiff_t>(at), runs_.end(),
                       [&](const Run& run) { return contains(run.reads, copy); });
  }

 private:
  bool run_again(std::size_t copy, std::size_t& at, const Again& again, int depth) {
    const std::size_t writer = writer_of(copy);
    if (writer == runs_.size()) return false;
    Run run = runs_[writer];
    const MemoryStep& step = program_->steps[run.step];
    if (!step.state_writes.empty()) return false;
    for (const std::size_t read : Numbers(run.reads)) {
      const std::size_t near = latest(read, at);
      if (near >= fresh_) continue;  // else what is read in two ways is made for each of them
      const bool transient = buffer(near).transient;
      if (!transient && !again(near, at, depth)) continue;
      if (!run_again(near, at, again, transient ? depth : depth + 1)) return false;
    }
    for (std::size_t& read : run.reads) read = latest(read, at);
    if (!delay_updates(run.step, run.reads, at)) return false;
    for (std::size_t& write : run.writes) {
      const std::size_t fresh = copies_.size();
      copies_.push_back({copies_[write].buffer, ++numbers_[copies_[write].buffer]});
      for (std::size_t later = at; later < runs_.size(); ++later) {
        std::ranges::replace(runs_[later].reads, write, fresh);
      }
      cost_ += kOperationsPerByte * bytes(fresh);
      write = fresh;
    }
    cost_ += step.operations;
    for (std::size_t read : run.reads) cost_ += kOperationsPerByte * bytes(read);
    runs_.insert(runs_.begin() + static_cast<std::ptrdiff_t>(at), std::move(run));
    ++at;
    return true;
  }

  /// The last copy of the same buffer that is written before run `at`.
  [[nodiscard]] std::size_t latest(std::size_t copy, std::size_t at) const {
    for (std::size_t run = at; run-- > 0;) {
      for (std::size_t write : runs_[run].writes) {
        if (copies_[write].buffer == copies_[copy].buffer) return write;
      }
    }
    return copy;
  }

  [[nodiscard]] std::size_t writer_of(std::size_t copy) const {
    const auto writer =
        std::ranges::find_if(runs_, [&](const Run& run) { return contains(run.writes, copy); });
    return static_cast<std::size_t>(writer - runs_.begin());
  }

  /// Moves the runs that write a state that `step` reads behind position `at`.
  bool delay_updates(std::size_t step, const Numbers& reads, std::size_t& at) {
    const Numbers& states = program_->steps[step].state_reads;
    const auto first =
        std::ranges::find_if(runs_, [&](const Run& run) { return run.step == step; });
    for (auto run = static_cast<std::size_t>(first - runs_.begin()) + 1; run < at;) {
      if (!meet(program_->steps[runs_[run].step].state_writes, states)) {
        ++run;
        continue;
      }
      if (meet(runs_[run].writes, reads) || !can_delay(run, at)) return false;
      std::rotate(runs_.begin() + static_cast<std::ptrdiff_t>(run),
                  runs_.begin() + static_cast<std::ptrdiff_t>(run) + 1,
                  runs_.begin() + static_cast<std::ptrdiff_t>(at));
      --at;
    }
    return true;
  }

  [[nodiscard]] bool can_delay(std::size_t run, std::size_t at) const {
    const MemoryStep& moved = program_->steps[runs_[run].step];
    for (std::size_t other = run + 1; other < at; ++other) {
      const MemoryStep& step = program_->steps[runs_[other].step];
      if (meet(runs_[run].writes, runs_[other].reads) ||
          meet(moved.state_writes, step.state_reads) ||
          meet(moved.state_writes, step.state_writes) ||
          meet(moved.state_reads, step.state_writes)) {
        return false;
      }
    }
    return true;
  }

  const MemoryProgram* program_;
  std::vector<Run> runs_;
  std::vector<Copy> copies_;
  std::vector<std::int64_t> numbers_;  // per buffer the last copy's
  std::int64_t cost_ = 0;              // of the runs added
  std::size_t fresh_ = 0;              // copies from here on are made for the same wish
};

// --- The minimum cut
// ------------------------------------------------------------------------------

/// A network over buffers: each is an edge of its size from its "in" to its "out" vertex; a step
/// leads from what it reads to what it writes. What flows from the values that must not be made
/// again to those that are wanted late has to be kept.
class KeptValues {
 public:
  KeptValues(const MemoryProgram& program, std::size_t peak) : program_(program), peak_(peak) {
    for (std::size_t i = 0; i < 2 * program.buffers.size() + 2; ++i) boost::add_vertex(network_);
  }

  /// The buffers that are made up to the peak and may be read after it; the others of these are
  /// made again.
  std::set<std::size_t> find() {
    std::vector<bool> early(program_.buffers.size(), false);
    for (std::size_t i = 0; i <= peak_; ++i) {
      const MemoryStep& step = program_.steps[i];
      for (std::size_t write : step.writes) {
        early[write] = true;
        add_edge(in(write), out(write), std::max<std::int64_t>(program_.buffers[write].bytes, 1));
        if (step.contraction || !step.state_writes.empty()) add_edge(source(), in(write), kAll);
        if (program_.buffers[write].kept) add_edge(out(write), sink(), kAll);
        for (std::size_t read : step.reads) add_edge(out(read), in(write), kAll);
      }
    }
    for (std::size_t i = peak_ + 1; i < program_.steps.size(); ++i) {
      for (std::size_t read : program_.steps[i].reads) {
        if (early[read]) add_edge(out(read), sink(), kAll);
      }
    }
    boost::push_relabel_max_flow(network_, source(), sink());
    return cut(early);
  }

 private:
  using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;
  using Network = boost::adjacency_list<
      boost::vecS, boost::vecS, boost::directedS, boost::no_property,
      boost::property<
          boost::edge_capacity_t, std::int64_t,
          boost::property<boost::edge_residual_capacity_t, std::int64_t,
                          boost::property<boost::edge_reverse_t, Traits::edge_descriptor>>>>;
  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max() / 1024;

  static std::size_t in(std::size_t buffer) { return 2 * buffer + 2; }
  static std::size_t out(std::size_t buffer) { return 2 * buffer + 3; }
  static std::size_t source() { return 0; }
  static std::size_t sink() { return 1; }

  void add_edge(std::size_t from, std::size_t to, std::int64_t capacity) {
    const auto edge = boost::add_edge(from, to, network_).first;
    const auto back = boost::add_edge(to, from, network_).first;
    boost::put(boost::edge_capacity, network_, edge, capacity);
    boost::put(boost::edge_capacity, network_, back, 0);
    boost::put(boost::edge_reverse, network_, edge, back);
    boost::put(boost::edge_reverse, network_, back, edge);
  }

  /// The edges of buffers that leave what the source still reaches.
  std::set<std::size_t> cut(const std::vector<bool>& early) const {
    std::vector<bool> reached(boost::num_vertices(network_), false);
    std::vector<std::size_t> open{source()};
    reached[source()] = true;
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      const auto [first, last] = boost::out_edges(at, network_);
      for (auto edge = first; edge != last; ++edge) {
        const std::size_t to = boost::target(*edge, network_);
        if (reached[to] || boost::get(boost::edge_residual_capacity, network_, *edge) == 0)
          continue;
        reached[to] = true;
        open.push_back(to);
      }
    }
    std::set<std::size_t> kept;
    for (std::size_t i = 0; i < early.size(); ++i) {
      if (early[i] && reached[in(i)] && !reached[out(i)]) kept.insert(i);
    }
    return kept;
  }

  const MemoryProgram& program_;
  std::size_t peak_;
  Network network_;
};

// --- The decisions
// --------------------------------------------------------------------------------

std::size_t peak_of(const std::vector<std::int64_t>& alive) {
  return static_cast<std::size_t>(std::ranges::max_element(alive) - alive.begin());
}

/// The sum over the runs of what is alive above `bytes`.
double excess(const std::vector<std::int64_t>& alive, std::int64_t bytes) {
  double sum = 0;
  for (std::int64_t at : alive) sum += static_cast<double>(std::max<std::int64_t>(at - bytes, 0));
  return sum;
}

Timeline cut_at_peak(const MemoryProgram& program) {
  Timeline best(program);
  std::size_t peak = peak_of(best.alive(best.uses()));
  const std::set<std::size_t> kept = KeptValues(program, peak).find();
  const auto dropped = [&](const Timeline& timeline, std::size_t copy) {
    return timeline.copies()[copy].number == 0 && !timeline.kept(copy) &&
           !kept.contains(timeline.copies()[copy].buffer) && copy < program.buffers.size();
  };
  std::vector<bool> early(program.buffers.size(), false);
  for (std::size_t i = 0; i <= peak; ++i) {
    for (std::size_t write : program.steps[i].writes) early[write] = true;
  }
  for (std::size_t at = peak + 1; at < best.runs().size(); ++at) {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t copy : best.runs()[at].reads) {
        if (!dropped(best, copy) || !early[copy]) continue;
        Timeline trial = best;
        const std::size_t runs = best.runs().size();
        if (!trial.run_again(copy, at, [&](std::size_t read, std::size_t, int) {
              return dropped(trial, read) && early[read];
            })) {
          early[copy] = false;  // it is kept
          continue;
        }
        at += trial.runs().size() - runs;
        best = std::move(trial);
        changed = true;
        break;
      }
    }
  }
  return best;
}

struct Candidate {
  std::size_t copy = 0;
  std::size_t use = 0;  // the late use
  double estimate = 0;
};

/// What is alive but not used at runs above `bytes`, most promising first.
std::vector<Candidate> candidates(const Timeline& timeline, const Uses& uses,
                                  const std::vector<std::int64_t>& alive, std::int64_t bytes) {
  Numbers above(alive.size() + 1, 0);  // runs before that are above
  for (std::size_t at = 0; at < alive.size(); ++at) above[at + 1] = above[at] + (alive[at] > bytes);
  std::vector<Candidate> found;
  for (std::size_t copy = 0; copy < uses.size(); ++copy) {
    if (timeline.kept(copy) || timeline.buffer(copy).transient) continue;
    for (std::size_t i = 1; i < uses[copy].size(); ++i) {
      const std::size_t runs = above[uses[copy][i]] - above[uses[copy][i - 1] + 1];
      if (runs == 0) continue;
      found.push_back({copy, uses[copy][i],
                       static_cast<double>(timeline.bytes(copy)) * static_cast<double>(runs)});
    }
  }
  std::ranges::stable_sort(found, std::ranges::greater{}, &Candidate::estimate);
  return found;
}

/// The run that takes most off for its time; empty when none takes anything off.
std::optional<Timeline> best_run(const Timeline& timeline, std::int64_t bytes) {
  const Uses uses = timeline.uses();
  const std::vector<std::int64_t> alive = timeline.alive(uses);
  const double before = excess(alive, bytes);
  std::optional<Timeline> best;
  double best_rate = 0;
  std::size_t tried = 0;
  for (const Candidate& candidate : candidates(timeline, uses, alive, bytes)) {
    if (tried++ >= kFirstTried && best) break;
    std::size_t runs = 0;
    for (int depth : kDepths) {
      Timeline trial = timeline;
      const bool possible = trial.run_again(candidate.copy, candidate.use,
                                            [&](std::size_t read, std::size_t at, int reached) {
                                              return reached < depth && !trial.used_from(read, at);
                                            });
      if (!possible || trial.runs().size() == runs) break;  // deeper changes nothing
      runs = trial.runs().size();
      const double freed = before - excess(trial.alive(trial.uses()), bytes);
      const double rate = freed / static_cast<double>(trial.cost() - timeline.cost() + 1);
      if (freed > 0 && rate > best_rate) {
        best_rate = rate;
        best = std::move(trial);
      }
    }
  }
  return best;
}

std::int64_t greatest_alive(const Timeline& timeline) {
  const std::vector<std::int64_t> alive = timeline.alive(timeline.uses());
  return alive.empty() ? 0 : *std::ranges::max_element(alive);
}

std::vector<StepInstance> instances(const Timeline& timeline) {
  std::vector<StepInstance> result;
  for (const Run& run : timeline.runs()) {
    StepInstance& instance = result.emplace_back(StepInstance{run.step, {}});
    for (const Numbers* list : {&run.reads, &run.writes}) {
      for (std::size_t copy : *list) {
        const Copy& used = timeline.copies()[copy];
        if (used.number != 0) instance.copies[used.buffer] = used.number;
      }
    }
  }
  return result;
}

}  // namespace

std::vector<StepInstance> rematerialise(const MemoryProgram& program, std::int64_t bytes) {
  Timeline best(program);
  if (greatest_alive(best) <= bytes) return instances(best);
  Timeline cut = cut_at_peak(program);
  if (greatest_alive(cut) < greatest_alive(best)) best = std::move(cut);
  Timeline current = best;
  while (greatest_alive(current) > bytes) {
    std::optional<Timeline> next = best_run(current, bytes);
    if (!next) break;
    current = std::move(*next);
    if (greatest_alive(current) < greatest_alive(best)) best = current;
  }
  return instances(best);
}

}  // namespace gradus::passes
