#!/usr/bin/env python3
"""Shows that check_layers.py finds each kind of violation, and accepts what is allowed."""

import pathlib
import tempfile
import unittest
from unittest import mock

import check_layers

ORDER = ["base", "model", "ops", "cli"]


class CheckLayers(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name).resolve()
        patch = mock.patch.object(check_layers, "PROTOBUF_FILES", {"src/cli/version.cc": "a reason"})
        patch.start()
        self.addCleanup(patch.stop)
        self.write("include/ptq/base/error.h", "#pragma once\n#include <string>\n")
        self.write("include/ptq/model/graph.h", '#include <onnx/onnx_pb.h>\n#include "ptq/base/error.h"')
        self.write("include/ptq/ops/kernel.h", '#include "ptq/base/error.h"')
        self.write("src/ops/kernel.cc", '#include "ptq/ops/kernel.h"\n#include "core.h"')
        self.write("src/ops/core.h", "")
        self.write("src/cli/version.cc", "#include <onnx/onnx_pb.h>")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def problems(self):
        return check_layers.check(self.root, ORDER)[1]

    def assert_one_problem(self, *words):
        problems = self.problems()
        self.assertEqual(len(problems), 1, problems)
        for word in words:
            self.assertIn(word, problems[0])

    def test_accepts_a_tree_in_order(self):
        self.assertEqual(check_layers.check(self.root, ORDER), (6, []))

    def test_finds_a_later_folder_in_a_public_header(self):
        self.write("include/ptq/base/file.h", '#include "ptq/ops/kernel.h"')
        self.assert_one_problem("include/ptq/base/file.h", "'base' comes before 'ops'")

    def test_finds_a_later_folder_in_a_source_file_and_in_odd_spacing(self):
        self.write("src/model/graph.cc", '  #  include   "ptq/ops/kernel.h"')
        self.assert_one_problem("src/model/graph.cc", "'model' comes before 'ops'")

    def test_finds_a_later_folder_in_angle_brackets(self):
        self.write("src/model/graph.cc", "#include <ptq/ops/kernel.h>")
        self.assert_one_problem("'model' comes before 'ops'")

    def test_finds_an_unknown_folder(self):
        self.write("src/extra/x.cc", "")
        self.assert_one_problem("'extra' is not in PTQ_FOLDERS")

    def test_finds_a_private_header_of_another_folder(self):
        self.write("src/cli/command.cc", '#include "../ops/core.h"')
        self.assert_one_problem("not in src/cli")

    def test_finds_a_private_header_in_a_public_one(self):
        self.write("include/ptq/ops/x.h", '#include "core.h"')
        self.assert_one_problem("public header includes the private")

    def test_finds_protobuf_types_outside_the_allowed_places(self):
        self.write("src/ops/loop.cc", "#include <onnx/onnx_pb.h>")
        self.assert_one_problem("src/ops/loop.cc", "may")

    def test_finds_the_names_of_protobuf_types_but_not_in_comments(self):
        self.write("src/ops/loop.cc", "// of an onnx::NodeProto\n")
        self.assertEqual(self.problems(), [])
        self.write("src/ops/loop.cc", "void Run(const onnx::NodeProto& node);")
        self.assert_one_problem("src/ops/loop.cc", "names onnx::NodeProto", "may")
        self.write("src/ops/loop.cc", "google::protobuf::Message* message;")
        self.assert_one_problem("names google::protobuf")

    def test_lets_listed_files_name_protobuf_types(self):
        self.write("src/cli/version.cc", "google::protobuf::internal::VersionString(1);")
        self.assertEqual(self.problems(), [])

    def test_finds_a_header_that_does_not_exist(self):
        self.write("src/ops/loop.cc", '#include "ptq/base/gone.h"')
        self.assert_one_problem("does not exist")

    def test_finds_a_file_outside_the_folders(self):
        self.write("src/x.cc", "")
        self.assert_one_problem("lies in no folder")

    def test_finds_an_exception_that_is_no_longer_needed(self):
        (self.root / "src/cli/version.cc").unlink()
        self.assert_one_problem("does not exist")


if __name__ == "__main__":
    unittest.main()
