// SPDX-License-Identifier: MIT
// The C entry points of histories: what a stream remembered before its last timesteps. Of each timestep a history keeps the
// state before it; of a window that is the one frame that the timestep drops, for the others only move.
#include "ops/ring.h"
#include "run.h"
#include "stream.h"

using namespace undertow;

namespace {

// Floats of a state that are kept together: states that lie side by side, or one that is a window's.
struct Kept {
  size_t at, n;
  const OpPlan* window;  // null: other states
};

const OpPlan* window_of(const ut_model& m, uint32_t state) {
  for (const OpPlan *op = m.ops, *end = op + m.file.n_nodes; op != end; ++op)
    if (op->has_ring && op->states[0] == state) return op;
  return nullptr;
}

// Calls f with what is to be kept of each state, and gives the floats of all.
template <class F>
size_t for_states(const ut_model& m, const F& f) {
  size_t floats = 0;
  for (uint32_t i = 0; i < m.file.n_states; ++i) {
    const OpPlan* window = window_of(m, i);
    const Kept kept = {m.states[i].offset, window ? window->sizes[kWidth] : padded(m.states[i].width), window};
    f(kept);
    floats += kept.n;
  }
  return floats;
}

constexpr size_t aligned(size_t bytes) { return (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN; }

}  // namespace

struct ut_history {
  ut_stream* stream;
  Kept* kept;
  const void** x;  // of the timestep that ut_history_run is at
  void** y;
  float* slots;
  size_t n_kept;            // of `kept`
  size_t floats;            // of a slot
  size_t n_slots, n, next;  // slots, those in use, and the one of the next timestep

  // What was kept before the timestep that lies so far back; 0: where the next one is to be kept.
  float* slot(size_t back) const { return slots + (next + n_slots - back) % n_slots * floats; }
  Ring ring(const Kept& k) const { return Ring(*k.window, stream->rings, stream->block); }
};

namespace {

// Where in its memory a history has what comes behind itself.
struct HistoryPlaces {
  explicit HistoryPlaces(const ut_model& m)
      : kept(aligned(sizeof(ut_history))),
        x(kept + aligned(m.file.n_states * sizeof(Kept))),
        y(x + m.file.n_inputs * sizeof(void*)),
        slots(aligned(y + m.file.n_outputs * sizeof(void*))),
        slot(aligned(for_states(m, [](const Kept&) {}) * sizeof(float))) {}

