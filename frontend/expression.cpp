#include "frontend/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "frontend/reader.h"

namespace gradus::frontend {
namespace {

using Number = std::variant<std::int64_t, double>;

double real(const Number& n) {
  return std::visit([](auto value) { return static_cast<double>(value); }, n);
}
bool whole(const Number& a, const Number& b) {
  return std::holds_alternative<std::int64_t>(a) && std::holds_alternative<std::int64_t>(b);
}

[[noreturn]] void overflow() { throw ExpressionError("the result is too large"); }

Number finite(double value) {
  if (!std::isfinite(value)) overflow();
  return value;
}

Number add(const Number& a, const Number& b) {
  if (!whole(a, b)) return finite(real(a) + real(b));
  std::int64_t result = 0;
  if (__builtin_add_overflow(std::get<std::int64_t>(a), std::get<std::int64_t>(b), &result)) {
    overflow();
  }
  return result;
}
Number multiply(const Number& a, const Number& b) {
  if (!whole(a, b)) return finite(real(a) * real(b));
  std::int64_t result = 0;
  if (__builtin_mul_overflow(std::get<std::int64_t>(a), std::get<std::int64_t>(b), &result)) {
    overflow();
  }
  return result;
}

enum class Division : std::uint8_t { exact, down, rest };

Number divide(const Number& a, const Number& b, Division how) {
  if (real(b) == 0) throw ExpressionError("a division by zero");
  if (!whole(a, b)) {
    const double down = std::floor(real(a) / real(b));
    if (how == Division::exact) return finite(real(a) / real(b));
    return finite(how == Division::down ? down : real(a) - down * real(b));
  }
  const std::int64_t x = std::get<std::int64_t>(a);
  const std::int64_t y = std::get<std::int64_t>(b);
  if (y == -1) return multiply(how == Division::rest ? Number(std::int64_t{0}) : a, b);
  const std::int64_t rest = x % y;
  if (how == Division::exact && rest != 0) {
    throw ExpressionError(fmt::format("{} / {} is no whole number; // rounds down", x, y));
  }
  const bool below = rest != 0 && (rest < 0) != (y < 0);
  if (how == Division::rest) return below ? rest + y : rest;
  return x / y - (below ? 1 : 0);
}

/// Recursive descent: sum := product (+- product)*, product := factor (* / // % factor)*.
class Parser {
 public:
  Parser(std::string_view text, const Parameters& parameters)
      : text_(text), parameters_(parameters) {}

  Number parse() {
    const Number result = sum();
    skip();
    if (at_ < text_.size()) {
      throw ExpressionError(
          fmt::format("expected an operator or the end, found '{}'", text_.substr(at_)));
    }
    return result;
  }

 private:
  static constexpr int kDepth = 64;

  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (accept(token)) return;
    throw ExpressionError(fmt::format("expected '{}', found {}", token, rest()));
  }
  [[nodiscard]] std::string rest() const {
    return at_ < text_.size() ? fmt::format("'{}'", text_.substr(at_)) : "the end";
  }

  Number sum() {
    Number result = product();
    while (true) {
      if (accept("+")) {
        result = add(result, product());
      } else if (accept("-")) {
        result = add(result, multiply(std::int64_t{-1}, product()));
      } else {
        return result;
      }
    }
  }
  Number product() {
    Number result = factor();
    while (true) {
      if (accept("*")) {
        result = multiply(result, factor());
      } else if (accept("//")) {
        result = divide(result, factor(), Division::down);
      } else if (accept("/")) {
        result = divide(result, factor(), Division::exact);
      } else if (accept("%")) {
        result = divide(result, factor(), Division::rest);
      } else {
        return result;
      }
    }
  }
  Number factor() {
    if (++depth_ > kDepth) throw ExpressionError("nested too deeply");
    const Number result = primary();
    --depth_;
    return result;
  }
  Number primary() {
    if (accept("-")) return multiply(std::int64_t{-1}, factor());
    if (accept("(")) {
      const Number result = sum();
      expect(")");
      return result;
    }
    skip();
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '.')) return number();
    const std::string name = word();
    if (name == "min" || name == "max") {
      expect("(");
      const Number a = sum();
      expect(",");
      const Number b = sum();
      expect(")");
      return (real(a) < real(b)) == (name == "min") ? a : b;
    }
    return parameter(name);
  }
  std::string word() {
    const std::size_t begin = at_;
    const auto letter = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    while (at_ < text_.size() && letter(text_[at_])) ++at_;
    if (begin == at_) {
      throw ExpressionError(fmt::format("expected a number or a name, found {}", rest()));
    }
    return std::string(text_.substr(begin, at_ - begin));
  }
  Number number() {
    const char* begin = text_.data() + at_;
    const char* end = text_.data() + text_.size();
    std::int64_t integer = 0;
    const auto as_integer = std::from_chars(begin, end, integer);
    double value = 0;
    const auto as_real = std::from_chars(begin, end, value);
    if (as_real.ec != std::errc{}) throw ExpressionError("a malformed number");
    at_ += static_cast<std::size_t>(as_real.ptr - begin);
    if (as_integer.ec == std::errc{} && as_integer.ptr == as_real.ptr) return integer;
    return value;
  }
  Number parameter(const std::string& name) {
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) {
      std::vector<std::string> known;
      for (const auto& [other, value] : parameters_) known.push_back(other);
      const std::string hint = suggestion(name, known);
      throw ExpressionError(
          fmt::format("there is no parameter \"{}\"{}{}", name, hint.empty() ? "" : "; ", hint));
    }
    if (const auto* integer = found->second.get<std::int64_t>()) return *integer;
    if (const auto* value = found->second.get<double>()) return *value;
    throw ExpressionError(fmt::format("\"{}\" is {}, no number", name, found->second.describe()));
  }

  std::string_view text_;
  const Parameters& parameters_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Json evaluate_expression(std::string_view text, const Parameters& parameters,
                         const SourceLocation& where) {
  const auto first = text.find_first_not_of(' ');
  const auto last = text.find_last_not_of(' ');
  const std::string trimmed(first == text.npos ? "" : text.substr(first, last - first + 1));
  Json result;
  if (const auto lone = parameters.find(trimmed); lone != parameters.end()) {
    result = lone->second;
  } else {
    std::visit([&](auto value) { result.value = value; }, Parser(text, parameters).parse());
  }
  result.where = where;
  return result;
}

}  // namespace gradus::frontend
