#!/bin/bash
# Records what a person sees: a run, Ctrl-C, the same command again, a wrong word. Writes docs/terminal.md.
#   tools/terminal_session.sh [QUANTIZE]
# Needs tmux. The run is on one thread and takes some seconds, so that there is something to interrupt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(realpath "${1:-build/release/tools/quantize/quantize}")
command -v tmux >/dev/null || { echo "tmux is missing: apt-get install tmux"; exit 1; }

work=$(mktemp -d)
socket=$work/socket
cleanup() { tmux -S "$socket" kill-server 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
mkdir "$work/bin"
ln -s "$program" "$work/bin/quantize"
ln -s "$PWD/data/demo" "$work/demo"

screen() { tmux -S "$socket" capture-pane -p -t session -S -200 | sed -e 's/ *$//' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'; }
keys() { tmux -S "$socket" send-keys -t session "$@"; }
await() {  # PATTERN: waits until the screen holds it
  for _ in $(seq 600); do
    if screen | grep -qE "$1"; then return 0; fi
    sleep 0.1
  done
  echo "terminal_session.sh: nothing like '$1' appeared:" >&2
  screen >&2
  return 1
}
show() { printf '```\n'; screen; printf '```\n\n'; keys clear Enter; tmux -S "$socket" clear-history -t session; }

record() {  # COLUMNS
  local run="quantize run demo out --method best --calib demo/calibration.txt --threads 1 --checkpoint-seconds 0"
  tmux -S "$socket" -f /dev/null new-session -d -s session -x "$1" -y 50 -c "$work" \
    "env PS1='$ ' PATH=$work/bin:$PATH HISTFILE= TERM=screen-256color bash --norc --noprofile"
  await '^\$'
  printf '## %s columns\n\nA run, while it works:\n\n' "$1"
  keys "$run" Enter
  await '[1-9][0-9]? %'
  printf '```\n'; screen; printf '```\n\nCtrl-C:\n\n'
  keys C-c
  await 'goes on from there'
  sleep 0.5
  show
  printf 'The same command again:\n\n'
  keys "$run" Enter
  await 'verification .*|InferenceSession|session'
  sleep 1.5
  show
  printf 'And once more, and with a wrong word:\n\n'
  keys "$run" Enter
  await 'up to date'
  keys "quantize run demo other --methd awq" Enter
  await 'did you mean'
  keys "quantize run demo other --method awqq" Enter
  await "awqq"
  sleep 0.5
  show
  tmux -S "$socket" kill-session -t session
  rm -rf "$work/out"
}

{
  printf '# What a terminal shows\n\nWritten by `tools/terminal_session.sh`, which types the commands into terminals of 80 and 120 columns.\n\n'
  record 80
  record 120
} >"$work/page.md"
cp "$work/page.md" docs/terminal.md
