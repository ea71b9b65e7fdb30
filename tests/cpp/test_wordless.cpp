// SPDX-License-Identifier: MIT
// What errors of a library without sentences (UT_TEXTS=0) say: status, byte, line of the source, and which node.
//     test_wordless FOLDER
#include "blob.h"
#include "check.h"

namespace {

using namespace ut_test;

ut_error refused(const Bytes& blob, size_t n, ut_status expected) {
  ut_info info;
  ut_error err = {};
  CHECK_INT(ut_probe(blob.data(), n, nullptr, &info, &err), expected);
  CHECK_INT(err.status, expected);
  CHECK(strncmp(err.detail, "line ", 5) == 0 && strtoul(err.detail + 5, nullptr, 10) > 0, "\"%s\" names no line", err.detail);
  CHECK(strstr(err.detail, "expected") == nullptr, "\"%s\" is a sentence", err.detail);
  return err;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = std::string(argc > 1 ? argv[1] : ".") + "/rnn.tow";
  const Bytes sound = read_file(path);
  ut_info info;
  ut_error err = {};
  CHECK_INT(ut_probe(sound.data(), sound.size(), nullptr, &info, &err), UT_OK);
  CHECK(err.detail[0] == 0, "nothing is wrong, and still it says \"%s\"", err.detail);
  CHECK_INT(ut_probe(sound.data(), sound.size(), "avx1024", &info, &err), UT_E_ISA);
  CHECK(strstr(err.detail, " \"avx1024\" scalar") != nullptr, "expected a name and what there is, got \"%s\"", err.detail);
  refused(sound, sound.size() - 64, UT_E_FORMAT);

  const Bytes version = read_file(path);
  version.data()[8] = 99;
  CHECK_INT(refused(version, version.size(), UT_E_VERSION).offset, 8);

  // A param that no activation has, in the first node: an rnn, whose name is in the file.
  const Bytes lie = read_file(path);
  uint32_t* words = reinterpret_cast<uint32_t*>(lie.data() + 64);
  const uint32_t* node = words + 12 + 6 * words[0] + 13 * words[1] + 12 * words[2] + 3 * words[4];
  uint32_t* of_nodes = const_cast<uint32_t*>(node) + 9 * words[5];
  of_nodes[node[8] + node[3] + node[5] + node[6]] = 1000;
  reseal(lie);
  const ut_error of_node = refused(lie, lie.size(), UT_E_FORMAT);
  CHECK(strstr(of_node.detail, ": rnn \"") != nullptr, "\"%s\" does not say which node", of_node.detail);
  CHECK(of_node.offset > 64, "byte %u is not where the node is", of_node.offset);
  return report("test_wordless");
}
