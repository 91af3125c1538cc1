# fish loads this file at the first completion; the program itself knows its words.
quantize completion fish | source
