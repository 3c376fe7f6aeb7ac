#include "runtime/random_stream.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/philox.h"

namespace gradus::runtime {

RandomStream::RandomStream(std::uint64_t seed, std::string_view purpose, std::uint64_t index) {
  const std::uint64_t key = hash_combine(hash_bytes(purpose.data(), purpose.size()), seed);
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
  counter_ = {0, 0, static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32)};
}

std::uint32_t RandomStream::next() {
  if (used_ == words_.size()) {
    words_ = philox4x32(counter_, key_);
    if (++counter_[0] == 0) ++counter_[1];
    used_ = 0;
  }
  return words_[used_++];
}

double RandomStream::uniform() { return next() * 0x1p-32; }

double RandomStream::uniform(double low, double high) { return low + (high - low) * uniform(); }

std::uint32_t RandomStream::below(std::uint32_t bound) {
  GRADUS_CHECK(bound > 0, "no number is below 0");
  const std::uint32_t rejected = (0u - bound) % bound;  // 2^32 mod bound
  std::uint64_t product = 0;
  do {
    product = std::uint64_t{next()} * bound;
  } while (static_cast<std::uint32_t>(product) < rejected);
  return static_cast<std::uint32_t>(product >> 32);
}

double RandomStream::normal() {
  double sum = 0;
  for (int i = 0; i < 12; ++i) sum += uniform();
  return sum - 6;
}

Rotation rotation(double turns) {
  const double quarters = turns * 4;
  const auto nearest = static_cast<std::int64_t>(quarters + (quarters < 0 ? -0.5 : 0.5));
  const double x = (quarters - static_cast<double>(nearest)) * 1.5707963267948966;
  const double square = x * x;  // |x| <= pi / 4; Taylor series of sine and cosine
  double sine = 1;
  for (int n = 14; n >= 2; n -= 2) sine = 1 - sine * square / (n * (n + 1));
  sine *= x;
  double cosine = 1;
  for (int n = 15; n >= 1; n -= 2) cosine = 1 - cosine * square / (n * (n + 1));
  switch (nearest & 3) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

}  // namespace gradus::runtime
