// SPDX-License-Identifier: MIT
// The plugin of csrc/examples/lv2 as a host sees it: the model's bits, gain and bypass without a jump, the latency that it
// reports and keeps, no subnormal number in what it gives, no request for memory and no system call in run().
//     test_lv2 BUNDLE MODEL.tow     MODEL.tow is the one inside
#include <dlfcn.h>
#include <lv2/core/lv2.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "numbers.h"
#include "traps.h"
#include "undertow.hpp"

namespace {

using namespace ut_test;

constexpr double kRate = 48000;
constexpr uint32_t kBlock = 100;  // no multiple of what the plugin works on at a time

struct Plugin {
  const LV2_Descriptor* descriptor;
  LV2_Handle handle;
  float gain = 0, enabled = 1, latency = -1;

  Plugin(const LV2_Descriptor* d, const std::string& bundle) : descriptor(d) {
    const LV2_Feature* none[] = {nullptr};
    handle = d->instantiate(d, kRate, bundle.c_str(), none);
    if (!handle) exit(2);  // it has said why
    d->connect_port(handle, 2, &gain);
    d->connect_port(handle, 3, &enabled);
    d->connect_port(handle, 4, &latency);
    d->activate(handle);
  }
  ~Plugin() { descriptor->cleanup(handle); }

  void run(const float* in, float* out, uint32_t n) {
    descriptor->connect_port(handle, 0, const_cast<float*>(in));
    descriptor->connect_port(handle, 1, out);
    descriptor->run(handle, n);
  }
  std::vector<float> run(const std::vector<float>& in) {
    std::vector<float> out(in.size(), 7.0f);
    for (size_t at = 0; at < in.size(); at += kBlock)
      run(&in[at], &out[at], static_cast<uint32_t>(std::min<size_t>(kBlock, in.size() - at)));
    return out;
  }
};

std::vector<float> tone(size_t n) {
  std::vector<float> x(n);
  for (size_t t = 0; t < n; ++t) x[t] = 0.5f * static_cast<float>(std::sin(0.03 * static_cast<double>(t)));
  return x;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string bundle = std::string(argv[1]) + "/";
  void* library = dlopen((bundle + "amp.so").c_str(), RTLD_NOW);
  CHECK(library != nullptr, "%s", dlerror());
  if (!library) return report("test_lv2");
  const auto descriptor_of = reinterpret_cast<const LV2_Descriptor* (*)(uint32_t)>(dlsym(library, "lv2_descriptor"));
  const LV2_Descriptor* descriptor = descriptor_of(0);
  CHECK_TEXT(descriptor->URI, "urn:undertow:amp");
  CHECK(descriptor_of(1) == nullptr, "%s", "a second plugin");
  const LV2_Feature* none[] = {nullptr};
  CHECK(descriptor->instantiate(descriptor, kRate, "/nowhere/", none) == nullptr, "%s", "a plugin without a model");

  const undertow::Model model(argv[2]);
  if (model.info().sample_rate)
    CHECK(descriptor->instantiate(descriptor, 44100, bundle.c_str(), none) == nullptr, "%s", "a model at another rate");
  undertow::Stream stream(model);
  const size_t late = model.info().latency, n = 4000;
  const std::vector<float> x = tone(n);
  std::vector<float> want(n);
  stream.run(x, want);

  Plugin plugin(descriptor, bundle);
  std::vector<float> y = plugin.run(x);
  CHECK(same(y.data(), want.data(), n), "%s", "the model's bits are others");
  CHECK_INT(plugin.latency, late);
  descriptor->activate(plugin.handle);
  y = x;  // one buffer for both
  for (size_t at = 0; at < n; at += kBlock) plugin.run(&y[at], &y[at], kBlock);
  CHECK(same(y.data(), want.data(), n), "%s", "in place, the model's bits are others");

  // Off: what is heard, as late as the model is; on again: the model, from the start.
  plugin.enabled = 0;
  y = plugin.run(x);
  for (size_t t = 1200; t < n; ++t) CHECK(same(y[t], x[t - late]), "sample %zu of what is bypassed", t);
  descriptor->activate(plugin.handle);
  y = plugin.run(x);
  for (size_t t = 0; t < n; ++t) CHECK(same(y[t], t < late ? 0.0f : x[t - late]), "sample %zu, off from the start", t);

  // No jump either way: of a constant, 20 ms from the one level to the other.
  const std::vector<float> constant(n, 0.3f);
  float level = plugin.run(constant).back(), most = 0.0f;
  for (const float enabled : {1.0f, 0.0f, 1.0f, 0.0f}) {
    plugin.enabled = enabled;
    y = plugin.run(constant);
    for (const float v : y) most = std::max(most, std::fabs(v - std::exchange(level, v)));
    CHECK(enabled == 0.0f ? same(level, 0.3f) : std::fabs(level - 0.3f) > 0.01f, "a level of %g, enabled %g",
          static_cast<double>(level), static_cast<double>(enabled));
  }
  CHECK(most < 0.01f, "turned off or on, the output jumps by %g", static_cast<double>(most));
  plugin.enabled = 1;

  // Gain is the same as a louder input; what is no number, or louder than anything, counts as the next best.
  descriptor->activate(plugin.handle);
  plugin.gain = 20;
  y = plugin.run(x);
  std::vector<float> louder(x);
  for (float& v : louder) v *= 10;
  stream.reset();
  stream.run(louder, want);
  for (size_t t = 0; t < n; ++t) CHECK(std::fabs(y[t] - want[t]) < 1e-4f, "sample %zu at 20 dB", t);
  for (const float gain : {std::nanf(""), INFINITY, -INFINITY, 1e30f}) {
    plugin.gain = gain;
    y = plugin.run(x);
    for (const float v : y)
      if (!std::isfinite(v)) CHECK(false, "a gain of %g dB gives %g", static_cast<double>(gain), static_cast<double>(v));
  }

  // Decay to silence, and subnormal numbers that come in, wet, dry and in between.
  plugin.gain = -20;
  std::vector<float> quiet(2 * n);
  for (size_t t = 0; t < quiet.size(); ++t)
    quiet[t] = t < 100 ? std::ldexp(x[t], -static_cast<int>(t)) : t < n ? as_float(1 + static_cast<uint32_t>(t)) : t % 3 ? 0.0f : 2e-38f;
  for (const float enabled : {1.0f, 0.0f, 1.0f}) {
    plugin.enabled = enabled;
    y = plugin.run(quiet);
    for (size_t t = 0; t < y.size(); ++t)
      if (is_subnormal(y[t])) CHECK(false, "sample %zu is subnormal: %a", t, static_cast<double>(y[t]));
  }
  CHECK(plugin.latency == static_cast<float>(late), "a latency of %g", static_cast<double>(plugin.latency));

  std::vector<float> out(kBlock);
  const Report r = trapped([&] {
    for (int call = 0; call < 100; ++call) {
      plugin.gain = static_cast<float>(call % 7);
      plugin.enabled = call % 20 < 10 ? 1.0f : 0.0f;
      plugin.run(x.data(), out.data(), kBlock);
      plugin.run(x.data(), out.data(), 0);
    }
  });
  CHECK(r.clean(), "run: %ld requests for memory, system call %ld, signal %d", r.requests, r.system_call, r.signal);
  if (!r.filtered) printf("no seccomp filter here: system calls were not watched\n");
  return report("test_lv2");
}
