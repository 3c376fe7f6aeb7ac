#include "runtime/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "base/diagnostic.h"
#include "runtime/memory.h"

namespace gradus::runtime {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::int64_t kLengthBytes = 8;
constexpr std::uint64_t kGreatestHeader = 100'000'000;  // the format's own limit
constexpr std::int64_t kDataAlignment = 64;
constexpr int kGreatestDepth = 3;  // header, entry, shape
constexpr std::string_view kMetadata = "__metadata__";

constexpr std::string_view kTypeNames[] = {"F32", "F64", "I32", "I64", "U32", "U8", "BOOL"};

std::string_view type_name(ElementType type) { return kTypeNames[static_cast<std::size_t>(type)]; }

std::optional<ElementType> parse_type_name(std::string_view name) {
  for (const ElementType type : kElementTypes) {
    if (type_name(type) == name) return type;
  }
  return std::nullopt;
}

/// The parts of a file's header, checked step by step.
class HeaderParser {
 public:
  explicit HeaderParser(const InputFile& file) : file_(file) {}

  void parse(std::vector<SafetensorsEntry>& entries, std::map<std::string, std::string>& metadata) {
    const json header = parse_json(read_header());
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        parse_metadata(value, metadata);
      } else {
        entries.push_back(parse_entry(name, value));
      }
    }
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      return std::tuple(a.offset, a.type.byte_size(), a.name) <
             std::tuple(b.offset, b.type.byte_size(), b.name);
    });
    check_tiling(entries);
  }

 private:
  [[noreturn]] void fail(std::int64_t byte, const std::string& message) const {
    throw UserError("E1001", fmt::format("byte {}: {}", byte, message), {file_.path()});
  }

  std::string read_header() {
    if (file_.size() < kLengthBytes) {
      fail(file_.size(), "the file ends before the 8 bytes of the header's length");
    }
    std::uint64_t length = 0;
    file_.read(0, std::as_writable_bytes(std::span(&length, 1)));
    const auto rest = static_cast<std::uint64_t>(file_.size() - kLengthBytes);
    if (length > kGreatestHeader || length > rest) {
      fail(0, fmt::format("a header of {} bytes, where the file has {} more and the format allows "
                          "{}",
                          length, rest, kGreatestHeader));
    }
    data_begin_ = kLengthBytes + static_cast<std::int64_t>(length);
    std::string text(length, '\0');
    file_.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
    if (text.empty() || text.front() != '{') fail(kLengthBytes, "the header does not begin with {");
    return text;
  }

  json parse_json(const std::string& text) const {
    std::vector<std::set<std::string>> keys;  // of the open objects
    const auto check = [&](int depth, json::parse_event_t event, json& value) {
      if (depth > kGreatestDepth) fail(kLengthBytes, "the header is nested too deep");
      if (event == json::parse_event_t::object_start) keys.emplace_back();
      if (event == json::parse_event_t::object_end) keys.pop_back();
      if (event == json::parse_event_t::key && !keys.back().insert(value).second) {
        fail(kLengthBytes, fmt::format("the header has '{}' twice", value.get<std::string>()));
      }
      return true;
    };
    try {
      return json::parse(text, check);
    } catch (const json::parse_error& error) {
      const auto place = static_cast<std::int64_t>(error.byte);  // counts from 1
      fail(kLengthBytes + std::max<std::int64_t>(place - 1, 0), "the header is no valid JSON");
    } catch (const json::exception& error) {
      fail(kLengthBytes, "the header is no valid JSON");  // a number out of range
    }
  }

  void parse_metadata(const json& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) fail(kLengthBytes, "__metadata__ is no object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail(kLengthBytes, fmt::format("metadata '{}' is no string", key));
      metadata.emplace(key, text.get<std::string>());
    }
  }

  SafetensorsEntry parse_entry(const std::string& name, const json& value) const {
    const auto complain = [&](const std::string& message) {
      fail(kLengthBytes, fmt::format("tensor '{}': {}", name, message));
    };
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
        !value.contains("shape") || !value.contains("data_offsets")) {
      complain("not exactly the members dtype, shape and data_offsets");
    }
    if (!value["dtype"].is_string()) complain("dtype is no string");
    const auto dtype = value["dtype"].get<std::string>();
    const std::optional<ElementType> element = parse_type_name(dtype);
    if (!element) {
      throw UserError("E1002", fmt::format("tensor '{}' has elements of type {}", name, dtype),
                      {file_.path()}, "known are F32, F64, I32, I64, U32, U8 and BOOL");
    }
    const std::vector<std::int64_t> offsets = parse_sizes(value["data_offsets"]);
    if (offsets.size() != 2) complain("data_offsets are not two sizes");
    const std::int64_t data_bytes = file_.size() - data_begin_;
    if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
      complain(fmt::format("data_offsets {} to {} in {} bytes of data", offsets[0], offsets[1],
                           data_bytes));
    }
    SafetensorsEntry entry{name, {*element, parse_sizes(value["shape"])}, data_begin_ + offsets[0]};
    const bool is_scalar = value["shape"].is_array() && value["shape"].empty();
    if (entry.type.shape.empty() && !is_scalar) complain("shape is no list of sizes");
    if (checked_bytes(entry.type) != offsets[1] - offsets[0]) {
      complain(fmt::format("{}, but data_offsets give {} bytes", to_string(entry.type),
                           offsets[1] - offsets[0]));
    }
    return entry;
  }

  /// A list of integers that are not negative; empty when it is anything else.
  static std::vector<std::int64_t> parse_sizes(const json& value) {
    std::vector<std::int64_t> sizes;
    if (!value.is_array()) return {};
    for (const json& size : value) {
      if (!size.is_number_unsigned() || size.get<std::uint64_t>() > INT64_MAX) return {};
      sizes.push_back(size.get<std::int64_t>());
    }
    return sizes;
  }

  /// Bytes of a tensor of this type; -1 when the extents' product passes 2^62.
  static std::int64_t checked_bytes(const TensorType& type) {
    std::int64_t bytes = byte_size(type.element);
    for (const std::int64_t extent : type.shape) {
      if (extent != 0 && bytes > (std::int64_t{1} << 62) / extent) return -1;
      bytes *= std::max<std::int64_t>(extent, 1);
    }
    return std::count(type.shape.begin(), type.shape.end(), 0) > 0 ? 0 : bytes;
  }

  void check_tiling(const std::vector<SafetensorsEntry>& entries) const {
    std::int64_t next = data_begin_;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.offset != next) {
        fail(std::min(entry.offset, next),
             fmt::format("{} before tensor '{}'",
                         entry.offset < next ? "overlapping data" : "unused bytes", entry.name));
      }
      next += entry.type.byte_size();
    }
    if (next != file_.size()) fail(next, "unused bytes at the end of the file");
  }

  const InputFile& file_;
  std::int64_t data_begin_ = 0;
};

