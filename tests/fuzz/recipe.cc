// Recipe files, TOML and JSON.
#include "fuzz.h"
#include "options/recipe_file.h"

namespace ptq::fuzz {
namespace {

std::vector<std::string> Seeds() {
  return {
      "bits = 4\nmethod = \"best\" # why\ninclude = [\"a*\", \"/b+/\"]\n[run]\nquiet = true\n"
      "[[rule]]\npattern = \"*.o_proj\"\nbits = 8\n",
      R"({"bits": 4, "method": "awq", "rule": [{"pattern": "x", "form": "fp16"}], "shrinkage": null})"};
}

void Run(std::string_view input) { (void)ParseRecipeText(input, "recipe"); }

}  // namespace

extern const Target recipe_target = {"recipe", Seeds, MutateText, Run};

}  // namespace ptq::fuzz
