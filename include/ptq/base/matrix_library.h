// What the library of dense mathematics (OpenBLAS) asks of the system.
#pragma once

#include <cstdint>

namespace ptq {

/// Address space that the library takes for each thread that multiplies at a time. Hardly any of it
/// becomes memory (MatrixLibraryBytes).
inline constexpr int64_t kMatrixLibraryReserve = int64_t{129} << 20;

/// Has the library take what `threads` threads at a time need, as it keeps what it once has. It
/// would wait forever for what a limit denies: throws ResourceError instead.
void ReserveMatrixLibrary(int64_t threads);

/// For the first line of main. Before it, the library has started threads of its own, which wait
/// for their addresses in the same way, and the end of the process for them. Where there is a
/// limit, the program is loaded once more without these threads, which nothing here uses.
void LoadWithoutIdleThreads(char** argv);

}  // namespace ptq
