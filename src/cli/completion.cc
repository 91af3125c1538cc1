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

/// The cases of one command: what comes after an option, among options, and else.
void AddBashCases(const CommandInfo& command, const std::string& options_of_all,
                  std::ostream& values, std::ostream& others) {
  std::vector<std::string> names;
  for (const OptionInfo& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
    if (option.kind == ValueKind::kNone || option.names.empty()) continue;
    std::vector<std::string> patterns;
    for (const std::string& name : option.names) {
      patterns.push_back((command.name.empty() ? "*" : command.name) + ":" + name);
    }
    values << "    " << JoinedBy(patterns, " | ") << ") " << BashAction(option) << "; return ;;\n";
  }
  if (command.name.empty()) return;
  others << "    " << command.name << ":-*) _quantize_words '" << JoinedBy(names, " ") << ' '
         << options_of_all << "' ;;\n";
  const OptionInfo* const first = FirstPositional(command);
  if (first != nullptr) others << "    " << command.name << ":*) " << BashAction(*first) << " ;;\n";
}

std::string Bash(const std::vector<CommandInfo>& commands) {
  std::vector<std::string> names, global;
  for (const OptionInfo& option : commands.front().options) {
    global.insert(global.end(), option.names.begin(), option.names.end());
  }
  std::ostringstream values, others;
  for (const CommandInfo& command : commands) {
    if (!command.name.empty()) names.push_back(command.name);
    AddBashCases(command, JoinedBy(global, " "), values, others);
  }
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

std::string Zsh(const std::vector<CommandInfo>& commands) {
  std::ostringstream text;
  std::string names;
  for (const CommandInfo& command : commands) {
    if (command.name.empty()) continue;
    names += (names.empty() ? "" : " ") + command.name + "\\:" + "\"" +
             ZshEscaped(ZshEscaped(command.description)) + "\"";
  }
  text << "#compdef quantize\n# Completion for zsh, written by 'quantize completion zsh'.\n"
       << "_quantize() {\n  local context state state_descr line\n  typeset -A opt_args\n"
       << "  _arguments -C \\\n"
       << ZshArguments(commands.front(), "    ") << "    "
       << ShellQuoted("1:command:((" + names + "))") << " \\\n    '*::argument:->argument'\n"
       << "  [[ $state == argument ]] || return\n  case $line[1] in\n";
  for (const CommandInfo& command : commands) {
    if (command.name.empty()) continue;
    text << "    " << command.name << ")\n      _arguments \\\n"
         << ZshArguments(commands.front(), "        ") << ZshArguments(command, "        ")
         << "        && return\n      ;;\n";
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
  for (const CommandInfo& command : commands) {
    std::string start = "complete -c quantize";
    if (!command.name.empty()) {
      text << start << " -n __fish_use_subcommand -a " << command.name << " -d "
           << FishQuoted(command.description) << '\n';
      start += " -n '__fish_seen_subcommand_from " + command.name + "'";
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
