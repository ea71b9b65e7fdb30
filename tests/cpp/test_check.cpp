// SPDX-License-Identifier: MIT
// ut_check: files as Python's hashlib sealed them pass; a flipped bit anywhere, in a weight, between tensors or in a proof, does not,
// and a cut or grown file does not.
//     test_check FOLDER PROVEN.tow
#include <vector>

#include "blob.h"
#include "check.h"

namespace {

using namespace ut_test;

constexpr size_t kHashOffset = 32, kHeader = 64, kProofHead = 64, kProofVersionOffset = 8, kProofDigest = 32;
constexpr char kProofMagic[] = "\x89TOWPF\r\n";

ut_status check(const Bytes& blob, ut_error* err) {
  memset(err, 0xa5, sizeof *err);
  const ut_status s = ut_check(blob.data(), blob.size(), err);
  CHECK_INT(err->status, s);
  CHECK((err->detail[0] == 0) == (s == UT_OK), "status %d says \"%s\"", s, err->detail);
  return s;
}

// Where the model ends; `proof` becomes the size of what is behind it.
size_t end_of_model(const Bytes& whole, size_t* proof) {
  for (size_t at = kHeader; at + kProofHead <= whole.size(); at += UT_ALIGN)
    if (memcmp(whole.data() + at, kProofMagic, 8) == 0) {
      *proof = whole.size() - at;
      return at;
    }
  *proof = 0;
  return whole.size();
}

void test_file(const std::string& path, bool proven) {
  const char* name = path.c_str();
  const Bytes whole = read_file(path);
  ut_error err;
  CHECK(check(whole, &err) == UT_OK, "%s is refused: %s", name, err.detail);
  size_t proof;
  const size_t metadata = kHeader + u32_at(whole, 24), model = end_of_model(whole, &proof);
  CHECK((proof != 0) == proven, "%s: a proof of %zu bytes", name, proof);
  const size_t step = whole.size() < 40000 ? 1 : 37;
  for (size_t at = 0; at < whole.size(); at += at < metadata || at >= model ? 1 : step) {
    Bytes blob = whole;
    blob.data()[at] = static_cast<uint8_t>(blob.data()[at] ^ (1 << at % 8));
    const ut_status s = check(blob, &err);
    CHECK(s != UT_OK, "%s: bit %zu of byte %zu flipped and nobody noticed", name, at % 8, at);
    if (at < metadata) continue;
    if (at < model + 8) {  // of a proof without its magic, all is weights that no tensor has
      CHECK(s == UT_E_FORMAT && err.offset == kHashOffset, "%s, byte %zu: status %d at byte %u", name, at, s, err.offset);
    } else if (at < model + kProofVersionOffset + 4) {
      CHECK(s == UT_E_VERSION && err.offset == model + kProofVersionOffset, "%s, byte %zu: status %d at %u", name, at, s, err.offset);
    } else {
      CHECK(s == UT_E_FORMAT && err.offset == model + kProofDigest, "%s, byte %zu: status %d at byte %u", name, at, s, err.offset);
    }
  }
  // Metadata that was changed with its checksum, as a tool may do it.
  Bytes sealed = whole;
  sealed.data()[metadata - 1] ^= 1;  // the last byte of the text pool, or a zero behind it
  reseal(sealed);
  CHECK(check(sealed, &err) == UT_E_FORMAT, "%s: another text with its own checksum: status %d", name, err.status);
  // Cut and grown, with a header that agrees.
  for (const size_t n : {whole.size() - 1, whole.size() - 64, whole.size() + 1, whole.size() + 64, model + 64 - 1, size_t{63}, size_t{0}}) {
    Bytes other(n);
    memset(other.data(), 0, n);
    memcpy(other.data(), whole.data(), n < whole.size() ? n : whole.size());
    if (n >= kHeader) set_u32(other, 16, static_cast<uint32_t>(n));
    reseal(other);
    CHECK(check(other, &err) == UT_E_FORMAT, "%s of %zu bytes in place of %zu: status %d", name, n, whole.size(), err.status);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  for (const char* name : {"rnn", "lstm", "int4", "int8", "smoothed_int16", "fixed8", "sparse", "text", "every_op", "rated", "whole"})
    test_file(folder + "/" + name + ".tow", false);
  if (argc > 2) test_file(argv[2], true);
  ut_error err;
  CHECK_INT(ut_check(nullptr, 0, &err), UT_E_ARGUMENT);
  const Bytes whole = read_file(folder + "/rnn.tow"), shifted(whole.size() + 4);
  memcpy(shifted.data() + 4, whole.data(), whole.size());
  CHECK_INT(ut_check(shifted.data() + 4, whole.size(), &err), UT_E_ALIGN);
  CHECK_INT(ut_check(whole.data(), whole.size(), nullptr), UT_OK);
  Bytes newer = whole;
  newer.data()[8] = 99;
  CHECK_INT(ut_check(newer.data(), newer.size(), &err), UT_E_VERSION);
  return report("test_check");
}
