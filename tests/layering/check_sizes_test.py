#!/usr/bin/env python3
"""Shows that check_sizes.py finds what is too large, and where each function begins and ends."""

import pathlib
import tempfile
import unittest

import check_sizes

KINDS = r'''// A comment with a brace {
#define MACRO(x) \
  { x
namespace ptq {
namespace {
constexpr char kText[] = "{ not a scope";
const std::set<std::string> kSet = {"a",
                                    "b"};
struct Point {
  int x{0}, y = 0;
  [[nodiscard]] int Sum() const {
    return x + y;
  }
  bool operator==(const Point& other) const = default;
  int operator()(int i) const {
    return i;
  }
};
enum class Kind { kA, kB };
template <class T, int N = (3 > 2)>
std::vector<T> Make(std::span<const T> from, const std::map<T, int>& by = {{1, 2}}) {
  const auto inner = [&](int i) {
    return R"x(} } })x";
  };
  if (from.empty()) {
    return {};
  }
  return '{' == '"' ? 1'000 : 0;
}
}  // namespace
Widget::Widget(int a)
    : a_{a},
      b_(std::max(a, 1)),
      c_{} {
  Use({1, 2});
}
Widget::~Widget() {}
Widget& Widget::operator=(const Widget& other) {
  return *this;
}
auto Trailing() -> std::function<int(int)> {
  struct Local {
    int Get() { return 1; }
  };
  return {};
}
struct Later : Base<int(int)> {
  void Inline() {}
};
const auto kLambda = [](int i) {
  return i;
};
extern "C" {
void c_function(struct Point* point) {
  point->x = 0;
}
}
}  // namespace ptq
'''


class Functions(unittest.TestCase):
    def test_finds_each_outermost_definition_from_its_first_to_its_last_line(self):
        lines = KINDS.splitlines()
        found = [
            (name, lines[first - 1].strip()[:14], lines[last - 1].strip(), last - first + 1)
            for name, first, last in check_sizes.functions(KINDS)
        ]
        self.assertEqual(
            found,
            [
                ("Sum", "[[nodiscard]] ", "}", 3),
                ("operator()", "int operator()", "}", 3),
                ("Make", "template <clas", "}", 10),
                ("Widget::Widget", "Widget::Widget", "}", 6),
                ("Widget::~Widget", "Widget::~Widge", "Widget::~Widget() {}", 1),
                ("Widget::operator=", "Widget& Widget", "}", 3),
                ("Trailing", "auto Trailing(", "}", 6),
                ("Inline", "void Inline() ", "void Inline() {}", 1),
                ("c_function", "void c_functio", "}", 3),
            ],
        )

    def test_counts_no_comment_in_front(self):
        text = "int x;\n\n/// A comment\n/// of two lines.\nvoid F() {\n}\n"
        self.assertEqual(list(check_sizes.functions(text)), [("F", 5, 6)])


class CheckSizes(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name).resolve()
        self.write("include/ptq/base/error.h", "#pragma once\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def assert_problems(self, *problems, known=()):
        self.assertEqual(check_sizes.check(self.root, set(known))[1], list(problems))

    def test_accepts_what_is_as_large_as_it_may_be(self):
        self.write("src/base/file.cc", "\n" * 400)
        self.write("src/base/table.inc", "\n" * 4000)
        self.write("src/base/function.cc", "void F() {\n" + "\n" * 58 + "}\n")
        for i in range(27):
            self.write(f"src/base/{i}.cc", "")
        self.write("src/base/CMakeLists.txt", "")
        self.write("src/base/more/file.cc", "")
        self.assert_problems()
        self.assertEqual(check_sizes.check(self.root, set())[0], 31)

    def test_finds_a_long_file(self):
        self.write("include/ptq/base/file.h", "\n" * 401)
        self.assert_problems("include/ptq/base/file.h: 401 lines, more than 400")

    def test_finds_a_long_function(self):
        self.write("src/base/file.cc", "int x;\nvoid A::F() const {\n" + "\n" * 59 + "}\n")
        self.assert_problems("src/base/file.cc:2: A::F has 61 lines, more than 60")

    def test_finds_a_full_folder(self):
        for i in range(31):
            self.write(f"src/base/{i}.inc", "")
        self.assert_problems("src/base: 31 files, more than 30")

    def test_lets_known_violations_pass_while_they_are_some(self):
        self.write("src/base/file.cc", "void F() {\n" + "\n" * 500 + "}\n")
        known = ["src/base/file.cc", "src/base/file.cc:F"]
        self.assert_problems(known=known)
        self.write("src/base/file.cc", "void F() {\n" + "\n" * 100 + "}\n")
        self.assert_problems("src/base/file.cc: known, but violates nothing", known=known)


if __name__ == "__main__":
    unittest.main()
