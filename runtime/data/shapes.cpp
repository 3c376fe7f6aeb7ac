// A drawing is a disc, a triangle or a square of its own place, size and turn. Its signed distance
// at a pixel's centre, negative inside, says how much of the pixel is covered: filled, by all that
// is inside, bright on dark; outlined, by a line along the border, dark on bright.

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/data/source.h"
#include "runtime/memory.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

constexpr std::int64_t kSide = 28;
constexpr std::int64_t kPixels = kSide * kSide;
constexpr double kHalfLine = 0.75;  // of an outline, in pixels
constexpr double kLeast = 5;        // distance of a corner, or of a disc's border, from the centre
constexpr double kGreatest = 9;

class Shape2d {
 public:
  explicit Shape2d(RandomStream& random) {
    const std::uint32_t sides = random.below(3) + 2;  // 2: a disc
    const double radius = random.uniform(kLeast, kGreatest);
    const double room = kSide / 2.0 - radius - 1;
    x_ = kSide / 2.0 + random.uniform(-room, room);
    y_ = kSide / 2.0 + random.uniform(-room, room);
    const double turn = random.uniform();
    border_ = radius;
    if (sides == 2) return;
    border_ = radius * rotation(0.5 / sides).cosine;
    for (std::uint32_t side = 0; side < sides; ++side) {
      normals_.push_back(rotation(turn + static_cast<double>(side) / sides));
    }
  }

  /// Of a point from the border; beyond a corner, from its sides' lines.
  [[nodiscard]] double distance(double x, double y) const {
    const double dx = x - x_;
    const double dy = y - y_;
    if (normals_.empty()) return std::sqrt(dx * dx + dy * dy) - border_;
    double greatest = -kSide;
    for (const Rotation& normal : normals_) {
      greatest = std::max(greatest, dx * normal.cosine + dy * normal.sine);
    }
    return greatest - border_;
  }

 private:
  double x_ = 0;
  double y_ = 0;
  double border_ = 0;  // from the centre
  std::vector<Rotation> normals_;
};

std::uint8_t brightness(double share) { return static_cast<std::uint8_t>(share * 255 + 0.5); }

enum class Look : std::uint8_t { filled, outlined };

void draw(const Shape2d& shape, Look look, std::uint8_t* image) {
  for (std::int64_t pixel = 0; pixel < kPixels; ++pixel) {
    const double distance = shape.distance(static_cast<double>(pixel % kSide) + 0.5,
                                           static_cast<double>(pixel / kSide) + 0.5);
    const auto covered = [](double inside) { return std::clamp(inside + 0.5, 0.0, 1.0); };
    image[pixel] = look == Look::filled ? brightness(covered(-distance))
                                        : brightness(1 - covered(kHalfLine - std::abs(distance)));
  }
}

/// Drawings of the shapes of `purpose`.
Tensor draw_all(const ShapesData& parameters, std::int64_t examples, const char* purpose,
                Look look) {
  Tensor images = allocate_tensor({ElementType::u8, {examples, kSide, kSide}}, "shapes data");
  for (std::int64_t i = 0; i < examples; ++i) {
    RandomStream random(parameters.seed, purpose, static_cast<std::uint64_t>(i));
    draw(Shape2d(random), look, images.as<std::uint8_t>().data() + i * kPixels);
  }
  return images;
}

Dataset make(const ShapesData& parameters, std::int64_t examples, const char* filled,
             const char* outlined) {
  return {"data source 'shapes'",
          {{"filled", draw_all(parameters, examples, filled, Look::filled)},
           {"outlined", draw_all(parameters, examples, outlined, Look::outlined)}}};
}

}  // namespace

DataSplits make_shapes(const ShapesData& parameters) {
  check_data_parameter("shapes", "examples", static_cast<double>(parameters.examples), 1, 1e7);
  check_data_parameter("shapes", "test_examples", static_cast<double>(parameters.test_examples), 0,
                       1e7);
  return {make(parameters, parameters.examples, "shapes filled", "shapes outlined"),
          make(parameters, parameters.test_examples, "shapes test", "shapes test")};
}

}  // namespace gradus::runtime
