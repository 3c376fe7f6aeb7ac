// The generated data sources: what they promise, and that they are the same bits everywhere.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
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

using Ints = std::vector<std::int32_t>;

/// Row `i` of an array of whole numbers.
Ints row_of(const Dataset& data, const std::string& name, std::int64_t i) {
  const Tensor& tensor = data.find(name)->tensor;
  const std::int64_t width = element_count(tensor.type.shape) / tensor.type.shape[0];
  const auto all = tensor.as<std::int32_t>();
  return {all.begin() + i * width, all.begin() + (i + 1) * width};
}

TEST(SequencesData, ResultsAreThoseOfTheTask) {
  for (const std::string task : {"copy", "reverse", "sort"}) {
    SCOPED_TRACE(task);
    const DataSplits data = load_data(SequencesData{
        .task = task, .length = 6, .least_length = 2, .vocabulary = 9, .examples = 400});
    EXPECT_EQ(data.test.examples(), 1000);
    EXPECT_EQ(data.train.find("source")->tensor.type, (TensorType{ElementType::i32, {400, 6}}));
    std::set<std::int32_t> tokens;
    std::map<std::size_t, int> lengths;
    for (std::int64_t i = 0; i < 400; ++i) {
      Ints expected = row_of(data.train, "source", i);
      const auto end = std::ranges::find(expected, 0);
      ++lengths[static_cast<std::size_t>(end - expected.begin())];
      EXPECT_TRUE(std::all_of(end, expected.end(), [](int token) { return token == 0; }));
      tokens.insert(expected.begin(), end);
      if (task == "reverse") std::reverse(expected.begin(), end);
      if (task == "sort") std::sort(expected.begin(), end);
      EXPECT_EQ(row_of(data.train, "next", i), expected);
      const auto count = static_cast<std::size_t>(end - expected.begin());
      expected.insert(expected.begin(), 1);
      expected[count] = 0;  // the last one is nobody's predecessor
      expected.resize(6);
      if (count == 6) expected[5] = row_of(data.train, "next", i)[4];
      EXPECT_EQ(row_of(data.train, "target", i), expected);
    }
    EXPECT_EQ(tokens, (std::set<std::int32_t>{2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(lengths.size(), 5u);
    EXPECT_EQ(lengths.begin()->first, 2u);
  }
}

/// Whether pairs of neighbours that belong together can be taken out until nothing is left.
bool vanishes(Ints tokens, std::int32_t kinds) {
  std::erase(tokens, 0);
  for (std::size_t i = 0; i + 1 < tokens.size();) {
    if (tokens[i] <= kinds && tokens[i + 1] == tokens[i] + kinds) {
      tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i),
                   tokens.begin() + static_cast<std::ptrdiff_t>(i) + 2);
      i = i == 0 ? 0 : i - 1;
    } else {
      ++i;
    }
  }
  return tokens.empty();
}

TEST(BracketsData, OnlyBalancedOnesVanishAndCountingDoesNotTell) {
  const Dataset data =
      load_data(BracketsData{.pairs = 7, .least_pairs = 1, .kinds = 3, .examples = 600}).train;
  std::set<std::size_t> lengths;
  for (std::int64_t i = 0; i < 600; ++i) {
    const Ints tokens = row_of(data, "sequence", i);
    ASSERT_EQ(tokens.size(), 14u);
    EXPECT_EQ(row_of(data, "label", i), Ints{static_cast<std::int32_t>(i % 2)});
    EXPECT_EQ(vanishes(tokens, 3), i % 2 == 1) << i;
    for (std::int32_t kind = 1; kind <= 3; ++kind) {
      EXPECT_EQ(std::ranges::count(tokens, kind), std::ranges::count(tokens, kind + 3));
    }
    lengths.insert(static_cast<std::size_t>(std::ranges::find(tokens, 0) - tokens.begin()));
  }
  EXPECT_EQ(lengths, (std::set<std::size_t>{2, 4, 6, 8, 10, 12, 14}));
}

TEST(BracketsData, AllBalancedSequencesAreEquallyLikely) {
  const Dataset data = load_data(BracketsData{.pairs = 4, .kinds = 1, .examples = 28000}).train;
  std::map<Ints, int> counts;
  for (std::int64_t i = 1; i < 28000; i += 2) ++counts[row_of(data, "sequence", i)];
  ASSERT_EQ(counts.size(), 14u);  // the fourth Catalan number
  for (const auto& [tokens, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(SinesData, FollowTheRecurrenceOfTheirFrequencies) {
  // A sine of f turns per step obeys x(t + 1) = 2 cos(2 pi f) x(t) - x(t - 1).
  const double frequency = 0.07;
  const Dataset data = load_data(SinesData{.waves = 1,
                                           .length = 20,
                                           .least_frequency = frequency,
                                           .greatest_frequency = frequency,
                                           .noise = 0,
                                           .examples = 50})
                           .train;
  const auto x = data.find("sequence")->tensor.as<float>();
  const auto next = data.find("next")->tensor.as<float>();
  const double factor = 2 * std::cos(2 * std::numbers::pi * frequency);
  float greatest = 0;
  for (std::size_t i = 0; i < 50; ++i) {
    for (std::size_t t = 1; t < 20; ++t) {
      const std::size_t at = i * 20 + t;
      EXPECT_EQ(x[at], next[at - 1]);
      EXPECT_NEAR(next[at], factor * x[at] - x[at - 1], 1e-6);
      greatest = std::max(greatest, std::abs(x[at]));
    }
  }
  EXPECT_GT(greatest, 1.0f);
  EXPECT_LE(greatest, 1.5f);
}

TEST(SinesData, LabelsCountTheWavesAndNoiseHasItsDeviation) {
  const auto make = [](double noise) {
    return load_data(SinesData{.waves = 4, .noise = noise, .examples = 1}).train;
  };
  double squares = 0;
  const Dataset clean = make(0), noisy = make(0.1);
  for (std::size_t t = 0; t < 64; ++t) {
    const double off = noisy.find("sequence")->tensor.as<float>()[t] -
                       clean.find("sequence")->tensor.as<float>()[t];
    squares += off * off / 64;
  }
  EXPECT_NEAR(std::sqrt(squares), 0.1, 0.03);
  const Dataset many = load_data(SinesData{.waves = 4, .examples = 12}).train;
  for (std::int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(row_of(many, "label", i), Ints{static_cast<std::int32_t>(i % 4)});
  }
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
  EXPECT_EQ(digest(load_data(SequencesData{.task = "sort", .least_length = 3})),
            5559174689410993698u);
  EXPECT_EQ(digest(load_data(BracketsData{.least_pairs = 2})), 8036926410995152570u);
  EXPECT_EQ(digest(load_data(SinesData{.examples = 300})), 7344052131560249123u);
  EXPECT_NE(digest(load_data(SequencesData{.seed = 1})),
            digest(load_data(SequencesData{.seed = 2})));
  EXPECT_NE(digest(load_data(BracketsData{.seed = 1})), digest(load_data(BracketsData{.seed = 2})));
  EXPECT_NE(digest(load_data(SinesData{.seed = 1})), digest(load_data(SinesData{.seed = 2})));
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
  refused(SequencesData{.task = "shift"}, "task is \"shift\", none of");
  refused(SequencesData{.least_length = 11}, "least_length is 11, outside 0 to 10");
  refused(SequencesData{.vocabulary = 2}, "vocabulary is 2");
  refused(BracketsData{.pairs = 0}, "pairs is 0");
  refused(BracketsData{.least_pairs = 17}, "least_pairs is 17");
  refused(BracketsData{.kinds = 0}, "kinds is 0");
  refused(SinesData{.waves = 0}, "waves is 0");
  refused(SinesData{.least_frequency = 0.3}, "greatest_frequency is 0.2, outside 0.3 to 0.5");
  refused(ShapesData{.examples = 0}, "examples is 0");
  refused(ShapesData{.test_examples = -1}, "test_examples is -1");
  refused(DigitsData{.examples = 0}, "examples is 0");
  refused(DigitsData{.test_examples = 100000000}, "test_examples");
}

}  // namespace
}  // namespace gradus::runtime
