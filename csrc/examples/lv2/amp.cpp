// SPDX-License-Identifier: MIT
// An LV2 plugin around a mono model: model.tow in its bundle, a captured amplifier say, in float samples.
// Ports: what is heard, what is played, gain before the model in dB, whether it is enabled, and its latency in samples.
// The host saves gain and enabled with its session, for they are control ports; all else is the bundle's.
// run() allocates nothing, takes no lock, and neither reads nor writes subnormal numbers, which would make it many times
// slower where sound decays.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lv2/core/lv2.h>
#include <lv2/log/log.h>
#include <lv2/urid/urid.h>

#include "undertow.hpp"

namespace {

constexpr char kUri[] = "urn:undertow:amp";
enum Port : uint32_t { kIn, kOut, kGain, kEnabled, kLatency, kNumPorts };
constexpr std::size_t kChunk = 64;          // samples between two looks at the controls
constexpr float kFadeSeconds = 0.02f;       // from what is heard to what is played, and back
constexpr float kLeastGain = -60.0f, kMostGain = 40.0f;  // dB; amp.ttl has less

bool is_subnormal(float x) { return x != 0.0f && std::fabs(x) < 1.17549435e-38f; }
float flushed(float x) { return is_subnormal(x) ? 0.0f : x; }

// What goes wrong is told to the host's log, where there is one.
void complain(const LV2_Feature* const* features, const char* text) {
  const LV2_Log_Log* log = nullptr;
  const LV2_URID_Map* map = nullptr;
  for (; features && *features; ++features) {
    if (std::string_view((*features)->URI) == LV2_LOG__log) log = static_cast<const LV2_Log_Log*>((*features)->data);
    if (std::string_view((*features)->URI) == LV2_URID__map) map = static_cast<const LV2_URID_Map*>((*features)->data);
  }
  if (log && map)
    log->printf(log->handle, map->map(map->handle, LV2_LOG__Error), "%s: %s\n", kUri, text);
  else
    std::fprintf(stderr, "%s: %s\n", kUri, text);
}

struct Amp {
  undertow::Model model;
  undertow::Stream stream;
  std::vector<float> delayed;  // what was heard in the last `latency` samples, for whoever turns the model off
  float fade_step;
  std::size_t at = 0;        // of delayed
  float wet = 1.0f;          // 0: what is heard, 1: what is played
  float gain = 1.0f;         // of the last sample
  bool starts = true;
  const float* in = nullptr;
  float* out = nullptr;
  const float* gain_db = nullptr;
  const float* enabled = nullptr;
  float* latency = nullptr;

  Amp(undertow::Model&& m, undertow::Stream&& s, double rate)
      : model(std::move(m)), stream(std::move(s)), delayed(model.info().latency),
        fade_step(1.0f / (kFadeSeconds * static_cast<float>(rate))) {}

  void reset() noexcept {
    stream.reset();
    std::fill(delayed.begin(), delayed.end(), 0.0f);
    starts = true;
  }

  // As loud and as enabled as the ports say; a control that is no number is as if it were not there.
  float wanted_gain() const noexcept {
    const float db = gain_db && std::isfinite(*gain_db) ? *gain_db : 0.0f;
    return std::pow(10.0f, 0.05f * std::min(std::max(db, kLeastGain), kMostGain));
  }
  bool is_wanted() const noexcept { return !enabled || *enabled > 0.5f; }

  float through_delay(float x) noexcept {
    if (delayed.empty()) return x;
    std::swap(x, delayed[at]);
    at = at + 1 == delayed.size() ? 0 : at + 1;
    return x;
  }

  void run(std::size_t n) noexcept {
    if (latency) *latency = static_cast<float>(delayed.size());
    const float target = wanted_gain(), wet_target = is_wanted() ? 1.0f : 0.0f;
    if (starts) {  // nothing was heard before that a ramp would have to go on from
      gain = target;
      wet = wet_target;
      starts = false;
    }
    if (wet == 0.0f && wet_target == 1.0f) stream.reset();  // it has not heard what came meanwhile
    // Straight lines, of the whole call: a filter would come near its target for ever, in ever smaller numbers.
    const float gain_step = n ? (target - gain) / static_cast<float>(n) : 0.0f;
    float x[kChunk], y[kChunk], dry[kChunk];
    for (std::size_t first = 0; first < n; first += kChunk) {
      const std::size_t now = std::min(kChunk, n - first);
      for (std::size_t i = 0; i < now; ++i) {  // all is read before anything is written: in and out may be one buffer
        const float sample = flushed(in[first + i]);
        dry[i] = through_delay(sample);
        gain += gain_step;
        x[i] = flushed(sample * gain);
      }
      const bool silent = wet == 0.0f && wet_target == 0.0f;
      if (silent || !stream.try_run(undertow::span<const float>(x, now), undertow::span<float>(y, now)))
        std::copy(dry, dry + now, y);
      for (std::size_t i = 0; i < now; ++i) {
        wet = wet_target > wet ? std::min(wet_target, wet + fade_step) : std::max(wet_target, wet - fade_step);
        const float mixed = flushed(flushed(dry[i] * (1.0f - wet)) + flushed(y[i] * wet));
        out[first + i] = wet == 1.0f ? y[i] : wet == 0.0f ? dry[i] : mixed;
      }
    }
    gain = target;
  }
};

LV2_Handle instantiate(const LV2_Descriptor*, double rate, const char* bundle, const LV2_Feature* const* features) {
  undertow::Result<undertow::Model> model = undertow::Model::try_load(std::string(bundle) + "/model.tow");
  if (!model) return complain(features, model.error().what()), nullptr;
  const ut_info& info = model->info();
  if (info.n_inputs != 1 || info.n_outputs != 1 || model->inputs()[0].size() != 1 || model->outputs()[0].size() != 1) {
    complain(features, "model.tow: expected one sample in and one sample out for each timestep");
    return nullptr;
  }
  if (info.sample_rate != 0 && std::lround(rate) != static_cast<long>(info.sample_rate)) {
    char text[160];
    std::snprintf(text, sizeof text, "model.tow hears sound of %lu Hz, the host runs at %.0f: change the host's rate, or "
                  "the model", static_cast<unsigned long>(info.sample_rate), rate);
    complain(features, text);
    return nullptr;
  }
  undertow::Result<undertow::Stream> stream = model->try_stream();
  if (!stream) return complain(features, stream.error().what()), nullptr;
  return new (std::nothrow) Amp(std::move(*model), std::move(*stream), rate);
}

void connect_port(LV2_Handle handle, uint32_t port, void* data) {
  Amp& amp = *static_cast<Amp*>(handle);
  switch (port) {
    case kIn: amp.in = static_cast<const float*>(data); break;
    case kOut: amp.out = static_cast<float*>(data); break;
    case kGain: amp.gain_db = static_cast<const float*>(data); break;
    case kEnabled: amp.enabled = static_cast<const float*>(data); break;
    case kLatency: amp.latency = static_cast<float*>(data); break;
    default: break;
  }
}

void activate(LV2_Handle handle) { static_cast<Amp*>(handle)->reset(); }
void run(LV2_Handle handle, uint32_t n) { static_cast<Amp*>(handle)->run(n); }
void cleanup(LV2_Handle handle) { delete static_cast<Amp*>(handle); }

const LV2_Descriptor kDescriptor = {kUri, instantiate, connect_port, activate, run, nullptr, cleanup, nullptr};

}  // namespace

extern "C" LV2_SYMBOL_EXPORT const LV2_Descriptor* lv2_descriptor(uint32_t index) {
  return index == 0 ? &kDescriptor : nullptr;
}
