// quantize completion: scripts for shells, made from the list of options.
#include <algorithm>
#include <iostream>
#include <sstream>

#include "options/built_in_recipes.h"
#include "options/interface.h"
#include "options/values.h"

#include "ptq/cli/command.h"

namespace ptq {
namespace {

enum class Shell { kBash, kZsh, kFish };

std::string JoinedBy(const std::vector<std::string>& words, const std::string& separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

/// The first words of commands, each once.
std::vector<std::string> FirstWords(const std::vector<CommandInfo>& commands) {
  std::vector<std::string> words;
  for (const CommandInfo& command : commands) {
    const std::string word = command.name.substr(0, command.name.find(' '));
    if (!word.empty() && std::ranges::find(words, word) == words.end()) words.push_back(word);
  }
  return words;
}

/// The commands of two words that begin with `family`.
std::vector<const CommandInfo*> CommandsOfFamily(const std::vector<CommandInfo>& commands,
                                                 const std::string& family) {
  std::vector<const CommandInfo*> members;
  for (const CommandInfo& command : commands) {
    if (command.name.starts_with(family + " ")) members.push_back(&command);
  }
  return members;
}

/// "build" of "calib build".
std::string LastWord(const std::string& name) { return name.substr(name.rfind(' ') + 1); }

std::string LastWords(const std::vector<const CommandInfo*>& commands) {
  std::vector<std::string> words;
  words.reserve(commands.size());
  for (const CommandInfo* command : commands) words.push_back(LastWord(command->name));
  return JoinedBy(words, " ");
}

/// The recipes inside the program.
std::string RecipeNames() {
  std::vector<std::string> names;
  for (const BuiltInRecipe& recipe : BuiltInRecipes()) names.emplace_back(recipe.name);
  return JoinedBy(names, " ");
}

const OptionInfo* FirstPositional(const CommandInfo& command) {
  const auto found = std::ranges::find_if(
      command.options, [](const OptionInfo& option) { return !option.positional.empty(); });
  return found == command.options.end() ? nullptr : &*found;
}

// ---- bash ---------------------------------------------------------------------------------------

std::string BashAction(const OptionInfo& option) {
  switch (option.kind) {
    case ValueKind::kNames: return "_quantize_words " + ShellQuoted(JoinedBy(option.choices, " "));
    case ValueKind::kModel: return "_quantize_paths '*.onnx'";
    case ValueKind::kFile: return "_quantize_paths '*'";
    case ValueKind::kDirectory: return "_quantize_paths ''";
    case ValueKind::kRecipe:
      return "_quantize_words " + ShellQuoted(RecipeNames()) + "; _quantize_paths '*'";
    case ValueKind::kNone:
    case ValueKind::kOther: break;
  }
  return ":";
}

/// A name of two words in quotes.
std::string BashPattern(const std::string& name) {
  return name.find(' ') == std::string::npos ? name : ShellQuoted(name);
}

/// The cases of one command: what comes after an option, among options, and else.
void AddBashCases(const CommandInfo& command, const std::string& options_of_all,
                  std::ostream& values, std::ostream& others) {
  std::vector<std::string> names;
  for (const OptionInfo& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
    if (option.kind == ValueKind::kNone || option.names.empty()) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : option.names) {
      patterns.push_back((command.name.empty() ? "*" : BashPattern(command.name)) + ":" + name);
    }
    values << "    " << JoinedBy(patterns, " | ") << ") " << BashAction(option) << "; return ;;\n";
  }
  if (command.name.empty()) return;
  others << "    " << BashPattern(command.name) << ":-*) _quantize_words '" << JoinedBy(names, " ")
         << ' ' << options_of_all << "' ;;\n";
  const OptionInfo* const first = FirstPositional(command);
  if (first == nullptr) return;
  others << "    " << BashPattern(command.name) << ":*) " << BashAction(*first) << " ;;\n";
}

/// Behind the first word of commands that have two, the second.
void AddBashFamilies(const std::vector<CommandInfo>& commands, std::ostream& others) {
  for (const std::string& name : FirstWords(commands)) {
    const auto members = CommandsOfFamily(commands, name);
    if (members.empty()) continue;
    others << "    " << name << ":*) _quantize_words " << ShellQuoted(LastWords(members))
           << " ;;\n";
  }
}

std::string Bash(const std::vector<CommandInfo>& commands) {
  const std::vector<std::string> names = FirstWords(commands);
  std::vector<std::string> global, pairs;
  for (const OptionInfo& option : commands.front().options) {
    global.insert(global.end(), option.names.begin(), option.names.end());
  }
  std::ostringstream values, others;
  for (const CommandInfo& command : commands) {
    if (command.name.find(' ') != std::string::npos) pairs.push_back(ShellQuoted(command.name));
    AddBashCases(command, JoinedBy(global, " "), values, others);
  }
  AddBashFamilies(commands, others);
  std::ostringstream text;
  text << R"(# Completion for bash, written by 'quantize completion bash'.
_quantize_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }

_quantize_paths() {  # those that match a pattern, and directories
  local path
  while IFS= read -r path; do
    # shellcheck disable=SC2053
    if [[ -d $path || $path == $1 ]]; then COMPREPLY+=("$path"); fi
  done < <(compgen -f -- "$current")
}

_quantize() {
  local current=${COMP_WORDS[COMP_CWORD]} previous="" command="" i
  if ((COMP_CWORD > 1)); then previous=${COMP_WORDS[COMP_CWORD - 1]}; fi
  COMPREPLY=()
  # bash takes --option=value for three words.
  if [[ $current == = ]]; then
    current=""
  elif [[ $previous == = ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${COMP_WORDS[i]} in
      )"
       << JoinedBy(names, " | ") << R"() command=${COMP_WORDS[i]}; break ;;
    esac
  done
  if ((i + 1 < COMP_CWORD)); then
    case "$command ${COMP_WORDS[i + 1]}" in
      )"
       << JoinedBy(pairs, " | ") << R"() command+=" ${COMP_WORDS[i + 1]}" ;;
    esac
  fi
  case $command:$previous in
)" << values.str()
       << R"(  esac
  case $command:$current in
)" << others.str()
       << "    :-*) _quantize_words '" << JoinedBy(global, " ") << "' ;;\n"
       << "    :*) _quantize_words '" << JoinedBy(names, " ") << "' ;;\n"
       << "  esac\n}\n\ncomplete -o filenames -F _quantize quantize\n";
  return text.str();
}

