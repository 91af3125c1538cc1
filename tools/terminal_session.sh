#!/bin/bash
# Records a session on a terminal of 80 and of 120 columns as text: a run, Ctrl-C, the same command
# again, a misspelt option. Prints docs/terminal.md; needs tmux and a built program.
# usage: tools/terminal_session.sh [BUILD_DIR] > docs/terminal.md
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${1:-$repository/build/release}")
work=$(mktemp -d)
socket=quantize-session-$$
tm() { tmux -L "$socket" "$@"; }
trap 'tm kill-server 2>/dev/null || true; rm -rf "$work"' EXIT

screen() { tm capture-pane -p -S - -t session; }

# wait_for COUNT PATTERN: until so many lines of the screen match, at most five minutes.
wait_for() {
  for _ in $(seq 1500); do
    if [ "$(screen | grep -c -- "$2")" -ge "$1" ]; then return; fi
    sleep 0.2
  done
  echo "the terminal never showed '$2':" >&2
  screen >&2
  return 1
}

type_line() { tm send-keys -t session -l "$1" && tm send-keys -t session Enter; }

record() {
  local columns=$1
  rm -rf "$work/demo" && mkdir "$work/demo"
  cp -r "$repository/data/demo" "$work/demo/model"
  tm new-session -d -s session -x "$columns" -y 24 -c "$work/demo" \
    env PATH="$build/tools/quantize:$PATH" PS1='$ ' TERM=screen-256color bash --norc --noprofile
  tm set-option -t session history-limit 5000 > /dev/null
  local run="quantize run model out --method best --calib model/calibration.txt"
  wait_for 1 '^\$'
  type_line "$run"
  wait_for 1 'quantizing .*[3-9]/'  # some segments are done, the bar is there
  screen | grep . | tail -n 1 > "$work/bar"
  tm send-keys -t session C-c
  wait_for 2 '^\$'
  type_line "$run"
  wait_for 1 'print(\[(i.name'
  wait_for 3 '^\$'
  type_line "quantize run model out2 --metod best"
  wait_for 4 '^\$'
  type_line 'echo "status $?"'
  wait_for 5 '^\$'
  echo "## $columns columns"
  echo
  echo "While the first run is at work, its last line is:"
  echo
  echo '```text'
  cat "$work/bar"
  echo '```'
  echo
  echo "Everything on the terminal at the end:"
  echo
  echo '```text'
  screen | sed -e 's/[[:space:]]*$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' | sed '$d'
  echo '```'
  tm kill-session -t session
}

cat <<'TEXT'
# A session on a terminal

Recorded by `tools/terminal_session.sh`, with the demo model: a run that is interrupted with Ctrl-C,
the same command again, which goes on where the first one stopped, and a misspelt option.

TEXT
record 80
echo
record 120
