// SPDX-License-Identifier: MIT
// Walks the plan over frames. Knows neither instruction sets nor op kinds.
#ifndef UNDERTOW_RUN_H_
#define UNDERTOW_RUN_H_

#include "ops/op.h"

namespace undertow {

// Initial state of every field, padding included.
void reset_state(const ut_model& model, float* state);

// n_frames timesteps in blocks of at most `b.capacity`; x and y as in ut_run, x null for frames of a flush. b.n and b.n_valid are set here when the
// frames come in several blocks, so a caller that needs n_valid must give them all at once.

void run_frames(Block b, size_t n_frames, const void* const* x, void* const* y);

// The same of a stream, a timestep at a time; b.n and b.capacity are 1, and x is not null.
void run_step(const Block& b, const void* const* x, void* const* y);
void run_steps(const Block& b, size_t n_frames, const void* const* x, void* const* y);

// A whole sequence of a model whose outputs come later: n_frames timesteps and a flush, and y as if they came at once.
void run_whole(Block b, size_t n_frames, const void* const* x, void* const* y);

// Whole sequences side by side, of Block::lengths; x and y as in ut_sequences_run.
void run_abreast(Block b, const void* const* x, void* const* y);

// As run_frames, of a stream with a team: what worker 0 does, and what the others do once they have followed it.
void lead_frames(Block b, size_t n_frames, const void* const* x, void* const* y);
void help_frames(Block b, size_t n_frames);

// Some timesteps of sequences: n from `first` on, of the `of` that each has in x and y.
struct Part {
  size_t first, n, of;
};

// Part of the timesteps of each of n_streams streams, with values and scratch for `rows` rows; x and y as in ut_batch_run. They
// are those of a flush where x is null.
void run_batch(const ut_model& model, float* values, float* scratch, size_t rows, size_t n_streams, float* const* states,
               const Part& part, const void* const* x, void* const* y);

}  // namespace undertow

#endif  // UNDERTOW_RUN_H_
