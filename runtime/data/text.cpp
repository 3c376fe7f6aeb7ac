#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/diagnostic.h"
#include "runtime/data/byte_stream.h"
#include "runtime/data/source.h"
#include "runtime/data/utf8.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

using Tokens = std::vector<std::uint32_t>;

std::vector<unsigned char> read_all(const std::string& path) {
  constexpr std::size_t kPiece = 1 << 20;
  ByteStream stream(path);
  std::vector<unsigned char> bytes;
  while (true) {
    const std::size_t before = bytes.size();
    bytes.resize(before + kPiece);
    const std::size_t got = stream.read(std::as_writable_bytes(std::span(bytes).subspan(before)));
    bytes.resize(before + got);
    if (got < kPiece) return bytes;
  }
}

Tokens characters_of(const std::vector<unsigned char>& bytes, const std::string& path) {
  Characters characters = decode_utf8(bytes);
  if (!characters.malformed) return std::move(characters.code_points);
  throw UserError("E1002", fmt::format("byte {}: no character of UTF-8", *characters.malformed),
                  {path}, "\"tokens\": \"bytes\" takes any file");
}

/// Replaces code points by their numbers in the list returned.
std::vector<std::uint32_t> number(Tokens& tokens) {
  std::vector<std::uint32_t> vocabulary(tokens);
  std::ranges::sort(vocabulary);
  vocabulary.erase(std::ranges::unique(vocabulary).begin(), vocabulary.end());
  for (std::uint32_t& token : tokens) {
    token = static_cast<std::uint32_t>(std::ranges::lower_bound(vocabulary, token) -
                                       vocabulary.begin());
  }
  return vocabulary;
}

Dataset windows(std::span<const std::uint32_t> tokens, std::int64_t length, std::int64_t stride,
                const std::string& path) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int64_t examples = count <= length ? 0 : (count - length - 1) / stride + 1;
  Tensor text = allocate_tensor({ElementType::i32, {examples, length}}, "text data");
  Tensor next = allocate_tensor({ElementType::i32, {examples, length}}, "text data");
  for (std::int64_t example = 0; example < examples; ++example) {
    for (std::int64_t i = 0; i < length; ++i) {
      const auto from = static_cast<std::size_t>(example * stride + i);
      const auto to = static_cast<std::size_t>(example * length + i);
      text.as<std::int32_t>()[to] = static_cast<std::int32_t>(tokens[from]);
      next.as<std::int32_t>()[to] = static_cast<std::int32_t>(tokens[from + 1]);
    }
  }
  return {path, {{"text", std::move(text)}, {"next", std::move(next)}}};
}

}  // namespace

DataSplits read_text(const TextData& parameters) {
  const auto check = [](const char* name, double value, double low, double high) {
    check_data_parameter("text", name, value, low, high);
  };
  check("length", static_cast<double>(parameters.length), 1, 1e6);
  check("stride", static_cast<double>(parameters.stride), 0, 1e9);
  check("test", parameters.test, 0, 1);
  const bool characters = parameters.tokens == "characters";
  if (!characters && parameters.tokens != "bytes") {
    throw UserError("E1007",
                    fmt::format("data source 'text': tokens is \"{}\", neither \"characters\" nor "
                                "\"bytes\"",
                                parameters.tokens));
  }
  const std::vector<unsigned char> bytes = read_all(parameters.file);
  Tokens tokens =
      characters ? characters_of(bytes, parameters.file) : Tokens(bytes.begin(), bytes.end());
  DataSplits splits;
  splits.vocabulary.tokens = parameters.tokens;
  if (characters) splits.vocabulary.characters = number(tokens);
  const auto all = static_cast<double>(tokens.size());
  const auto train = static_cast<std::size_t>(all - all * parameters.test);
  const std::int64_t stride = parameters.stride == 0 ? parameters.length : parameters.stride;
  const std::span<const std::uint32_t> whole(tokens);
  splits.train = windows(whole.first(train), parameters.length, stride, parameters.file);
  if (splits.train.examples() == 0) {
    throw UserError("E1008",
                    fmt::format("{} tokens for training are no example of {} and the one behind",
                                train, parameters.length),
                    {parameters.file});
  }
  Dataset test = windows(whole.subspan(train), parameters.length, stride, parameters.file);
  if (test.examples() > 0) splits.test = std::move(test);
  return splits;
}

}  // namespace gradus::runtime
