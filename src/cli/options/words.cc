// The parser of the command line: finds the command, assigns words to options, and checks them.
#include "words.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>

#include "declared.h"
#include "find_command.h"
#include "recipe_file.h"
#include "rule_option.h"
#include "suggest.h"
#include "values.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr char kHelpFlags[] = "-h,--help";

class WordParser {
 public:
  WordParser(CLI::App& app, std::vector<std::string> words) : app_(app), words_(std::move(words)) {}

  ParsedWords Parse() {
    const FoundCommand found = FindCommand(app_, words_);
    command_ = found.command;
    if (Asks(kHelpFlags)) return {.command = command_, .help = true};
    if (!found.unknown.empty()) {
      RefuseUnknownOptions();
      throw UsageError(NoSuchCommand(app_, found.unknown));
    }
    if (Asks("-V,--version")) return {.command = command_, .version = true};
    if (command_ == nullptr) {
      RefuseUnknownOptions();
      return {};
    }
    Assign(found.at);
    ReadRecipe();
    RunCallbacks();
    CheckTogether();
    return {.command = command_};
  }

 private:
  /// Whether one of the names is among the words, before a "--".
  [[nodiscard]] bool Asks(const std::string& flags) const {
    const std::vector<std::string> names = CLI::detail::split_names(flags);
    const auto end = std::ranges::find(words_, "--");
    return std::any_of(words_.begin(), end, [&](const std::string& word) {
      return std::ranges::find(names, word) != names.end();
    });
  }

  void RefuseUnknownOptions() {
    CLI::App* const root[] = {&app_};
    for (const std::string& word : words_) {
      if (!LooksLikeOption(word) || word == "--") continue;
      const OptionWord parts = TakeApart(word);
      if (FindOption(root, parts.name) == nullptr) {
        const std::vector<CLI::App*> all = CommandsOf(app_);
        if (FindOption(all, parts.name) != nullptr) continue;  // the missing command is worth more
        throw UsageError(NoSuchOption(parts, root));
      }
    }
  }

