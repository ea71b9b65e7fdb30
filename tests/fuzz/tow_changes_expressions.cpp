// SPDX-License-Identifier: MIT
// Programs of expressions: their space, what they are of, what they compute in which order, and whether they are gated.
#include <algorithm>

#include "tow_changes.h"
#include "tow_program.h"

namespace ut_fuzz {

namespace {

Node* any_expression(File* f, Random* random) {
  std::vector<Node*> all;
  for (Node& node : f->nodes)
    if (node.kind == kExpression) all.push_back(&node);
  return all.empty() ? nullptr : all[random->below(all.size())];
}

void change_operand(Program* p, const Node& node, Random* random) {
  static const uint32_t kOdd[] = {0, 1, 2, 15, 16, 17, kMaxFrame - 1, kMaxFrame, 0x7fffffff, 0x80000000, kNone};
  ProgramOperand& o = p->operands[random->below(p->operands.size())];
  switch (random->below(6)) {
    case 0:
      o = random_operand(*p, o.base, random);
      break;
    case 1:
      o.offset = static_cast<uint32_t>(random->below(p->n_elements() + 1));
      break;
    case 2:
      o.strides[random->below(kAxes)] = static_cast<int32_t>(random->below(one_in(random, 3) ? 100 : 3));
      break;
    case 3:
      o.strides = p->dense(random->below(kAxes + 1));
      break;
    case 4:
      (one_in(random, 2) ? o.offset : o.base) = kOdd[random->below(11)];
      break;
    default:
      o.base = static_cast<uint32_t>(random->below(node.inputs.size() + node.states.size() + node.n_outputs + 1));
  }
}

void change_steps(Program* p, Random* random) {
  const auto any = [&] { return p->steps.begin() + static_cast<ptrdiff_t>(random->below(p->steps.size())); };
  switch (random->below(7)) {
    case 0:
      p->steps.erase(any());
      break;
    case 1:
      std::iter_swap(any(), any());
      break;
    case 2:
      p->steps.insert(any(), ProgramStep(*any()));
      break;
    case 3:
      any()->code = one_in(random, 8) ? static_cast<uint32_t>(random->below(90)) : any_code(random);
      break;
    case 4:
      any()->y = static_cast<uint32_t>(random->below(p->operands.size() + p->n_slots + one_in(random, 8)));
      break;
    case 5:
      any()->x[random->below(4)] = static_cast<uint32_t>(random->below(p->operands.size() + p->n_slots + one_in(random, 8)));
      break;
    default:
      for (size_t k = 1 + random->below(one_in(random, 8) ? 100 : 4); k != 0; --k) p->steps.insert(any(), random_step(*p, random));
  }
}

bool program(File* f, Random* random) {
  Node* node = any_expression(f, random);
  if (!node) return false;
  Program p = program_of(node->params);
  if (p.operands.empty() || p.steps.empty() || p.n_slots > kMostSlots) return false;
  static const uint32_t kSizes[] = {1, 1, 2, 3, 7, 15, 16, 17, 32, 33, 65, 1030};
  switch (random->below(8)) {
    case 0:
      p.sizes[random->below(kAxes)] = kSizes[random->below(one_in(random, 4) ? 12 : 8)];
      break;
    case 1:
      std::swap(p.sizes[random->below(kAxes)], p.sizes[random->below(kAxes)]);
      break;
    case 2:
      p.n_slots = static_cast<uint32_t>(random->below(one_in(random, 6) ? 34 : 6));
      break;
    case 3:
      p.add(random_operand(p, static_cast<uint32_t>(random->below(node->inputs.size() + node->states.size() + 1)), random));
      break;
    case 4:
    case 5:
      change_operand(&p, *node, random);
      break;
    default:
      change_steps(&p, random);
  }
  node->params = params_of(p);
  return true;
}

// The words of a program as they are, among them those that its tables do not show.
bool program_words(File* f, Random* random) {
  Node* node = any_expression(f, random);
  if (!node || node->params.empty()) return false;
  uint32_t& word = node->params[random->below(one_in(random, 3) ? std::min<size_t>(7, node->params.size()) : node->params.size())];
  word = one_in(random, 2) ? word + static_cast<uint32_t>(random->below(3)) - 1 : static_cast<uint32_t>(random->bits());
  return true;
}

// An input in front of the states, or the last one gone; what operands are of stays.
bool gate_of_expression(File* f, Random* random) {
  Node* node = any_expression(f, random);
  if (!node || node->inputs.empty()) return false;
  Program p = program_of(node->params);
  const uint32_t n = static_cast<uint32_t>(node->inputs.size());
  const bool gated = std::none_of(p.operands.begin(), p.operands.end(), [&](const ProgramOperand& o) { return o.base == n - 1; });
  if (gated) {
    node->inputs.pop_back();
  } else {
    const uint32_t g = value_before(*f, static_cast<size_t>(node - f->nodes.data()), kFloat32, one_in(random, 8) ? 0 : 1, random);
    if (g == kNone) return false;
    node->inputs.push_back(g);
  }
  for (ProgramOperand& o : p.operands)
    if (o.base >= n) o.base += gated ? kNone : 1;  // one less
  node->params = params_of(p);
  return true;
}

}  // namespace

std::vector<Change> changes_of_expressions() {
  return {{"program", 12, kNothing, program},
          {"program words", 3, kNothing, program_words},
          {"gate of expression", 3, kNothing, gate_of_expression}};
}

}  // namespace ut_fuzz