// ---- zsh ----------------------------------------------------------------------------------------

std::string ZshEscaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string ZshAction(const OptionInfo& option) {
  const std::string name = ZshEscaped(option.positional.empty() ? option.type : option.positional);
  switch (option.kind) {
    case ValueKind::kNone: return "";
    case ValueKind::kNames:
      return ":" + name.substr(0, 1) + ":(" + JoinedBy(option.choices, " ") + ")";
    case ValueKind::kModel: return ":" + name + ":_files -g \"*.onnx(-.) *(-/)\"";
    case ValueKind::kFile: return ":" + name + ":_files";
    case ValueKind::kDirectory: return ":" + name + ":_files -/";
    case ValueKind::kRecipe: return ":" + name + ":{compadd " + RecipeNames() + "; _files}";
    case ValueKind::kOther: return ":" + name + ":";
  }
  return "";
}

std::string ZshArguments(const CommandInfo& command, const std::string& indent) {
  std::string text;
  for (const OptionInfo& option : command.options) {
    for (const std::string& name : option.names) {
      const std::string spec = (option.list ? "*" : "") + name + "[" +
                               ZshEscaped(option.description) + "]" + ZshAction(option);
      text += indent + ShellQuoted(spec) + " \\\n";
    }
    if (!option.positional.empty()) text += indent + ShellQuoted(ZshAction(option)) + " \\\n";
  }
  return text;
}

std::string ZshNamed(const std::string& name, const std::string& description) {
  return name + "\\:\"" + ZshEscaped(ZshEscaped(description)) + "\"";
}

std::string ZshCase(const std::string& word, const std::string& arguments,
                    const std::string& indent) {
  return indent + word + ")\n" + indent + "  _arguments \\\n" + arguments + indent +
         "    && return\n" + indent + "  ;;\n";
}

/// The second word of a command's name, and then its options.
std::string ZshFamily(const std::string& family, const std::vector<const CommandInfo*>& members,
                      const std::string& global) {
  std::vector<std::string> names;
  std::string cases;
  for (const CommandInfo* command : members) {
    names.push_back(ZshNamed(LastWord(command->name), command->description));
    cases +=
        ZshCase(LastWord(command->name), global + ZshArguments(*command, "        "), "        ");
  }
  return "    " + family + ")\n      _arguments -C \\\n        " +
         ShellQuoted("1:command:((" + JoinedBy(names, " ") + "))") +
         " \\\n        '*::argument:->member'\n      [[ $state == member ]] || return\n"
         "      case $line[1] in\n" +
         cases + "      esac\n      ;;\n";
}

