// Gives every reader a value of the type that it asks for, by one Cast behind what makes the value.
#include "half_rewrite.h"

#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "constant_plan.h"

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/transform/half_elements.h"

namespace ptq {
namespace {

const char* SuffixOf(DType type) {
  if (type == DType::kFloat16) return "_fp16";
  return type == DType::kFloat32 ? "_fp32" : "_bf16";
}

/// Replaces an attribute by a number.
void ReplaceInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  RemoveAttribute(node, name);
  SetInt(node, name, value);
}

/// The tensor with its elements in another type, inline.
onnx::TensorProto InType(const onnx::TensorProto& tensor, const WeightReader& weights, DType type) {
  const Tensor elements = weights.Read(tensor);
  const Tensor converted = type == DType::kFloat16 ? HalfElements(elements) : elements.ToFloat32();
  onnx::TensorProto result;
  result.set_name(tensor.name());
  result.set_data_type(int32_t(type));
  *result.mutable_dims() = tensor.dims();
  const auto bytes = converted.bytes();
  result.set_raw_data(bytes.data(), bytes.size());
  return result;
}

class HalfRewriter {
 public:
  HalfRewriter(const Typing& typing, OutputGraph& output)
      : typing_(typing), graph_(typing.graph()), output_(output) {}

  void Rewrite() {
    for (int id = 0; id < std::ssize(graph_.values()); ++id) {
      if (!IsHalvable(graph_.value(id).type)) continue;
      if (graph_.value(id).constant != nullptr) {
        GiveConstant(id);
      } else {
        GiveValue(id);
      }
    }
    SetNodeTypes();
    SetDeclarations();
    PlaceCasts();
  }

 private:
  /// Nodes that say themselves what type they make.
  void SetNodeTypes() {
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const FlatNode& node = graph_.node(i);
      if (node.frozen || node.is_join() || node.output_slots.empty()) continue;
      if (node.output_slots[0] != Slot::kFollows) continue;
      const std::string& type = graph_.StandardType(i);
      const DType made = typing_.Produced(node.outputs[0]);
      if (type == "Cast" || type == "CastLike") {
        onnx::NodeProto& proto = *node.proto;
        proto.set_op_type("Cast");
        while (proto.input_size() > 1) proto.mutable_input()->RemoveLast();
        ReplaceInt(proto, "to", int64_t(made));
      } else if (type == "ConstantOfShape") {
        SetFill(*node.proto, made);
      } else if (type == "EyeLike") {
        ReplaceInt(*node.proto, "dtype", int64_t(made));
      }
    }
  }

