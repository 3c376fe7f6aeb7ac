#include "codegen/kernel_index.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace gradus::codegen {
namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return -floor_div(-a, b); }

IndexBounds intersection(const IndexBounds& a, const IndexBounds& b) {
  return {std::max(a.least, b.least), std::min(a.greatest, b.greatest)};
}

/// index - guard where both have the same terms and divisor and differ by a whole number.
std::optional<std::int64_t> distance(const Affine& index, const Affine& guard) {
  if (index.terms != guard.terms || index.divisor != guard.divisor) return std::nullopt;
  const std::int64_t difference = index.offset - guard.offset;
  if (difference % index.divisor != 0) return std::nullopt;
  return difference / index.divisor;
}

/// How many times the guard is in the index, by its first term.
std::int64_t times_in(const Affine& index, const Affine& guard) {
  if (guard.terms.empty()) return 1;
  const Term& first = guard.terms.front();
  const auto same = std::ranges::find(index.terms, first.axis, &Term::axis);
  const bool whole = same != index.terms.end() && same->coefficient % first.coefficient == 0;
  return whole ? same->coefficient / first.coefficient : 1;
}

/// index - times * guard, both of divisor 1.
Affine difference(const Affine& index, const Affine& guard, std::int64_t times) {
  Affine result = index;
  result.offset -= times * guard.offset;
  for (const Term& term : guard.terms) {
    const auto same = std::ranges::find(result.terms, term.axis, &Term::axis);
    if (same == result.terms.end()) {
      result.terms.push_back({term.axis, -times * term.coefficient});
    } else {
      same->coefficient -= times * term.coefficient;
    }
  }
  return result;
}

/// Narrows the axis of a guard that has only one.
void tighten(std::vector<IndexBounds>& axes, const Guard& guard) {
  if (guard.value.terms.size() != 1) return;
  const Term& term = guard.value.terms.front();
  const std::int64_t low = -guard.value.offset;
  const std::int64_t high = guard.value.divisor * (guard.extent - 1) - guard.value.offset;
  IndexBounds& axis = axes[static_cast<std::size_t>(term.axis)];
  axis = intersection(
      axis, term.coefficient > 0
                ? IndexBounds{ceil_div(low, term.coefficient), floor_div(high, term.coefficient)}
                : IndexBounds{ceil_div(high, term.coefficient), floor_div(low, term.coefficient)});
}

}  // namespace

std::int64_t coefficient_of(const Affine& affine, AxisId axis) {
  for (const Term& term : affine.terms) {
    if (term.axis == axis) return term.coefficient;
  }
  return 0;
}

std::int64_t element_stride(std::span<const Affine> index, const Shape& shape, AxisId axis) {
  const std::vector<std::int64_t> strides = row_major_strides(shape);
  std::int64_t result = 0;
  for (std::size_t d = 0; d < index.size(); ++d) {
    result += coefficient_of(index[d], axis) * strides[d];
  }
  return result;
}

std::vector<IndexBounds> whole_axes(const std::vector<Axis>& axes) {
  std::vector<IndexBounds> bounds;
  for (const Axis& axis : axes) bounds.push_back({0, axis.extent - 1});
  return bounds;
}

IndexBounds bounds_of(const Affine& affine, std::span<const IndexBounds> axes) {
  IndexBounds bounds{affine.offset, affine.offset};
  for (const Term& term : affine.terms) {
    const IndexBounds& axis = axes[static_cast<std::size_t>(term.axis)];
    if (axis.empty()) return {};
    const auto [low, high] =
        std::minmax({term.coefficient * axis.least, term.coefficient * axis.greatest});
    bounds.least += low;
    bounds.greatest += high;
  }
  return {ceil_div(bounds.least, affine.divisor), floor_div(bounds.greatest, affine.divisor)};
}

std::vector<IndexBounds> bounds_of(const Access& access, std::span<const Guard> guards,
                                   std::span<const IndexBounds> axes) {
  std::vector<IndexBounds> narrow(axes.begin(), axes.end());
  for (const Guard& guard : guards) tighten(narrow, guard);
  bool never = false;
  for (const Guard& guard : guards) {
    never |= bounds_of(guard.value, narrow).disjoint({0, guard.extent - 1});
    never |= std::any_of(guard.value.terms.begin(), guard.value.terms.end(), [&](const Term& term) {
      return narrow[static_cast<std::size_t>(term.axis)].empty();
    });
  }
  std::vector<IndexBounds> bounds;
  for (const Affine& index : access.index) {
    if (is_picked(access, bounds.size())) {
      bounds.push_back(kAnyPosition);
      continue;
    }
    bounds.push_back(bounds_of(index, narrow));
    for (const Guard& guard : guards) {
      if (const auto by = distance(index, guard.value)) {
        bounds.back() = intersection(bounds.back(), {*by, *by + guard.extent - 1});
      } else if (index.divisor == 1 && guard.value.divisor == 1) {
        // What the guard limits may be a part of the index: a channel of a flattened image, or a
        // column of every other one.
        const std::int64_t times = times_in(index, guard.value);
        const IndexBounds rest = bounds_of(difference(index, guard.value, times), narrow);
        if (rest.empty()) continue;
        const std::int64_t reach = times * (guard.extent - 1);
        bounds.back() =
            intersection(bounds.back(), {rest.least + std::min<std::int64_t>(reach, 0),
                                         rest.greatest + std::max<std::int64_t>(reach, 0)});
      }
    }
    never |= bounds.back().empty();
  }
  if (never) std::fill(bounds.begin(), bounds.end(), IndexBounds{});
  return bounds;
}

bool divides(const Affine& affine, std::span<const Guard> guards) {
  const auto whole = [&](std::int64_t value) { return value % affine.divisor == 0; };
  return (whole(affine.offset) &&
          std::all_of(affine.terms.begin(), affine.terms.end(),
                      [&](const Term& term) { return whole(term.coefficient); })) ||
         std::any_of(guards.begin(), guards.end(),
                     [&](const Guard& guard) { return distance(affine, guard.value).has_value(); });
}

std::vector<bool> determined_axes(const Access& access, const std::vector<Axis>& axes) {
  std::vector<bool> determined(axes.size());
  for (std::size_t a = 0; a < axes.size(); ++a) determined[a] = axes[a].extent <= 1;
  for (bool changed = true; changed;) {
    changed = false;
    for (const Affine& index : access.index) {
      std::vector<Term> open;  // terms of axes that are not yet determined
      for (const Term& term : index.terms) {
        if (!determined[static_cast<std::size_t>(term.axis)]) open.push_back(term);
      }
      std::sort(open.begin(), open.end(), [](const Term& a, const Term& b) {
        return std::abs(a.coefficient) < std::abs(b.coefficient);
      });
      std::int64_t reach = 0;  // of all open terms
      const auto move = [&](const Term& term) {
        return std::abs(term.coefficient) * (axes[static_cast<std::size_t>(term.axis)].extent - 1);
      };
      for (const Term& term : open) reach += move(term);
      while (!open.empty()) {
        reach -= move(open.back());
        if (std::abs(open.back().coefficient) <= reach) break;
        determined[static_cast<std::size_t>(open.back().axis)] = true;
        changed = true;
        open.pop_back();
      }
    }
  }
  return determined;
}

}  // namespace gradus::codegen
