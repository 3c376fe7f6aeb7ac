#include "codegen/patch.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "codegen/kernel_index.h"

namespace gradus::codegen {
namespace {

/// A patch is worth its code where its points read at most this share of what they would alone.
constexpr double kMostShare = 0.75;
/// A count that does not divide a range leaves a rest, which is code of its own.
constexpr double kRestCost = 1.2;
constexpr std::int64_t kMostSome = 16;        // positions of an axis of which a patch spans some
constexpr std::int64_t kWithRest[] = {4, 8};  // of them where there is a rest

/// How many positions further on along each span.
using Shift = std::vector<std::int64_t>;

void for_each_point(std::span<const Span> spans, const std::function<void(const Shift&)>& point) {
  Shift shift(spans.size(), 0);
  for (;;) {
    point(shift);
    std::size_t axis = spans.size();
    while (axis > 0 && ++shift[axis - 1] == spans[axis - 1].count) shift[--axis] = 0;
    if (axis == 0) return;
  }
}

/// What shifts add to the offsets of an affine function.
std::int64_t moved(const Affine& affine, std::span<const Span> spans, const Shift& shift) {
  std::int64_t sum = 0;
  for (const Term& term : affine.terms) {
    for (std::size_t i = 0; i < spans.size(); ++i) {
      if (spans[i].axis == term.axis) sum += term.coefficient * shift[i];
    }
  }
  return sum;
}

/// Load number `number` of a point, told from that of any other point that reads something else.
using Key = std::vector<std::int64_t>;
Key key_of(const Loop& loop, std::size_t number, std::span<const Span> spans, const Shift& shift) {
  const Load& load = loop.body.loads[number];
  Key key{static_cast<std::int64_t>(number)};
  for (const Affine& index : load.access.index) key.push_back(moved(index, spans, shift));
  for (const Guard& guard : load.guards) key.push_back(moved(guard.value, spans, shift));
  return key;
}

Load shifted(Load load, std::span<const Span> spans, const Shift& shift) {
  for (Affine& index : load.access.index) index.offset += moved(index, spans, shift);
  for (Guard& guard : load.guards) guard.value.offset += moved(guard.value, spans, shift);
  return load;
}

double loads_per_point(const Loop& loop, std::span<const Span> spans) {
  std::set<Key> distinct;
  std::int64_t points = 0;
  for_each_point(spans, [&](const Shift& shift) {
    ++points;
    for (std::size_t number = 0; number < loop.body.loads.size(); ++number) {
      distinct.insert(key_of(loop, number, spans, shift));
    }
  });
  return static_cast<double>(distinct.size()) / static_cast<double>(points);
}

/// Positions of some axes, one count for each, that a patch could span.
struct Option {
  std::vector<std::int64_t> counts;
  std::int64_t points = 1;
  bool rest = false;
};

std::vector<Option> options(std::span<const PatchAxis> axes, std::int64_t most) {
  Option whole{std::vector<std::int64_t>(axes.size(), 1), 1, false};
  std::vector<Option> result{whole};
  for (std::size_t i = axes.size(); i-- > 0;) {
    const std::int64_t length = axes[i].lengths.back();
    for (std::int64_t some = 2; some <= std::min({length, kMostSome, most / whole.points});
         ++some) {
      Option option = whole;
      option.counts[i] = some;
      option.points *= some;
      option.rest = std::ranges::any_of(axes[i].lengths, [&](auto n) { return n % some != 0; });
      if (option.rest && std::ranges::count(kWithRest, some) == 0) continue;
      result.push_back(option);
    }
    if (!axes[i].whole || whole.points * length > most) break;
    whole.counts[i] = length;
    whole.points *= length;
    if (length > kMostSome) result.push_back(whole);
  }
  return result;
}

void append_spans(std::vector<Span>& spans, std::span<const PatchAxis> axes, const Option& option) {
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (option.counts[i] > 1) spans.push_back({axes[i].axis, option.counts[i]});
  }
}

/// The elements of its buffer that a load of a patch reads, as numbers in memory order: of those at
/// the first position of all other axes.
class Footprint {
 public:
  Footprint(const Kernel& kernel, const Access& access, std::span<const Span> spans) {
    const Buffer& buffer = kernel.buffers[static_cast<std::size_t>(access.buffer)];
    const std::vector<std::int64_t> strides = row_major_strides(buffer.type.shape);
    for (std::size_t d = 0; d < access.index.size(); ++d) {
      first_ += access.index[d].offset * strides[d];
    }
    for (std::size_t axis = 0; axis < kernel.axes.size(); ++axis) {
      strides_.push_back(
          element_stride(access.index, buffer.type.shape, static_cast<AxisId>(axis)));
    }
    for_each_point(spans, [&](const Shift& shift) { places_.push_back(place(spans, shift)); });
    std::ranges::sort(places_);
  }