std::string Zsh(const std::vector<CommandInfo>& commands) {
  std::ostringstream text;
  std::string names;
  for (const std::string& word : FirstWords(commands)) {
    const auto members = CommandsOfFamily(commands, word);
    const auto own = std::ranges::find(commands, word, &CommandInfo::name);
    names += (names.empty() ? "" : " ") +
             ZshNamed(word, own != commands.end() ? own->description : LastWords(members));
  }
  const std::string global = ZshArguments(commands.front(), "        ");
  text << "#compdef quantize\n# Completion for zsh, written by 'quantize completion zsh'.\n"
       << "_quantize() {\n  local context state state_descr line\n  typeset -A opt_args\n"
       << "  _arguments -C \\\n"
       << ZshArguments(commands.front(), "    ") << "    "
       << ShellQuoted("1:command:((" + names + "))") << " \\\n    '*::argument:->argument'\n"
       << "  [[ $state == argument ]] || return\n  case $line[1] in\n";
  for (const std::string& word : FirstWords(commands)) {
    const auto members = CommandsOfFamily(commands, word);
    const auto own = std::ranges::find(commands, word, &CommandInfo::name);
    text << (own == commands.end()
                 ? ZshFamily(word, members, global)
                 : ZshCase(word, global + ZshArguments(*own, "        "), "    "));
  }
  text << "  esac\n}\n\n"
       << "if [[ ${funcstack[1]} == _quantize ]]; then _quantize \"$@\"; else compdef _quantize "
          "quantize; fi\n";
  return text.str();
}

// ---- fish ---------------------------------------------------------------------------------------

std::string FishQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

std::string FishAction(const OptionInfo& option) {
  switch (option.kind) {
    case ValueKind::kNone: return "";
    case ValueKind::kNames: return " -x -a " + FishQuoted(JoinedBy(option.choices, " "));
    case ValueKind::kModel: return " -x -a '(__fish_complete_suffix .onnx)'";
    case ValueKind::kFile: return " -r -F";
    case ValueKind::kDirectory: return " -x -a '(__fish_complete_directories)'";
    case ValueKind::kRecipe: return " -r -F -a " + FishQuoted(RecipeNames());
    case ValueKind::kOther: return " -x";
  }
  return "";
}

std::string Fish(const std::vector<CommandInfo>& commands) {
  std::ostringstream text;
  text << "# Completion for fish, written by 'quantize completion fish'.\n"
       << "complete -c quantize -f\n";
  for (const std::string& word : FirstWords(commands)) {
    const auto members = CommandsOfFamily(commands, word);
    if (members.empty()) continue;
    text << "complete -c quantize -n __fish_use_subcommand -a " << word << " -d "
         << FishQuoted(LastWords(members)) << '\n';
  }
  for (const CommandInfo& command : commands) {
    std::string start = "complete -c quantize";
    if (!command.name.empty()) {
      const std::string family = command.name.substr(0, command.name.find(' '));
      const std::string last = LastWord(command.name);
      const bool two = family != command.name;
      const std::string seen = "__fish_seen_subcommand_from ";
      const std::string members = LastWords(CommandsOfFamily(commands, family));
      text << start << " -n "
           << (two ? FishQuoted(seen + family + "; and not " + seen + members)
                   : "__fish_use_subcommand")
           << " -a " << last << " -d " << FishQuoted(command.description) << '\n';
      start += " -n " + FishQuoted(seen + family + (two ? "; and " + seen + last : ""));
    }
    for (const OptionInfo& option : command.options) {
      if (!option.names.empty()) {
        text << start;
        for (const std::string& name : option.names) {
          text << (name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1));
        }
        text << FishAction(option) << " -d " << FishQuoted(option.description) << '\n';
      }
      if (&option == FirstPositional(command)) text << start << FishAction(option) << '\n';
    }
  }
  return text.str();
}

class CompletionCommand : public Command {
 public:
  explicit CompletionCommand(CLI::App& app) : app_(*app.get_parent()) {
    AddNames<Shell>(app, "shell", shell_,
                    {{"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}},
                    "The shell")
        ->required()
        ->group("Input");
    app.footer(
        "Examples:\n"
        "  source <(quantize completion bash)     in ~/.bashrc\n"
        "  source <(quantize completion zsh)      in ~/.zshrc, after compinit\n"
        "  quantize completion fish | source      in ~/.config/fish/config.fish");
  }

  ExitCode Run(const GlobalOptions&) override {
    const std::vector<CommandInfo> commands = Interface(app_);
    switch (shell_) {
      case Shell::kBash: std::cout << Bash(commands); break;
      case Shell::kZsh: std::cout << Zsh(commands); break;
      case Shell::kFish: std::cout << Fish(commands); break;
    }
    return ExitCode::kDone;
  }

 private:
  CLI::App& app_;
  Shell shell_ = Shell::kBash;
};

}  // namespace

std::unique_ptr<Command> MakeCompletionCommand(CLI::App& app) {
  return std::make_unique<CompletionCommand>(app);
}

}  // namespace ptq
