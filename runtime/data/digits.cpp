// A digit is a few strokes (polylines and arcs in the unit square, y downwards) bent and mapped
// onto the image by a random quadratic warp and a random affine map. Ink falls off over one pixel
// at the distance of the pen's half width from the nearest stroke; then comes noise per pixel.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kSide = 28;
constexpr std::int64_t kPixels = kSide * kSide;
constexpr double kGlyphHeight = 20;  // pixels of the unit square before scaling
constexpr int kArcSegmentsPerTurn = 20;

struct Point {
  double x = 0;
  double y = 0;
};
using Stroke = std::vector<Point>;
using Glyph = std::vector<Stroke>;

/// Appends an elliptic arc; turns grow clockwise from the right.
void append_arc(Stroke& stroke, Point centre, Point radius, double from, double to) {
  const int segments = std::max(1, static_cast<int>(std::abs(to - from) * kArcSegmentsPerTurn));
  for (int i = 0; i <= segments; ++i) {
    const Rotation direction = rotation(from + (to - from) * i / segments);
    stroke.push_back(
        {centre.x + radius.x * direction.cosine, centre.y + radius.y * direction.sine});
  }
}

Stroke arc(Point centre, Point radius, double from, double to) {
  Stroke stroke;
  append_arc(stroke, centre, radius, from, to);
  return stroke;
}

std::array<Glyph, 10> draw_glyphs() {
  Stroke two = arc({0.5, 0.3}, {0.28, 0.25}, 0.5, 1.1);
  two.insert(two.end(), {{0.2, 0.95}, {0.82, 0.95}});
  Stroke three = arc({0.46, 0.28}, {0.28, 0.23}, 0.58, 1.25);
  append_arc(three, {0.46, 0.73}, {0.32, 0.22}, -0.25, 0.42);
  Stroke five = {{0.76, 0.05}, {0.3, 0.05}, {0.26, 0.45}};
  append_arc(five, {0.47, 0.67}, {0.3, 0.28}, 0.65, 1.42);
  Stroke six = arc({0.75, 0.68}, {0.53, 0.62}, 0.72, 0.5);
  append_arc(six, {0.5, 0.69}, {0.28, 0.26}, 0.5, -0.5);
  Stroke nine = arc({0.49, 0.31}, {0.28, 0.26}, 1.0, 0.0);
  nine.insert(nine.end(), {{0.76, 0.55}, {0.66, 0.95}});
  return {Glyph{arc({0.5, 0.5}, {0.3, 0.45}, 0, 1)},
          Glyph{{{0.34, 0.24}, {0.53, 0.05}, {0.53, 0.95}}},
          Glyph{two},
          Glyph{three},
          Glyph{{{0.62, 0.05}, {0.16, 0.66}, {0.86, 0.66}}, {{0.65, 0.4}, {0.65, 0.95}}},
          Glyph{five},
          Glyph{six},
          Glyph{{{0.18, 0.06}, {0.82, 0.06}, {0.42, 0.95}}},
          Glyph{arc({0.5, 0.28}, {0.24, 0.23}, 0, 1), arc({0.5, 0.73}, {0.29, 0.22}, 0, 1)},
          Glyph{nine}};
}

/// How one example places the unit square on the image.
class Hand {
 public:
  explicit Hand(RandomStream& random) {
    const Rotation turn = rotation(random.uniform(-0.055, 0.055));
    const double height = kGlyphHeight * random.uniform(0.75, 1.1);
    const double width = height * random.uniform(0.65, 0.95);
    const double shear = random.uniform(-0.25, 0.25);
    xx_ = turn.cosine * width;
    xy_ = (turn.cosine * shear - turn.sine) * height;
    yx_ = turn.sine * width;
    yy_ = (turn.sine * shear + turn.cosine) * height;
    shift_ = {kSide / 2.0 + random.uniform(-3, 3), kSide / 2.0 + random.uniform(-3, 3)};
    for (double& bend : bends_) bend = random.uniform(-0.25, 0.25);
  }

  [[nodiscard]] Point place(Point point) const {
    const double u = point.x - 0.5;
    const double v = point.y - 0.5;
    const double x = u + bends_[0] * v * v + bends_[1] * u * v;
    const double y = v + bends_[2] * u * u + bends_[3] * u * v;
    return {shift_.x + xx_ * x + xy_ * y, shift_.y + yx_ * x + yy_ * y};
  }