  void SetFill(onnx::NodeProto& node, DType type) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.name() != "value") continue;
      *attribute.mutable_t() = InType(attribute.t(), weights(), type);
      return;
    }
    onnx::TensorProto zero;
    zero.set_data_type(onnx::TensorProto::FLOAT);
    zero.add_dims(1);
    zero.add_float_data(0);
    SetTensor(node, "value", InType(zero, weights(), type));
  }

  void GiveConstant(int id) {
    const FlatValue& value = graph_.value(id);
    const ConstantForm form = FormOfConstant(typing_, id);
    const DType stored = form == ConstantForm::kHalved ? DType::kFloat16 : value.type;
    if (form == ConstantForm::kHalved) Halve(value);
    types_[value.name] = stored;
    for (const FlatReader& reader : value.readers) {
      const DType wanted = typing_.Wanted(reader);
      if (reader.node < 0) {
        if (*reader.name != value.name) AddCast(id, value.name, *reader.name, wanted);
        continue;
      }
      if (form == ConstantForm::kBoth && wanted == DType::kFloat16) {
        *reader.name = CopyOf(id);
      } else {
        *reader.name = NameIn(id, wanted, stored, value.name);
      }
    }
  }

  /// In its place: an initializer of the source is converted when it is written.
  void Halve(const FlatValue& value) {
    if (value.holder != nullptr) {
      onnx::TensorProto half = InType(*value.constant, weights(), DType::kFloat16);
      value.holder->clear_attribute();
      SetTensor(*value.holder, "value", std::move(half));
      return;
    }
    for (onnx::GraphProto* const scope : graph_.scopes()) {
      for (auto& tensor : *scope->mutable_initializer()) {
        if (&tensor != value.constant) continue;
        tensor = InType(tensor, weights(), DType::kFloat16);
        return;
      }
    }
    output_.halved.insert(value.name);
  }

  /// A second constant in FP16.
  const std::string& CopyOf(int id) {
    std::string& name = names_[{id, DType::kFloat16}];
    if (name.empty()) {
      const FlatValue& value = graph_.value(id);
      const Tensor half = HalfElements(weights().Read(*value.constant));
      name = output_.store.Add(value.name + "_fp16", DType::kFloat16, half.shape(), half.bytes());
    }
    return name;
  }

  void GiveValue(int id) {
    const DType made = typing_.Produced(id);
    const std::string name = NameBehindOutput(id, made);
    types_[name] = made;
    for (const FlatReader& reader : graph_.value(id).readers) {
      const DType wanted = typing_.Wanted(reader);
      if (reader.node >= 0) {
        *reader.name = NameIn(id, wanted, made, name);
      } else if (*reader.name != graph_.value(id).name) {
        // An output of the graph that the source casts from this value.
        names_.try_emplace({id, wanted}, *reader.name);
        AddCast(id, name, *reader.name, wanted);
      }
    }
  }

  /// An output of the graph keeps its name, and a Cast gives it where the type is another.
  std::string NameBehindOutput(int id, DType made) {
    const FlatValue& value = graph_.value(id);
    for (const FlatReader& reader : value.readers) {
      if (reader.node >= 0 || *reader.name != value.name || value.defined == nullptr) continue;
      const DType wanted = typing_.Wanted(reader);
      if (wanted == made) break;
      std::string name = output_.store.UniqueName(value.name + SuffixOf(made));
      *value.defined = name;
      names_[{id, wanted}] = value.name;
      AddCast(id, name, value.name, wanted);
      return name;
    }
    return value.name;
  }

  /// What a value is called in a type.
  std::string NameIn(int id, DType wanted, DType made, const std::string& own) {
    if (wanted == DType::kUndefined || wanted == made) return own;
    std::string& name = names_[{id, wanted}];
    if (name.empty()) {
      name = output_.store.UniqueName(graph_.value(id).name + SuffixOf(wanted));
      AddCast(id, own, name, wanted);
    }
    return name;
  }

  void AddCast(int id, const std::string& from, const std::string& to, DType type) {
    const FlatValue& value = graph_.value(id);
    casts_[value.scope][value.position].push_back(
        MakeCast(output_.store.UniqueName(to + "/cast"), from, to, type));
    types_[to] = type;
  }

  void SetDeclarations() {
    ForEachGraph(*output_.model.mutable_graph(), [&](onnx::GraphProto& graph) {
      ForEachDeclaration(graph, [&](onnx::ValueInfoProto& info) {
        const auto found = types_.find(info.name());
        if (found == types_.end() || !info.type().has_tensor_type()) return;
        info.mutable_type()->mutable_tensor_type()->set_elem_type(int32_t(found->second));
      });
    });
  }

  /// Rebuilds the lists of nodes, without the Casts that have been passed over.
  void PlaceCasts() {
    std::map<int, std::unordered_set<const onnx::NodeProto*>> passed;
    for (const FlatCast& cast : graph_.casts()) passed[cast.scope].insert(cast.proto);
    // The innermost first: moving a node leaves where its subgraphs are.
    for (int scope = int(graph_.scopes().size()) - 1; scope >= 0; --scope) {
      if (!casts_.contains(scope) && !passed.contains(scope)) continue;
      auto& nodes = *graph_.scope(scope).mutable_node();
      google::protobuf::RepeatedPtrField<onnx::NodeProto> old;
      old.Swap(&nodes);
      auto& placed = casts_[scope];
      const auto place = [&](int position) {
        for (auto& cast : placed[position]) *nodes.Add() = std::move(cast);
      };
      place(-1);
      for (int i = 0; i < old.size(); ++i) {
        onnx::NodeProto& node = *old.Mutable(i);
        if (!passed[scope].contains(&node)) nodes.Add()->Swap(&node);
        place(i);
      }
    }
  }

  [[nodiscard]] const WeightReader& weights() const { return output_.source.model().weights(); }

  const Typing& typing_;
  const FlatGraph& graph_;
  OutputGraph& output_;
  std::map<std::pair<int, DType>, std::string> names_;
  std::map<int, std::map<int, std::vector<onnx::NodeProto>>> casts_;  ///< by scope and position
  std::unordered_map<std::string, DType> types_;
};

}  // namespace

void RewriteInHalf(const Typing& typing, OutputGraph& output) {
  HalfRewriter(typing, output).Rewrite();
}

}  // namespace ptq
