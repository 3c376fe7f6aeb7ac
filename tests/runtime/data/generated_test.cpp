// The generated data sources: what they promise, and that they are the same bits everywhere.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "../scratch_folder.h"
#include "base/hash.h"
#include "runtime/data/source.h"
#include "runtime/random_stream.h"

namespace gradus::runtime {
namespace {

using testing::expect_error;

std::uint64_t digest(const DataSplits& data) {
  std::uint64_t hash = 0;
  for (const Dataset* dataset : {&data.train, &data.test}) {
    for (const DataArray& array : dataset->arrays) {
      const auto& bytes = array.tensor.bytes;
      hash = hash_combine(hash, hash_bytes(bytes.data(), bytes.size()));
    }
  }
  return hash;
}

TEST(RandomStream, UniformNumbersHaveTheirMoments) {
  RandomStream random(1, "test", 0);
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.uniform();
    EXPECT_GE(x, 0);
    EXPECT_LT(x, 1);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.005);
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 0.005);
}

TEST(RandomStream, NormalNumbersHaveTheirMoments) {
  RandomStream random(1, "test", 0);
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.03);
}

TEST(RandomStream, PurposeSeedAndIndexMakeOtherNumbers) {
  const auto first = [](std::uint64_t seed, const char* purpose, std::uint64_t index) {
    return RandomStream(seed, purpose, index).next();
  };
  EXPECT_EQ(first(1, "a", 0), first(1, "a", 0));
  EXPECT_NE(first(1, "a", 0), first(2, "a", 0));
  EXPECT_NE(first(1, "a", 0), first(1, "b", 0));
  EXPECT_NE(first(1, "a", 0), first(1, "a", 1));
  EXPECT_NE(first(1, "a", 0), first(1, "a", std::uint64_t{1} << 32));
}

TEST(RandomStream, BelowStaysBelow) {
  RandomStream random(1, "test", 0);
  int counts[7] = {};
  for (int i = 0; i < 7000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.below(1), 0u);
}

TEST(Rotation, IsSineAndCosine) {
  for (double turns = -3; turns <= 3; turns += 0.0137) {
    const Rotation r = rotation(turns);
    EXPECT_NEAR(r.cosine, std::cos(turns * 2 * std::numbers::pi), 1e-11);
    EXPECT_NEAR(r.sine, std::sin(turns * 2 * std::numbers::pi), 1e-11);
  }
}

TEST(LinearData, LeastSquaresFindsTheLine) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const DataSplits data = make_linear({.seed = seed});
    EXPECT_EQ(data.train.examples(), 2000);
    EXPECT_EQ(data.test.examples(), 500);
    const auto x = data.train.find("x")->tensor.as<float>();
    const auto y = data.train.find("y")->tensor.as<float>();
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto xi = static_cast<double>(x[i]);
      const auto yi = static_cast<double>(y[i]);
      EXPECT_LE(std::abs(xi), 1);
      sx += xi;
      sy += yi;
      sxx += xi * xi;
      sxy += xi * yi;
    }
    const auto n = static_cast<double>(x.size());
    const double slope = (n * sxy - sx * sy) / (n * sxx - sx * sx);
    EXPECT_NEAR(slope, 2, 0.02);
    EXPECT_NEAR((sy - slope * sx) / n, 1, 0.02);
    // 300 steps of gradient descent at rate 0.1 come as close: the slowest factor to the 300th.
    const double curvature = 2 * sxx / n;
    EXPECT_LT(std::pow(1 - 0.1 * curvature, 300), 1e-6);
  }
}

TEST(LinearData, WithoutNoiseIsExact) {
  const DataSplits data = make_linear({.slope = 3, .intercept = -1, .noise = 0, .examples = 5});
  for (std::size_t i = 0; i < 5; ++i) {
    const float x = data.train.find("x")->tensor.as<float>()[i];
    EXPECT_EQ(data.train.find("y")->tensor.as<float>()[i],
              static_cast<float>(3 * static_cast<double>(x) - 1));
  }
}

TEST(RingData, PointsLieAroundTheirModes) {
  const Dataset data =
      load_data(RingData{.modes = 5, .radius = 3, .deviation = 0.01, .examples = 1000}).train;
  const auto points = data.find("point")->tensor.as<float>();
  const auto modes = data.find("mode")->tensor.as<std::int32_t>();
  double squares = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(modes[i], static_cast<std::int32_t>(i % 5));
    const double angle = 2 * std::acos(-1.0) * modes[i] / 5;
    const double x = points[2 * i] - 3 * std::cos(angle);
    const double y = points[2 * i + 1] - 3 * std::sin(angle);
    ASSERT_LT(std::hypot(x, y), 0.01 * 6 * std::sqrt(2.0) + 1e-6);
    squares += x * x + y * y;
  }
  EXPECT_NEAR(std::sqrt(squares / 2000), 0.01, 0.0005);
}

