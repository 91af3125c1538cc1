// Helper of tests/interop/test_tokenizer.py: answers each line of JSON on standard input with one.
//
//   tokenize_helper encode PATH       {"text", "special"}          -> [ids]
//   tokenize_helper chat              {"template", "messages", "variables", "extra",
//                                      "add_generation_prompt"}    -> {"text"} or {"error"}
//   tokenize_helper calibrate PATH FILE [SAMPLES SEQ_LEN]          -> {"ids", "provenance"}
#include <cstdlib>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/text/calibration.h"
#include "ptq/text/chat_template.h"
#include "ptq/text/tokenizer.h"

namespace {

using Json = nlohmann::ordered_json;

ptq::Tokenizer Open(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? ptq::Tokenizer::FromDirectory(path)
                                             : ptq::Tokenizer::FromFile(path);
}

void Encode(const std::filesystem::path& path) {
  const ptq::Tokenizer tokenizer = Open(path);
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = Json::parse(line);
    const auto ids =
        tokenizer.Encode(request.at("text").get<std::string>(), request.at("special").get<bool>());
    std::cout << Json(ids).dump() << '\n';
  }
}

Json RenderOne(const Json& request) {
  try {
    const ptq::ChatTemplate chat(request.at("template").get<std::string>(),
                                 request.at("variables").dump());
    return {{"text", chat.Render(request.at("messages").dump(),
                                 request.at("add_generation_prompt").get<bool>(),
                                 request.at("extra").dump())}};
  } catch (const ptq::InputError& error) {
    return {{"error", error.what()}};
  }
}

void Chat() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << RenderOne(Json::parse(line)).dump() << '\n';
  }
}

void Calibrate(int argc, char** argv) {
  const ptq::Tokenizer tokenizer = Open(argv[2]);
  const auto chat = ptq::ChatTemplate::FromDirectory(argv[2]);
  ptq::CalibrationOptions options;
  options.files = {argv[3]};
  if (argc > 5) {
    options.samples = std::atoll(argv[4]);
    options.seq_len = std::atoll(argv[5]);
  }
  const auto set = ptq::ReadCalibration(options, &tokenizer, chat ? &*chat : nullptr);
  std::cout << Json{{"ids", set.ids}, {"provenance", ptq::ToJson(set.provenance)}}.dump() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  try {
    if (command == "encode" && argc == 3) {
      Encode(argv[2]);
    } else if (command == "chat" && argc == 2) {
      Chat();
    } else if (command == "calibrate" && argc >= 4) {
      Calibrate(argc, argv);
    } else {
      std::cerr << "usage: tokenize_helper encode PATH | chat | calibrate PATH FILE\n";
      return 2;
    }
  } catch (const ptq::Error& error) {
    std::cerr << error.what() << '\n';
    return static_cast<int>(error.code());
  }
  return 0;
}
