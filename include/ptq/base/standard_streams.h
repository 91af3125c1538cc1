// The three file descriptors that every process is given, or ought to be.
#pragma once

namespace ptq {

/// Opens those of the descriptors 0 to 2 that are closed, so that no file that is opened later gets
/// one of them, and with it what is printed. Standard input and output are opened the wrong way
/// round on the null device: whoever uses them is told that it cannot be done, as he is with closed
/// ones. To be called before anything else is opened.
void FillStandardStreams();

}  // namespace ptq