  [[nodiscard]] std::int64_t away(std::span<const Span> spans, const Shift& shift) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      sum += strides_[static_cast<std::size_t>(spans[i].axis)] * shift[i];
    }
    return sum;
  }
  [[nodiscard]] std::int64_t place(std::span<const Span> spans, const Shift& shift) const {
    return first_ + away(spans, shift);
  }
  [[nodiscard]] bool reads(std::int64_t place) const {
    return std::ranges::binary_search(places_, place);
  }

 private:
  std::int64_t first_ = 0;
  std::vector<std::int64_t> strides_;  // by axis
  std::vector<std::int64_t> places_;   // ascending
};

/// Steps of -1, 0 and 1 along some axes that lead to what comes earlier.
std::vector<Shift> earlier(std::size_t axes) {
  std::vector<Shift> result;
  Shift shift(axes, -1);
  for (;;) {
    const auto first = std::ranges::find_if(shift, [](std::int64_t step) { return step != 0; });
    if (first == shift.end()) return result;
    result.push_back(shift);
    for (std::size_t i = axes; i-- > 0 && ++shift[i] > 1;) shift[i] = -1;
  }
}

}  // namespace

std::optional<PatchShape> choose_patch(const Loop& loop, std::span<const PatchAxis> kept,
                                       std::span<const PatchAxis> reduced,
                                       const PatchLimits& limits) {
  std::optional<PatchShape> best;
  double least = kMostShare * static_cast<double>(loop.body.loads.size());
  for (const Option& sums : options(kept, std::min(limits.sums, limits.points))) {
    if (sums.points == 1) continue;
    for (const Option& terms : options(reduced, limits.points / sums.points)) {
      std::vector<Span> spans;
      append_spans(spans, reduced, terms);
      append_spans(spans, kept, sums);
      const double cost =
          loads_per_point(loop, spans) * (sums.rest || terms.rest ? kRestCost : 1.0);
      if (cost >= least) continue;
      least = cost;
      best = PatchShape{sums.counts, terms.counts};
    }
  }
  return best;
}

PatchBody patch_body(const Loop& loop, const std::vector<Axis>& axes, std::span<const Span> spans) {
  std::vector<IndexBounds> bounds = whole_axes(axes);
  for (const Span& span : spans) {
    bounds[static_cast<std::size_t>(span.axis)].greatest -= span.count - 1;
  }
  PatchBody body;
  std::map<Key, std::int32_t> known;
  std::vector<std::vector<std::int32_t>> operands;
  for_each_point(spans, [&](const Shift& shift) {
    operands.emplace_back();
    for (std::size_t number = 0; number < loop.body.loads.size(); ++number) {
      const auto [entry, added] = known.emplace(key_of(loop, number, spans, shift),
                                                static_cast<std::int32_t>(body.loads.size()));
      operands.back().push_back(entry->second);
      if (!added) continue;
      Load load = shifted(loop.body.loads[number], spans, shift);
      std::erase_if(load.guards, [&](const Guard& guard) {
        return guard.value.divisor == 1 &&
               IndexBounds{0, guard.extent - 1}.contains(bounds_of(guard.value, bounds));
      });
      body.loads.push_back(std::move(load));
    }
  });
  body.program = flatten_rows(loop.body.program, -1, operands);
  return body;
}

std::vector<Access> first_reads(const Kernel& kernel, const Loop& loop, std::span<const Span> spans,
                                std::span<const Span> around) {
  std::vector<Footprint> footprints;
  for (const Load& load : loop.body.loads) footprints.emplace_back(kernel, load.access, spans);
  std::vector<Shift> before = earlier(around.size());
  for (Shift& back : before) {
    for (std::size_t i = 0; i < back.size(); ++i) back[i] *= around[i].count;
  }
  std::vector<Access> result;
  std::set<std::pair<BufferId, std::int64_t>> known;
  for (std::size_t number = 0; number < loop.body.loads.size(); ++number) {
    const Access& access = loop.body.loads[number].access;
    if (std::ranges::any_of(access.index, [](const Affine& i) { return i.divisor != 1; })) continue;
    for_each_point(spans, [&](const Shift& shift) {
      const std::int64_t place = footprints[number].place(spans, shift);
      if (!known.emplace(access.buffer, place).second) return;
      for (std::size_t other = 0; other < footprints.size(); ++other) {
        if (loop.body.loads[other].access.buffer != access.buffer) continue;
        for (const Shift& back : before) {
          if (footprints[other].reads(place - footprints[other].away(around, back))) return;
        }
      }
      Access first = access;
      for (Affine& index : first.index) index.offset += moved(index, spans, shift);
      result.push_back(std::move(first));
    });
  }
  return result;
}

}  // namespace gradus::codegen
