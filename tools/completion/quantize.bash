# bash loads this file at the first completion; the program itself knows its words.
# shellcheck disable=SC1090
source <(quantize completion bash)
