// Lists the recipes that the build has embedded.
#include "built_in_recipes.h"

#include <algorithm>
#include <array>

namespace ptq {

// A new one is its file, a line in CMakeLists.txt, and one in each list here.
std::string_view EncoderRecipe();
std::string_view LaptopRecipe();
std::string_view MobileInt8Recipe();
std::string_view NpuQdqRecipe();
std::string_view WebRecipe();

std::span<const BuiltInRecipe> BuiltInRecipes() {
  static const auto kRecipes = std::to_array<BuiltInRecipe>({
      {"encoder", EncoderRecipe()},
      {"laptop", LaptopRecipe()},
      {"mobile-int8", MobileInt8Recipe()},
      {"npu-qdq", NpuQdqRecipe()},
      {"web", WebRecipe()},
  });
  return kRecipes;
}

const BuiltInRecipe* FindBuiltInRecipe(std::string_view name) {
  const auto found = std::ranges::find(BuiltInRecipes(), name, &BuiltInRecipe::name);
  return found == BuiltInRecipes().end() ? nullptr : &*found;
}

std::string_view BuiltInRecipe::Description() const {
  constexpr std::string_view kComment = "# ";
  return text.substr(kComment.size(), text.find('\n') - kComment.size());
}

}  // namespace ptq
