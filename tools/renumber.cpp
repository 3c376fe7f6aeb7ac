#include "tools/renumber.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <variant>
#include <vector>

#include "ir/op.h"
#include "ir/text.h"

namespace gradus::tools {
namespace {

using ir::NodeId;

/// Pairs nodes of two graphs; each node is in at most one pair.
class Matching {
 public:
  Matching(const ir::Graph& before, const ir::Graph& after) : before_(before), after_(after) {
    match_equal();
    match_parts();
  }

  /// The number of each node of `after`.
  [[nodiscard]] std::map<NodeId, std::size_t> numbers() const {
    std::map<NodeId, std::size_t> numbers;
    std::size_t next = before_.size();
    for (NodeId id = 0; id < after_.size(); ++id) {
      const auto at = old_of_.find(id);
      numbers[id] = at == old_of_.end() ? next++ : at->second;
    }
    return numbers;
  }

 private:
  /// For each node the number of its class: equal for nodes that compute the same in the same way.
  std::vector<std::size_t> classes_of(const ir::Graph& graph) {
    std::vector<std::size_t> classes;
    for (NodeId id = 0; id < graph.size(); ++id) {
      std::string key(graph.node(id).op->name);
      for (ir::Value operand : graph.operands(id)) {
        key += " " + std::to_string(classes[operand.node]) + "." + std::to_string(operand.result);
      }
      for (const auto& [name, value] : graph.node(id).attributes) {
        key += " " + name + "=" + ir::to_text(value);
      }
      classes.push_back(known_.emplace(key, known_.size()).first->second);
    }
    return classes;
  }

  void match_equal() {
    std::map<std::size_t, NodeId> old;
    const std::vector<std::size_t> before = classes_of(before_);
    for (NodeId id = 0; id < before_.size(); ++id) old.emplace(before[id], id);
    const std::vector<std::size_t> after = classes_of(after_);
    for (NodeId id = 0; id < after_.size(); ++id) {
      if (const auto at = old.find(after[id]); at != old.end()) pair(at->second, id);
    }
  }

  void match_parts() {
    for (const ir::Result& old : before_.results()) {
      for (const ir::Result& now : after_.results()) {
        if (old.name == now.name && old.update == now.update) {
          match_part(old.value.node, now.value.node);
        }
      }
    }
  }

  void match_part(NodeId old, NodeId now) {
    std::vector<std::pair<NodeId, NodeId>> open = {{old, now}};
    while (!open.empty()) {
      const auto [a, b] = open.back();
      open.pop_back();
      if (!pair(a, b)) continue;
      const std::vector<ir::Value> x = before_.operands(a);
      const std::vector<ir::Value> y = after_.operands(b);
      if (before_.node(a).op != after_.node(b).op || x.size() != y.size()) continue;
      for (std::size_t i = 0; i < x.size(); ++i) open.emplace_back(x[i].node, y[i].node);
    }
  }

  /// Whether this is a new pair.
  bool pair(NodeId old, NodeId now) {
    if (old_of_.contains(now) || !taken_.insert(old).second) return false;
    old_of_[now] = old;
    return true;
  }

  const ir::Graph& before_;
  const ir::Graph& after_;
  std::map<std::string, std::size_t> known_;
  std::map<NodeId, NodeId> old_of_;
  std::set<NodeId> taken_;
};

const ir::Graph* body_of(const ir::Graph& graph, NodeId id) {
  for (const auto& [name, value] : graph.node(id).attributes) {
    if (const auto* body = std::get_if<ir::GraphPointer>(&value)) return body->get();
  }
  return nullptr;
}

/// Copies the text of a graph, its numbers replaced outside of strings.
class Renumbering {
 public:
  explicit Renumbering(const std::string& text) : text_(text) {}

  std::string run(const ir::Graph& before, const ir::Graph& after) {
    copy_graph(&before, after);
    return std::move(result_);
  }

 private:
  /// To the end of the text, or to the brace that closes this graph. Without a graph before it
  /// keeps its numbers.
  void copy_graph(const ir::Graph* before, const ir::Graph& after) {
    std::map<NodeId, std::size_t> numbers;
    if (before != nullptr) {
      numbers = Matching(*before, after).numbers();
    } else {
      for (NodeId id = 0; id < after.size(); ++id) numbers[id] = id;
    }
    NodeId node = 0;  // that the line is about
    for (int open = 0; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') {
        copy_string();
        continue;
      }
      if (c == '%') {
        const bool begins = line_begins();
        const NodeId id = read_number();
        if (begins) node = id;
        result_ += '%' + std::to_string(numbers.at(id));
        continue;
      }
      if (c == '}' && open-- == 0) return;
      result_ += c;
      if (c != '{') continue;
      if (text_[at_ + 1] != '\n') {
        ++open;
        continue;
      }
      ++at_;
      const std::size_t number = numbers.at(node);
      const bool paired = before != nullptr && number < before->size();
      copy_graph(paired ? body_of(*before, static_cast<NodeId>(number)) : nullptr,
                 *body_of(after, node));
      result_ += '}';
    }
  }

  [[nodiscard]] bool line_begins() const {
    const std::size_t last = text_.find_last_not_of(' ', at_ - 1);
    return at_ == 0 || last == text_.npos || text_[last] == '\n';
  }

  void copy_string() {
    const std::size_t begin = at_++;
    for (; text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    result_.append(text_, begin, at_ + 1 - begin);
  }

  /// The number after the sign at which the text stands; leaves it at its last digit.
  NodeId read_number() {
    NodeId id = 0;
    while (std::isdigit(static_cast<unsigned char>(text_[at_ + 1])) != 0) {
      id = 10 * id + static_cast<NodeId>(text_[++at_] - '0');
    }
    return id;
  }

  const std::string& text_;
  std::string result_;
  std::size_t at_ = 0;
};

}  // namespace

std::string renumbered(const ir::Graph& before, const ir::Graph& after) {
  const std::string text = to_text(after);
  return Renumbering(text).run(before, after);
}

}  // namespace gradus::tools
