# Completion of commands, options and files for bash. Reads the program's own help, so that it knows
# what this version knows.

_quantize() {
  local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} commands command="" word
  commands=$("$program" --help 2>/dev/null |
    awk '/^Subcommands:/ {list = 1; next} list && /^  [a-z]/ {print $1}')
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if grep -qx -- "$word" <<<"$commands"; then
      command=$word
      break
    fi
  done
  if [[ $current == -* ]]; then
    # shellcheck disable=SC2086
    mapfile -t COMPREPLY < <(compgen -W \
      "$("$program" $command --help 2>/dev/null | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u)" \
      -- "$current")
  elif [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}

complete -o filenames -F _quantize quantize
