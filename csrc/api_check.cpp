// SPDX-License-Identifier: MIT
// The C entry point that compares every byte of a file with its hashes. A file of its own: whoever does not call it does not
// link it.
#include "format.h"

using namespace undertow;

namespace {

constexpr size_t kHashOffset = 32, kHeaderBytes = 64, kDigestBytes = 16;
constexpr uint8_t kProofMagic[8] = {0x89, 'T', 'O', 'W', 'P', 'F', '\r', '\n'};
constexpr uint32_t kProofVersion = 1;
constexpr size_t kProofHead = 64, kProofVersionOffset = 8, kProofDigest = 32;

// BLAKE2b without a key (RFC 7693).
class Blake2b {
 public:
  explicit Blake2b(uint32_t digest_bytes) {
    UT_COPY(h_, kStart, sizeof h_);
    h_[0] ^= 0x01010000u ^ digest_bytes;
  }

  void add(const uint8_t* p, size_t n) {
    while (n != 0) {
      if (used_ == sizeof block_) compress(0);
      const size_t free = sizeof block_ - used_, take = n < free ? n : free;
      memcpy(block_ + used_, p, take);
      used_ += take, p += take, n -= take;
    }
  }

  // Whether the digest begins with these kDigestBytes. Nothing can be added afterwards.
  bool begins_with(const uint8_t* digest) {
    memset(block_ + used_, 0, sizeof block_ - used_);
    compress(~uint64_t{0});
    return memcmp(h_, digest, kDigestBytes) == 0;
  }

 private:
  static constexpr uint64_t kStart[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                                         0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
  // Which words of a block a round takes, four bits each, the first one lowest.
  static constexpr uint64_t kOrder[10] = {0xfedcba9876543210, 0x357b20c16df984ae, 0x491763eadf250c8b, 0x8f04a562ebcd1397,
                                          0xd386cb1efa427509, 0x91ef57d438b0a6c2, 0xb8293670a4def15c, 0xa2684f05931ce7bd,
                                          0x5a417d2c803b9ef6, 0x0dc3e9bf5167482a};

  static uint64_t rotated(uint64_t x, int right) { return x >> right | x << (64 - right); }

  void compress(uint64_t last) {
    bytes_ += used_;
    used_ = 0;
    uint64_t m[16], v[16];
    UT_COPY(m, block_, sizeof m);
    UT_COPY(v, h_, sizeof h_);
    UT_COPY(v + 8, kStart, sizeof kStart);
    v[12] ^= bytes_;
    v[14] ^= last;
    for (int round = 0; round < 12; ++round) {
      uint64_t order = kOrder[round % 10];
      const auto next = [&] {
        const uint64_t word = m[order & 15];
        order >>= 4;
        return word;
      };
      const auto mix = [&](uint64_t& a, uint64_t& b, uint64_t& c, uint64_t& d) {
        a += b + next(), d = rotated(d ^ a, 32), c += d, b = rotated(b ^ c, 24);
        a += b + next(), d = rotated(d ^ a, 16), c += d, b = rotated(b ^ c, 63);
      };
      for (int i = 0; i < 4; ++i) mix(v[i], v[4 + i], v[8 + i], v[12 + i]);
      for (int i = 0; i < 4; ++i) mix(v[i], v[4 + (i + 1) % 4], v[8 + (i + 2) % 4], v[12 + (i + 3) % 4]);
    }
    for (int i = 0; i < 8; ++i) h_[i] ^= v[i] ^ v[8 + i];
  }

  uint64_t h_[8], bytes_ = 0;
  uint8_t block_[128] = {};
  size_t used_ = 0;
};

// Where a proof may begin: behind the last tensor, or the metadata where there is none, at a multiple of UT_ALIGN.
size_t end_of_weights(const File& file) {
  uint64_t end = file.metadata_bytes();
  if (file.n_tensors != 0) {
    const TensorView last = file.tensor(file.n_tensors - 1);
    end = static_cast<uint64_t>(static_cast<const uint8_t*>(last.data) - file.blob) + last.n * element_bytes(last.dtype);
  }
  end = (end + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
  return static_cast<size_t>(end < file.n_bytes ? end : file.n_bytes);
}

ut_status check_proof(const uint8_t* hash, const uint8_t* proof, size_t at, size_t n, ut_error* err) {
  if (n < kProofHead) return Message(err, UT_E_FORMAT, at) << "its proof is cut short: " << uint64_t{n} << " bytes, expected at least 64";
  uint32_t version;
  UT_COPY(&version, proof + kProofVersionOffset, sizeof version);
  if (version != kProofVersion)
    return Message(err, UT_E_VERSION, at + kProofVersionOffset) << "its proof is of version " << version << ", this library reads version 1";
  uint8_t rest = 0;
  for (size_t i = kProofDigest + kDigestBytes; i < kProofHead; ++i) rest = static_cast<uint8_t>(rest | proof[i]);
  Blake2b state(kDigestBytes);
  state.add(hash, kDigestBytes);
  state.add(proof, kProofDigest);
  state.add(proof + kProofHead, n - kProofHead);
  if (rest != 0 || !state.begins_with(proof + kProofDigest))
    return Message(err, UT_E_FORMAT, at + kProofDigest) << "its proof is damaged, or of another model: copy or convert the file again";
  return UT_OK;
}

}  // namespace

ut_status ut_check(const void* blob, size_t n, ut_error* err) {
  if (err) *err = ut_error{};
  size_t metadata = 0;
  File file;
  if (const ut_status s = File::metadata_size(blob, n, &metadata, err)) return s;
  if (const ut_status s = File::open(blob, blob, n, &file, err)) return s;
  const uint8_t* bytes = static_cast<const uint8_t*>(blob);
  const size_t end = end_of_weights(file);
  const bool has_proof = n - end >= sizeof kProofMagic && memcmp(bytes + end, kProofMagic, sizeof kProofMagic) == 0;
  Blake2b state(64);
  state.add(bytes + kHeaderBytes, (has_proof ? end : n) - kHeaderBytes);
  if (!state.begins_with(file.hash))
    return Message(err, UT_E_FORMAT, kHashOffset) << "the file is damaged: its metadata and weights have another hash than its header "
                                                     "says; copy or convert it again";
  return has_proof ? check_proof(file.hash, bytes + end, end, n - end, err) : UT_OK;
}
