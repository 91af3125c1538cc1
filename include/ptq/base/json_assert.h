// What the JSON library does where it would only assert; every source is compiled with it in front.
#pragma once

namespace ptq {

/// An object lacks a member, or an array an element, that was taken to be there: the file's fault.
/// Throws InputError.
[[noreturn]] void RefuseJsonAccess();

}  // namespace ptq

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the library's own hook
#define JSON_ASSERT(holds) ((holds) ? void() : ptq::RefuseJsonAccess())
