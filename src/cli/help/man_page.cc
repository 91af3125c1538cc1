// The manual page, in the macros of man(7).
#include <sstream>

#include "options/interface.h"

#include "ptq/base/letters.h"
#include "ptq/cli/version.h"

namespace ptq {
namespace {

struct Topic {
  const char* name;
  const char* text;
};

constexpr Topic kFiles[] = {
    {"DST/quantization_metadata.json",
     "What was done to each layer, from what, and with what effect; \\fBquantize inspect\\fR shows "
     "it, and \\fB\\-\\-config\\fR takes it for a recipe."},
    {".DST.part",
     "Beside the destination: what an unfinished run has done so far, with its checkpoint."},
    {"../share/ptq/calibration",
     "Seen from the program's directory: the calibration texts that are used without "
     "\\fB\\-\\-calib\\fR."},
};

constexpr Topic kEnvironment[] = {
    {"NO_COLOR", "When it is set and not empty, messages have no colours."},
    {"TERM", "\\fIdumb\\fR: neither colours nor a moving progress line."},
    {"OPENBLAS_CORETYPE",
     "Chooses OpenBLAS's kernels, for the same bytes on processors of different kinds."},
};

constexpr Topic kStatuses[] = {
    {"0", "done"},
    {"1", "internal error: a bug of this program"},
    {"2", "usage: wrong options, or a pattern that matches nothing"},
    {"3", "unreadable or malformed input"},
    {"4", "a model or an operator that this build cannot handle"},
    {"5", "cannot write"},
    {"6", "out of memory or over the budget"},
    {"7", "verification failed: nothing was kept, or what was to be judged did not pass"},
    {"130", "interrupted"},
};

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool control = (text[i] == '.' || text[i] == '\'') && (i == 0 || text[i - 1] == '\n');
    if (control) escaped += "\\&";
    if (text[i] == '\\') {
      escaped += "\\e";
    } else if (text[i] == '-') {
      escaped += "\\-";
    } else {
      escaped += text[i];
    }
  }
  return escaped;
}

std::string Names(const OptionInfo& option) {
  std::string text;
  if (!option.positional.empty()) text = "\\fI" + Escaped(Upper(option.positional)) + "\\fR";
  for (const std::string& name : option.names) {
    text += (text.empty() ? "\\fB" : ", \\fB") + Escaped(name) + "\\fR";
  }
  const std::string type = option.choices.empty() ? option.type : "NAME";
  if (!option.names.empty() && !type.empty()) text += " \\fI" + Escaped(type) + "\\fR";
  return text + (option.list ? "..." : "");
}

std::string Meaning(const OptionInfo& option) {
  std::string text = option.description;
  for (const std::string& choice : option.choices) {
    text += (&choice == &option.choices.front() ? "; one of " : ", ") + choice;
  }
  if (!option.fallback.empty()) text += " (default: " + option.fallback + ")";
  return text + '.';
}

void AddCommand(const CommandInfo& command, std::ostream& page) {
  page << ".SS " << Escaped(command.usage) << '\n' << Escaped(command.description) << ".\n";
  std::string group;
  for (const OptionInfo& option : command.options) {
    if (option.group != group) {
      group = option.group;
      page << ".PP\n" << Escaped(group) << ":\n";
    }
    page << ".TP\n" << Names(option) << '\n' << Escaped(Meaning(option)) << '\n';
  }
}

template <size_t n>
void AddTopics(const char* title, const Topic (&topics)[n], std::ostream& page) {
  page << ".SH " << title << '\n';
  for (const Topic& topic : topics) {
    page << ".TP\n.B " << Escaped(topic.name) << '\n' << topic.text << ".\n";
  }
}

}  // namespace

std::string ManPage(const std::vector<CommandInfo>& commands) {
  std::ostringstream page;
  page << ".TH QUANTIZE 1 \"\" \"quantize " << VersionNumber() << "\" \"User commands\"\n"
       << ".SH NAME\nquantize \\- quantize ONNX transformer models after training\n"
       << ".SH SYNOPSIS\n.B quantize\n.I command\n.RI [ options ]\n.SH DESCRIPTION\n"
       << "Reads a trained ONNX model, rounds the weights of its linear layers to 2, 3, 4 or 8 "
          "bits, on\ncalibration texts where the method wants them, and writes a model that ONNX "
          "Runtime loads.\nResults go to standard output, messages to standard error.\n"
       << ".SH COMMANDS\n";
  for (const CommandInfo& command : commands) {
    if (!command.name.empty()) AddCommand(command, page);
  }
  page << ".SH OPTIONS OF ALL COMMANDS\n";
  for (const OptionInfo& option : commands.front().options) {
    page << ".TP\n" << Names(option) << '\n' << Escaped(Meaning(option)) << '\n';
  }
  page << ".SH EXAMPLES\n";
  for (const CommandInfo& command : commands) {
    if (command.examples.empty()) continue;
    const size_t begin = command.examples.find('\n') + 1;
    page << ".PP\n.nf\n" << Escaped(command.examples.substr(begin)) << "\n.fi\n";
  }
  AddTopics("FILES", kFiles, page);
  AddTopics("EXIT STATUS", kStatuses, page);
  AddTopics("ENVIRONMENT", kEnvironment, page);
  return page.str();
}

}  // namespace ptq