  size_t kept, x, y, slots, slot;
};

// The state before the next timestep.
void keep(ut_history& h) {
  const ut_stream& s = *h.stream;
  float* to = h.slot(0);
  for (const Kept *k = h.kept, *end = k + h.n_kept; k != end; to += k->n, ++k) {
    if (k->window && s.in_rings) {
      const Piece frame = h.ring(*k).frames(-static_cast<ptrdiff_t>(k->window->sizes[kSpan]));
      for (size_t i = 0; i < k->n; ++i) to[i] = frame.x[i * frame.step];
    } else {
      memcpy(to, s.state + k->at, k->n * sizeof(float));
    }
  }
  if (++h.next == h.n_slots) h.next = 0;
  if (h.n < h.n_slots) ++h.n;
}

// The frames that a window dropped in its last n timesteps; they stand `at` floats into each slot.
void bring_back(const ut_history& h, const Kept& k, size_t at, size_t n) {
  const ut_stream& s = *h.stream;
  const size_t span = k.window->sizes[kSpan], n_dropped = n < span ? n : span;
  if (s.in_rings) {
    Ring ring = h.ring(k);
    ring.go_back(n);
    for (size_t i = 0; i < n_dropped; ++i) ring.put_oldest(i, h.slot(n - i) + at);
    return;
  }
  float* state = s.state + k.at;
  memmove(state + n_dropped * k.n, state, (span - n_dropped) * k.n * sizeof(float));
  for (size_t i = 0; i < n_dropped; ++i) memcpy(state + i * k.n, h.slot(n - i) + at, k.n * sizeof(float));
}

}  // namespace

size_t ut_history_bytes(const ut_model* m, size_t k) {
  const HistoryPlaces at(*m);
  if (k < 1 || (at.slot != 0 && k > (SIZE_MAX / 2 - at.slots) / at.slot)) return 0;
  return at.slots + k * at.slot;
}

ut_status ut_history_init(void* mem, size_t bytes, ut_stream* s, size_t k, ut_history** out) {
  if (!mem || !s || !out || k < 1) return UT_E_ARGUMENT;
  if (reinterpret_cast<uintptr_t>(mem) % UT_ALIGN != 0) return UT_E_ALIGN;
  const size_t needed = ut_history_bytes(s->model, k);
  if (needed == 0 || bytes < needed) return UT_E_MEMORY;
  const HistoryPlaces at(*s->model);
  uint8_t* p = static_cast<uint8_t*>(mem);
  Kept* kept = reinterpret_cast<Kept*>(p + at.kept);
  size_t n_kept = 0;
  for_states(*s->model, [&](const Kept& next) {
    Kept* last = n_kept != 0 ? kept + n_kept - 1 : nullptr;
    if (last && !last->window && !next.window && last->at + last->n == next.at)
      last->n += next.n;
    else
      new (kept + n_kept++) Kept(next);
  });
  *out = new (mem) ut_history{s, kept, reinterpret_cast<const void**>(p + at.x), reinterpret_cast<void**>(p + at.y),
                              reinterpret_cast<float*>(p + at.slots), n_kept, at.slot / sizeof(float), k, 0, 0};
  return UT_OK;
}

void ut_history_run(ut_history* h, size_t n_frames, const void* const* x, void* const* y) {
  const ut_model& m = *h->stream->model;
  size_t t = 0;
  if (n_frames > h->n_slots) {  // of these timesteps nothing would be left
    h->n = 0;
    t = n_frames - h->n_slots;
    ut_run(h->stream, t, x, y);
  }
  for (; t < n_frames; ++t) {
    for (uint32_t i = 0; x && i < m.file.n_inputs; ++i)
      h->x[i] = static_cast<const float*>(x[i]) + t * m.values[i].width;
    for (uint32_t i = 0; i < m.file.n_outputs; ++i)
      h->y[i] = y[i] ? static_cast<float*>(y[i]) + t * m.values[m.file.output_value(i)].width : nullptr;
    keep(*h);
    ut_run(h->stream, 1, x ? h->x : nullptr, h->y);
  }
}

size_t ut_history_kept(const ut_history* h) { return h->n; }

void ut_history_trim(ut_history* h, size_t most) {
  if (h->n > most) h->n = most;
}

ut_status ut_history_rewind(ut_history* h, size_t n) {
  if (n > h->n) return UT_E_STATE;
  if (n == 0) return UT_OK;
  const float* from = h->slot(n);
  size_t at = 0;
  for (const Kept *k = h->kept, *end = k + h->n_kept; k != end; at += k->n, ++k) {
    if (k->window)
      bring_back(*h, *k, at, n);
    else
      memcpy(h->stream->state + k->at, from + at, k->n * sizeof(float));
  }
  h->next = (h->next + h->n_slots - n) % h->n_slots;
  h->n -= n;
  return UT_OK;
}

ut_status ut_history_copy(ut_history* to, const ut_history* from) {
  if (!to || !from) return UT_E_ARGUMENT;
  if (to->stream->model != from->stream->model) return UT_E_STATE;
  if (to == from) return UT_OK;
  const size_t n = from->n < to->n_slots ? from->n : to->n_slots;
  to->n = n;
  to->next = n % to->n_slots;
  for (size_t back = n; back != 0; --back) memcpy(to->slot(back), from->slot(back), from->floats * sizeof(float));
  return UT_OK;
}