  void Assign(size_t command_at) {
    std::vector<std::string> positionals;
    bool options_end = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      if (i == command_at) continue;
      if (!options_end && words_[i] == "--") {
        options_end = true;
      } else if (options_end || !LooksLikeOption(words_[i])) {
        positionals.push_back(words_[i]);
      } else {
        i = AssignOption(i, command_at);
      }
    }
    AssignPositionals(positionals);
  }

  /// Takes the word `i` and those that are its values. The index of the last of them.
  size_t AssignOption(size_t i, size_t command_at) {
    CLI::App* const scope[] = {command_, &app_};
    OptionWord parts = TakeApart(words_[i]);
    const bool letters = words_[i][1] != '-';
    if (letters) RefuseLongName(words_[i]);
    for (size_t letter = 1;; ++letter) {
      if (letters) parts.name = words_[i].substr(letter, 1);
      CLI::Option* const option = FindOption(scope, parts.name);
      if (option == nullptr) throw UsageError(NoSuchOption(parts, scope));
      if (!IsSwitch(*option)) {
        if (letters && letter + 1 < words_[i].size()) parts.value = words_[i].substr(letter + 1);
        return AssignValues(*option, parts, i, command_at);
      }
      Add(*option, parts.shown, SwitchValue(*option, parts));
      if (!letters || letter + 1 == words_[i].size()) return i;
    }
  }

  /// One dash in front of a long name is a slip, and no letter with a value behind it.
  void RefuseLongName(const std::string& word) {
    CLI::App* const scope[] = {command_, &app_};
    const std::string shown = word.substr(0, word.find('='));
    if (shown.size() <= 3 || DidYouMean("-" + shown, LongNames(scope)).empty()) return;
    throw UsageError(NoSuchOption({shown, shown.substr(1), std::nullopt}, scope));
  }

  size_t AssignValues(CLI::Option& option, const OptionWord& parts, size_t i, size_t command_at) {
    if (parts.value.has_value()) {
      if (parts.value->empty()) throw UsageError(NeedsValue(option, parts.shown));
      Add(option, parts.shown, *parts.value);
      return i;
    }
    const size_t first = i;
    while (i + 1 < words_.size() && i + 1 != command_at &&
           (i == first ? !IsKnownOption(words_[i + 1]) : !LooksLikeOption(words_[i + 1]))) {
      if (words_[++i].empty()) throw UsageError(NeedsValue(option, parts.shown));
      Add(option, parts.shown, words_[i]);
      if (!IsList(option) || !option.get_allow_extra_args()) return i;
    }
    if (i == first) throw UsageError(NeedsValue(option, parts.shown));
    if (i > first + 1) greedy_ = parts.shown;
    return i;
  }

  void AssignPositionals(const std::vector<std::string>& words) {
    size_t next = 0;
    for (CLI::Option* option : command_->get_options()) {
      if (!option->get_positional() || !option->empty()) continue;
      for (; next < words.size(); ++next) {
        if (words[next].empty()) throw UsageError(NeedsValue(*option, NameOf(*option)));
        Add(*option, NameOf(*option), words[next]);
        if (!IsList(*option)) {
          ++next;
          break;
        }
      }
    }
    if (next == words.size()) return;
    throw UsageError(Quoted(words[next]) + " is one word too many for '" + Usage() +
                     "'; quote names that hold blanks");
  }

  void Add(CLI::Option& option, const std::string& shown, const std::string& value) {
    if (!IsSwitch(option) && !IsList(option) && !option.empty() &&
        option.results().front() != value) {
      throw UsageError(shown + " is given twice, as " + Quoted(option.results().front()) + " and " +
                       Quoted(value) + "; give one");
    }
    if (IsSwitch(option) || IsList(option) || option.empty()) option.add_result(value);
    origin_[&option] = shown;
  }

  static std::string SwitchValue(const CLI::Option& option, const OptionWord& parts) {
    const std::string value = Normalized(parts.value.value_or(""));
    if (parts.value.has_value() && value != "true" && value != "false") {
      throw UsageError(parts.shown + " is a switch and takes no value; leave out " +
                       Quoted("=" + *parts.value));
    }
    return option.get_flag_value(parts.name, value);
  }

  [[nodiscard]] bool IsKnownOption(const std::string& word) {
    CLI::App* const scope[] = {command_, &app_};
    if (!LooksLikeOption(word)) return false;
    return word == "--" || FindOption(scope, TakeApart(word).name) != nullptr;
  }

  static std::string NeedsValue(const CLI::Option& option, const std::string& shown) {
    return shown + " needs a value: " + TypeOf(option);
  }

  [[nodiscard]] std::string NoSuchOption(const OptionWord& parts,
                                         std::span<CLI::App* const> scope) {
    const std::string of =
        command_ == nullptr ? "" : " of '" + app_.get_name() + " " + command_->get_name() + "'";
    const std::string text = "there is no option " + Quoted(parts.shown) + of;
    std::vector<std::string> others;
    for (CLI::App* command : CommandsOf(app_)) {
      CLI::App* const one[] = {command};
      if (FindOption(one, parts.name) != nullptr && parts.shown.starts_with("--")) {
        others.push_back(command->get_name());
      }
    }
    if (!others.empty()) return text + "; it belongs to " + Joined(others);
    const auto names = LongNames(scope);
    // One dash in front of a long name is a common slip.
    const std::string wanted = parts.shown.starts_with("--") ? parts.shown : "-" + parts.shown;
    const std::string guess = parts.shown.size() > 2 ? DidYouMean(wanted, names) : "";
    return text + (guess.empty() ? "; see '" + HelpCommand() + "'" : guess);
  }

  [[nodiscard]] std::string HelpCommand() const {
    return command_ == nullptr ? "quantize help" : "quantize help " + command_->get_name();
  }

  /// "quantize run SRC [DST]".
  [[nodiscard]] std::string Usage() const {
    std::string text = app_.get_name() + " " + command_->get_name();
    for (const CLI::Option* option : command_->get_options()) {
      if (!option->get_positional()) continue;
      text += option->get_required() ? " " + NameOf(*option) : " [" + NameOf(*option) + "]";
    }
    return text;
  }

  // ---- Recipe files -----------------------------------------------------------------------------

  void ReadRecipe() {
    CLI::App* const root[] = {&app_};
    const CLI::Option* const config = FindOption(root, "config");
    if (config == nullptr || config->empty()) return;
    for (const RecipeEntry& entry : ReadRecipeFile(config->results().front())) Take(entry);
  }

  void Take(const RecipeEntry& entry) {
    CLI::App* const own[] = {command_, &app_};
    CLI::App* const recipes = app_.get_subcommand(kRecipeCommand);
    const std::string command = entry.section.empty() ? kRecipeCommand : entry.section;
    const std::string name = Normalized(entry.key);
    CLI::App* const readers[] = {recipes, command_, &app_};
    const CLI::Option* const known = name.size() < 2 ? nullptr : FindOption(readers, name);
    if (known == nullptr || !IsRecipeKey(*known)) {
      std::vector<std::string> keys;
      for (const std::string& key : LongNames(readers)) keys.push_back(key.substr(2));
      const std::string guess = DidYouMean(name, keys);
      throw UsageError(entry.where + ": there is no key " + Quoted(entry.key) +
                       (guess.empty() ? "; see 'quantize help --format recipe'" : guess));
    }
    CLI::Option* const option = FindOption(own, name);
    if (!entry.section.empty() && command != command_->get_name()) return;
    if (option == nullptr || Excluded(*option)) return;
    // The rules of the command line stand in front of those of the file.
    if (name == kRuleKey) return TakeRules(*option, entry);
    if (!entry.tables.empty()) {
      throw UsageError(entry.where + ": " + Quoted(entry.key) + " is no list of tables");
    }
    if (!option->empty()) return;
    if (!entry.is_list && entry.values.front().empty() && !IsSwitch(*option)) {
      throw UsageError(entry.where + ": " + NeedsValue(*option, entry.key));
    }
    if (entry.is_list && !IsList(*option)) {
      throw UsageError(entry.where + ": " + Quoted(entry.key) + " takes one value, not a list");
    }
    for (const std::string& value : entry.values) AddEntry(*option, entry, name, value);
  }

  void TakeRules(CLI::Option& option, const RecipeEntry& entry) {
    for (const RecipeTable& table : entry.tables) {
      option.add_result(WithPlace(RuleText(table), table.where));
    }
    for (const std::string& text : entry.values) option.add_result(WithPlace(text, entry.where));
    origin_[&option] = entry.where + ": " + entry.key;
  }

  void AddEntry(CLI::Option& option, const RecipeEntry& entry, const std::string& name,
                const std::string& value) {
    const bool truth = entry.kind == RecipeEntry::Kind::kBool;
    if (IsSwitch(option) && !truth && value != "true" && value != "false") {
      throw UsageError(entry.where + ": " + Quoted(entry.key) + " is true or false, not " +
                       Quoted(value));
    }
    if (!IsSwitch(option) && truth) {
      throw UsageError(entry.where + ": " + NeedsValue(option, Quoted(entry.key)) + ", not " +
                       value);
    }
    option.add_result(IsSwitch(option) ? option.get_flag_value(name, value) : value);
    origin_[&option] = entry.where + ": " + entry.key;
  }

  /// Whether an option on the command line stands in place of this one.
  [[nodiscard]] bool Excluded(const CLI::Option& option) const {
    const auto excluded = option.get_excludes();
    return std::ranges::any_of(excluded, [&](const CLI::Option* other) { return !other->empty(); });
  }

  // ---- Checks -----------------------------------------------------------------------------------

  void RunCallbacks() {
    for (CLI::App* app : {command_, &app_}) {
      for (CLI::Option* option : app->get_options()) {
        if (option->empty()) continue;
        try {
          option->run_callback();
        } catch (const BadValue& error) {
          throw UsageError(origin_[option] + ": " + error.what());
        } catch (const CLI::ParseError&) {
          throw UsageError(origin_[option] + ": " + Quoted(Joined(option->results())) + " is not " +
                           TypeOf(*option) + "; see '" + HelpCommand() + "'");
        }
      }
    }
  }

  void CheckTogether() const {
    for (const CLI::Option* option : command_->get_options()) {
      if (option->empty()) {
        if (option->get_required()) throw UsageError(Missing(*option));
        continue;
      }
      for (const CLI::Option* other : option->get_excludes()) {
        if (other->empty()) continue;
        throw UsageError(origin_.at(option) + " and " + origin_.at(other) +
                         " exclude each other; give one");
      }
      for (const CLI::Option* other : option->get_needs()) {
        if (!other->empty()) continue;
        throw UsageError(origin_.at(option) + " means nothing without " + NameOf(*other));
      }
    }
  }

  [[nodiscard]] std::string Missing(const CLI::Option& option) const {
    std::string text = NameOf(option) + " is missing (" + option.get_description() + ")";
    if (option.get_positional() && !greedy_.empty()) {
      return text + "; " + greedy_ + " takes all words behind it: write it last";
    }
    return text + "; see '" + HelpCommand() + "'";
  }

  CLI::App& app_;
  std::vector<std::string> words_;
  CLI::App* command_ = nullptr;
  std::map<const CLI::Option*, std::string> origin_;  ///< how messages call what was given
  std::string greedy_;                                ///< a list that took several words
};

}  // namespace

ParsedWords ParseWords(CLI::App& app, const std::vector<std::string>& words) {
  return WordParser(app, words).Parse();
}

}  // namespace ptq