/// Replaces every NaN by the canonical one.
template <typename Float, typename Bits>
void make_canonical(std::span<std::byte> bytes, Bits canonical) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Float)) {
    Float value;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    if (value != value) std::memcpy(bytes.data() + at, &canonical, sizeof(canonical));
  }
}

void write_elements(OutputFile& file, const SafetensorsItem& item) {
  if (!is_float(item.type.element)) {
    file.write(item.bytes);
    return;
  }
  constexpr std::size_t kChunk = std::size_t{1} << 20;
  std::vector<std::byte> chunk;
  for (std::size_t at = 0; at < item.bytes.size(); at += kChunk) {
    const auto part = item.bytes.subspan(at, std::min(kChunk, item.bytes.size() - at));
    chunk.assign(part.begin(), part.end());
    if (item.type.element == ElementType::f32) {
      make_canonical<float>(chunk, std::uint32_t{0x7FC00000u});
    } else {
      make_canonical<double>(chunk, std::uint64_t{0x7FF8000000000000u});
    }
    file.write(chunk);
  }
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::string& path) : file_(path) {
  HeaderParser(file_).parse(entries_, metadata_);
}

const SafetensorsEntry* SafetensorsReader::find(const std::string& name) const {
  for (const SafetensorsEntry& entry : entries_) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void SafetensorsReader::read(const SafetensorsEntry& entry, std::span<std::byte> bytes) const {
  GRADUS_CHECK(static_cast<std::int64_t>(bytes.size()) == entry.type.byte_size(),
               "a buffer of another size for " + entry.name);
  file_.read(entry.offset, bytes);
  if (entry.type.element != ElementType::boolean) return;
  const auto wrong = std::find_if(bytes.begin(), bytes.end(),
                                  [](std::byte value) { return value > std::byte{1}; });
  if (wrong != bytes.end()) {
    throw UserError("E1001",
                    fmt::format("byte {}: tensor '{}': a boolean is neither 0 nor 1",
                                entry.offset + (wrong - bytes.begin()), entry.name),
                    {path()});
  }
}

Tensor SafetensorsReader::read(const SafetensorsEntry& entry) const {
  Tensor tensor = allocate_tensor(entry.type, "tensor " + entry.name);
  read(entry, tensor.bytes);
  return tensor;
}

void write_safetensors(const std::string& path, std::vector<SafetensorsItem> items,
                       const std::map<std::string, std::string>& metadata) {
  std::sort(items.begin(), items.end(), [](const SafetensorsItem& a, const SafetensorsItem& b) {
    return std::tuple(-byte_size(a.type.element), std::string_view(a.name)) <
           std::tuple(-byte_size(b.type.element), std::string_view(b.name));
  });
  json header = json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::int64_t offset = 0;
  for (const SafetensorsItem& item : items) {
    GRADUS_CHECK(static_cast<std::int64_t>(item.bytes.size()) == item.type.byte_size(),
                 "elements of another size for " + item.name);
    GRADUS_CHECK(!header.contains(item.name) && item.name != kMetadata,
                 "two tensors of one name: " + item.name);
    const std::int64_t end = offset + item.type.byte_size();
    header[item.name] = {{"dtype", type_name(item.type.element)},
                         {"shape", item.type.shape},
                         {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  const auto alignment = static_cast<std::size_t>(kDataAlignment);
  text.resize((text.size() + kLengthBytes + alignment - 1) / alignment * alignment - kLengthBytes,
              ' ');
  const std::uint64_t length = text.size();
  OutputFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const SafetensorsItem& item : items) write_elements(file, item);
  file.commit();
}

}  // namespace gradus::runtime
