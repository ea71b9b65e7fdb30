// SPDX-License-Identifier: MIT
// Changes of a .tow file, one for each thing that somebody may have got wrong, or that nobody has tried.
#ifndef UNDERTOW_TESTS_FUZZ_TOW_CHANGES_H_
#define UNDERTOW_TESTS_FUZZ_TOW_CHANGES_H_

#include "tow_fit.h"

namespace ut_fuzz {

// What is not to be mended after a change, for it is the change.
enum Broken : uint32_t { kNothing = 0, kNames = 1, kIntegers = 2, kOverlaps = 4, kOrder = 8 };

struct Change {
  const char* name;
  uint32_t weight;  // how often, compared with others
  Broken breaks;
  bool (*make)(File* file, Random* random);  // false: nothing here to change so
};

std::vector<Change> changes_of_tables();
std::vector<Change> changes_of_nodes();
std::vector<Change> changes_of_expressions();
std::vector<Change> changes_of_wires();
std::vector<Change> changes_of_weights();

// A name that nothing in the file has.
std::string new_name(const File& file);

// Null where there are no nodes.
Node* any_node(File* file, Random* random);

// Some value before node `at`, of `size` elements if that is not 0; or kNone.
uint32_t value_before(const File& file, size_t at, uint32_t dtype, uint64_t size, Random* random);

// A tensor without numbers, for `fit` to make: its dtype stays.
uint32_t blank(File* file, uint32_t dtype);

// A node of a kind in front of node `at`, of values before it; true if it fits. Nothing reads what it gives.
bool insert_node(File* file, size_t at, uint32_t kind, std::vector<uint32_t> inputs, Random* random);

// Some node or output behind `value` reads it; an output is added if none can.
void read_value(File* file, uint32_t value, Random* random);

// Some of the outputs, and what they need.
bool keep_some(File* file, Random* random);

// Inputs in front of the first node; numbers of the other values follow.
void insert_inputs(File* file, const std::vector<Value>& values);

}  // namespace ut_fuzz

#endif  // UNDERTOW_TESTS_FUZZ_TOW_CHANGES_H_