TEST(SpiralsData, PointsLieOnTheirArms) {
  const DataSplits data =
      make_spirals({.classes = 3, .turns = 2, .noise = 0, .examples = 300, .test_examples = 30});
  const auto points = data.train.find("point")->tensor.as<float>();
  const auto labels = data.train.find("label")->tensor.as<std::int32_t>();
  for (std::size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(labels[i], static_cast<int>(i % 3));
    const auto px = static_cast<double>(points[2 * i]);
    const auto py = static_cast<double>(points[2 * i + 1]);
    const double radius = std::hypot(px, py);
    const double angle = 2 * std::numbers::pi * (2 * radius + labels[i] / 3.0);
    EXPECT_NEAR(px, radius * std::cos(angle), 1e-5);
    EXPECT_NEAR(py, radius * std::sin(angle), 1e-5);
  }
  EXPECT_EQ(data.test.examples(), 30);
}

TEST(AddingData, SumsOneNumberOfEachHalf) {
  const DataSplits data = make_adding({.length = 9, .examples = 200, .test_examples = 20});
  EXPECT_EQ(data.train.find("sequence")->tensor.type, (TensorType{ElementType::f32, {200, 9, 2}}));
  const auto sequences = data.train.find("sequence")->tensor.as<float>();
  const auto sums = data.train.find("sum")->tensor.as<float>();
  std::set<std::size_t> marked;
  for (std::size_t i = 0; i < 200; ++i) {
    float sum = 0;
    std::size_t marks[2] = {0, 0};
    for (std::size_t t = 0; t < 9; ++t) {
      const float number = sequences[(i * 9 + t) * 2], mark = sequences[(i * 9 + t) * 2 + 1];
      EXPECT_TRUE(number >= 0 && number < 1 && (mark == 0 || mark == 1));
      sum += number * mark;
      if (mark == 1) {
        ++marks[t < 4 ? 0 : 1];
        marked.insert(t);
      }
    }
    EXPECT_EQ(marks[0], 1u);
    EXPECT_EQ(marks[1], 1u);
    EXPECT_EQ(sums[i], sum);
  }
  EXPECT_EQ(marked.size(), 9u);
  EXPECT_EQ(data.test.examples(), 20);
}

TEST(DigitsData, EveryDigitIsDrawnInsideItsImage) {
  const DataSplits data = make_digits({.examples = 500, .test_examples = 100});
  EXPECT_EQ(data.train.find("image")->tensor.type, (TensorType{ElementType::u8, {500, 28, 28}}));
  const auto images = data.train.find("image")->tensor.as<std::uint8_t>();
  const auto labels = data.train.find("label")->tensor.as<std::int32_t>();
  for (std::size_t i = 0; i < 500; ++i) {
    EXPECT_EQ(labels[i], static_cast<int>(i % 10));
    int ink = 0;  // pixels brighter than the noise
    for (std::size_t pixel = 0; pixel < 784; ++pixel) ink += images[i * 784 + pixel] > 60;
    EXPECT_GT(ink, 15) << "image " << i;
    EXPECT_LT(ink, 350) << "image " << i;
  }
}

/// The line is dark where the fill passes from dark to bright, and nowhere else.
TEST(ShapesData, TheTestShowsEveryShapeInBothDomains) {
  const DataSplits data = load_data(ShapesData{.examples = 1, .test_examples = 300});
  EXPECT_EQ(data.test.find("filled")->tensor.type, (TensorType{ElementType::u8, {300, 28, 28}}));
  EXPECT_EQ(data.test.find("outlined")->tensor.type, (TensorType{ElementType::u8, {300, 28, 28}}));
  const auto filled = data.test.find("filled")->tensor.as<std::uint8_t>();
  const auto outlined = data.test.find("outlined")->tensor.as<std::uint8_t>();
  for (std::size_t i = 0; i < 300; ++i) {
    const auto at = [&](std::size_t row, std::size_t column) {
      return i * 784 + row * 28 + column;
    };
    int ink = 0;
    int line = 0;
    for (std::size_t row = 0; row < 28; ++row) {
      for (std::size_t column = 0; column < 28; ++column) {
        const std::size_t pixel = at(row, column);
        ink += filled[pixel] > 127;
        line += outlined[pixel] < 127;
        const bool border = row == 0 || column == 0 || row == 27 || column == 27;
        if (border) {
          ASSERT_EQ(filled[pixel], 0) << "image " << i;
        }
        // The border runs through the pixel: it lies in the middle of the line.
        if (filled[pixel] > 0 && filled[pixel] < 255) {
          ASSERT_LT(outlined[pixel], 65);
        }
        if (outlined[pixel] == 255) continue;
        bool near = false;
        for (std::size_t r = std::max<std::size_t>(row, 2) - 2;
             r < std::min<std::size_t>(row + 3, 28); ++r) {
          for (std::size_t c = std::max<std::size_t>(column, 2) - 2;
               c < std::min<std::size_t>(column + 3, 28); ++c) {
            near = near || (filled[at(r, c)] > 0 && filled[at(r, c)] < 255);
          }
        }
        ASSERT_TRUE(near) << "image " << i;
      }
    }
    // From a triangle of 5 pixels from centre to corner to a disc of radius 9.
    EXPECT_TRUE(ink > 25 && ink < 260) << "image " << i << ": " << ink;
    EXPECT_TRUE(line > 25 && line < 130 && line > 1.5 * std::sqrt(ink)) << "image " << i;
  }
}