 private:
  double xx_ = 0;
  double xy_ = 0;
  double yx_ = 0;
  double yy_ = 0;
  Point shift_;
  std::array<double, 4> bends_{};
};

/// Squared distance of each pixel's centre to the nearest stroke, where it is below `reach`².
class DistanceField {
 public:
  explicit DistanceField(double reach) : reach_(reach) { squares_.fill(reach * reach); }

  void add_segment(Point a, Point b) {
    const Point d{b.x - a.x, b.y - a.y};
    const double length = d.x * d.x + d.y * d.y;
    const double inverse = length > 0 ? 1 / length : 0;
    const auto [left, right] = pixels(std::min(a.x, b.x), std::max(a.x, b.x));
    const auto [top, bottom] = pixels(std::min(a.y, b.y), std::max(a.y, b.y));
    for (int row = top; row < bottom; ++row) {
      for (int column = left; column < right; ++column) {
        const double x = column + 0.5 - a.x;
        const double y = row + 0.5 - a.y;
        const double along = std::clamp((x * d.x + y * d.y) * inverse, 0.0, 1.0);
        const double ex = x - along * d.x;
        const double ey = y - along * d.y;
        double& square = squares_[static_cast<std::size_t>(row * kSide + column)];
        square = std::min(square, ex * ex + ey * ey);
      }
    }
  }

  [[nodiscard]] double distance(std::size_t pixel) const { return std::sqrt(squares_[pixel]); }

 private:
  /// The pixels that may be within reach of [low, high].
  [[nodiscard]] std::pair<int, int> pixels(double low, double high) const {
    const auto clip = [](double x) {
      return static_cast<int>(std::clamp(x, 0.0, static_cast<double>(kSide)));
    };
    return {clip(low - reach_), clip(high + reach_ + 1)};
  }

  double reach_;
  std::array<double, kPixels> squares_;
};

void draw(const Glyph& glyph, RandomStream& random, std::uint8_t* image) {
  const Hand hand(random);
  const double half_width = random.uniform(0.6, 1.5);
  const double ink = random.uniform(150, 255);
  DistanceField field(half_width + 0.5);
  for (const Stroke& stroke : glyph) {
    Point before = hand.place(stroke.front());
    for (std::size_t i = 1; i < stroke.size(); ++i) {
      const Point next = hand.place(stroke[i]);
      field.add_segment(before, next);
      before = next;
    }
  }
  for (std::size_t pixel = 0; pixel < kPixels; pixel += 4) {
    const std::uint32_t noise = random.next();  // a byte per pixel
    for (std::size_t j = 0; j < 4; ++j) {
      const double cover = std::clamp(half_width + 0.5 - field.distance(pixel + j), 0.0, 1.0);
      const int grain = static_cast<int>((noise >> (8 * j)) & 0xFF) % 81 - 40;
      const int value = static_cast<int>(cover * ink) + grain;
      image[pixel + j] = static_cast<std::uint8_t>(std::clamp(value, 0, 255));
    }
  }
}

Dataset make(const DigitsData& parameters, std::int64_t examples, const char* purpose) {
  const std::array<Glyph, 10> glyphs = draw_glyphs();
  Tensor images = allocate_tensor({ElementType::u8, {examples, kSide, kSide}}, "digits data");
  Tensor labels = allocate_tensor({ElementType::i32, {examples}}, "digits data");
  for (std::int64_t i = 0; i < examples; ++i) {
    const auto digit = static_cast<std::size_t>(i % 10);
    RandomStream random(parameters.seed, purpose, static_cast<std::uint64_t>(i));
    draw(glyphs[digit], random, images.as<std::uint8_t>().data() + i * kPixels);
    labels.as<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(digit);
  }
  return {"data source 'digits'", {{"image", std::move(images)}, {"label", std::move(labels)}}};
}

}  // namespace

DataSplits make_digits(const DigitsData& parameters) {
  check_data_parameter("digits", "examples", static_cast<double>(parameters.examples), 1, 1e7);
  check_data_parameter("digits", "test_examples", static_cast<double>(parameters.test_examples), 0,
                       1e7);
  return {make(parameters, parameters.examples, "digits train"),
          make(parameters, parameters.test_examples, "digits test")};
}

}  // namespace gradus::runtime