TEST(ShapesData, TheDomainsOfTheTrainingAreNotPaired) {
  const DataSplits data = load_data(ShapesData{.examples = 200, .test_examples = 200});
  // How often the middle of one drawing agrees with that of its partner.
  const auto agreement = [](const Dataset& split) {
    const auto filled = split.find("filled")->tensor.as<std::uint8_t>();
    const auto outlined = split.find("outlined")->tensor.as<std::uint8_t>();
    std::size_t lines = 0;
    std::size_t both = 0;
    for (std::size_t pixel = 0; pixel < 200 * 784; ++pixel) {
      if (outlined[pixel] > 60) continue;
      ++lines;
      both += filled[pixel] > 0 && filled[pixel] < 255;
    }
    return static_cast<double>(both) / static_cast<double>(lines);
  };
  EXPECT_GT(agreement(data.test), 0.8);
  EXPECT_LT(agreement(data.train), 0.3);
  const DataSplits fewer = load_data(ShapesData{.examples = 100, .test_examples = 0});
  const auto all = data.train.find("outlined")->tensor.as<std::uint8_t>();
  const auto some = fewer.train.find("outlined")->tensor.as<std::uint8_t>();
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
}

TEST(DigitsData, ExamplesDoNotDependOnHowManyThereAre) {
  const DataSplits few = make_digits({.examples = 10, .test_examples = 10});
  const DataSplits many = make_digits({.examples = 30, .test_examples = 10});
  const auto a = few.train.find("image")->tensor.as<std::uint8_t>();
  const auto b = many.train.find("image")->tensor.as<std::uint8_t>();
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin()));
  EXPECT_FALSE(
      std::equal(a.begin(), a.end(), few.test.find("image")->tensor.as<std::uint8_t>().begin()));
}

TEST(GeneratedData, SameBitsOnEveryMachine) {
  EXPECT_EQ(digest(load_data(LinearData{})), 5194783352652505666u);
  EXPECT_EQ(digest(load_data(SpiralsData{})), 9339377432141256416u);
  EXPECT_EQ(digest(load_data(DigitsData{.examples = 200, .test_examples = 50})),
            11484652619551823595u);
  EXPECT_EQ(digest(load_data(ShapesData{.examples = 200, .test_examples = 50})),
            6974342707861876914u);
  EXPECT_NE(digest(load_data(LinearData{.seed = 1})), digest(load_data(LinearData{.seed = 2})));
  EXPECT_NE(digest(load_data(SpiralsData{.seed = 1})), digest(load_data(SpiralsData{.seed = 2})));
  EXPECT_NE(digest(load_data(ShapesData{.examples = 10, .seed = 1})),
            digest(load_data(ShapesData{.examples = 10, .seed = 2})));
  EXPECT_NE(digest(load_data(AddingData{.seed = 1})), digest(load_data(AddingData{.seed = 2})));
  EXPECT_NE(digest(load_data(DigitsData{.examples = 10, .seed = 1})),
            digest(load_data(DigitsData{.examples = 10, .seed = 2})));
}

TEST(GeneratedData, ParametersOutOfRangeAreNamed) {
  const auto refused = [](const DataSource& source, const std::string& text) {
    expect_error([&] { (void)load_data(source); }, "E1007", text, "");
  };
  refused(LinearData{.noise = -1}, "data source 'linear': noise is -1, outside 0 to");
  refused(LinearData{.slope = 0.0 / 0.0}, "slope");
  refused(LinearData{.examples = 0}, "examples is 0");
  refused(LinearData{.test_examples = -1}, "test_examples is -1");
  refused(SpiralsData{.classes = 1}, "classes is 1");
  refused(RingData{.modes = 0}, "modes is 0");
  refused(SpiralsData{.turns = -1}, "turns");
  refused(SpiralsData{.noise = 1e9}, "noise");
  refused(AddingData{.length = 1}, "length is 1");
  refused(ShapesData{.examples = 0}, "examples is 0");
  refused(ShapesData{.test_examples = -1}, "test_examples is -1");
  refused(DigitsData{.examples = 0}, "examples is 0");
  refused(DigitsData{.test_examples = 100000000}, "test_examples");
}

}  // namespace
}  // namespace gradus::runtime
