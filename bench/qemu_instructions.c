/* SPDX-License-Identifier: MIT
 * A plugin of QEMU that prints how many instructions the guest has executed, and with the argument cpu=cortex-m0plus or
 * cpu=cortex-m4 how many cycles these take by the tables of instruction timings in Arm's manuals, from memory without wait
 * states: "Cortex-M0+ Technical Reference Manual" (DDI 0484), 3.3; "Cortex-M4 Technical Reference Manual" (100166), 3.3.1 and
 * 7.2.3. Where a table gives a range: a pipeline is filled again in 2 cycles, a division of integers takes 7. Declarations as in
 * QEMU's docs/devel/tcg-plugins; Debian has no package with the header. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int, void*, uint64_t);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, void (*)(unsigned, void*), int, void*);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void*), void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);

#define VISIBLE __attribute__((visibility("default")))
VISIBLE int qemu_plugin_version = 1;

typedef enum { kNone, kM0plus, kM4 } Cpu;
static Cpu cpu = kNone;
static uint64_t count, cycles;

/* A block of instructions without a branch but at its end. */
typedef struct {
  uint64_t start, end;
  unsigned cost;
  unsigned when_taken; /* more, where execution does not go on at `end` */
} Block;
static const Block* before;

static unsigned ones(unsigned mask) { return (unsigned)__builtin_popcount(mask); }
static unsigned refill(void) { return cpu == kM4 ? 2 : 1; }

typedef struct {
  unsigned cost, when_taken;
  int single; /* a load or store of one register, which overlaps with one before it */
} Timing;

static Timing plain(unsigned cost) { return (Timing){cost, 0, 0}; }
static Timing load(void) { return (Timing){2, 0, 1}; }
static Timing store(void) { return (Timing){cpu == kM4 ? 1 : 2, 0, 1}; }

static Timing of_16_bits(unsigned op) {
  const unsigned list = op & 0xff;
  switch (op >> 12) {
    case 4:
      if ((op & 0xfc00) == 0x4400) { /* high registers, BX, BLX */
        if ((op & 0xff00) == 0x4700) return plain(1 + refill());
        if ((op & 0xff87) == 0x4687 || (op & 0xff87) == 0x4487) return plain(1 + refill()); /* to the program counter */
        return plain(1);
      }
      return op & 0x0800 ? load() : plain(1); /* LDR literal; arithmetic, MULS included */
    case 5: return ((op >> 9) & 7) >= 3 ? load() : store();
    case 6: case 7: case 8: case 9: return op & 0x0800 ? load() : store();
    case 11:
      if ((op & 0xfe00) == 0xb400) return plain(1 + ones(op & 0x1ff));
      if ((op & 0xfe00) == 0xbc00) return plain(1 + ones(op & 0x1ff) + (op & 0x100 ? (cpu == kM4 ? refill() : 2) : 0));
      if ((op & 0xf500) == 0xb100) return (Timing){1, refill(), 0}; /* CBZ, CBNZ */
      return plain(1);
    case 12: return plain(1 + ones(list));
    case 13: return (op & 0x0f00) >= 0x0e00 ? plain(1) : (Timing){1, refill(), 0};
    case 14: return plain(1 + refill());
    default: return plain(1);
  }
}

static Timing of_float(unsigned hi, unsigned lo) {
  if ((hi & 0xfe00) == 0xec00) { /* VLDR, VLDM, VMOV of two, and their like */
    if ((hi & 0xffe0) == 0xec40) return plain(2);
    if ((hi & 0x0120) == 0x0100) return plain(2);
    return plain(1 + (lo & 0xff));
  }
  if ((hi & 0xff00) == 0xee00 && !(lo & 0x10)) {
    switch (hi & 0x00b0) {
      case 0x0000: case 0x0010: case 0x0090: case 0x00a0: return plain(3); /* VMLA, VNMLA, VFNMA, VFMA */
      case 0x0080: return plain(14);                                       /* VDIV */
      case 0x00b0: return plain((hi & 0xf) == 1 && (lo & 0xc0) == 0xc0 ? 14 : 1); /* VSQRT among moves and conversions */
      default: return plain(1);
    }
  }
  return plain(1);
}

static Timing of_32_bits(unsigned hi, unsigned lo) {
  if ((hi & 0xec00) == 0xec00 && (lo & 0x0e00) == 0x0a00) return of_float(hi, lo);
  if ((hi & 0xf800) == 0xf000 && lo & 0x8000) {
    if ((lo & 0xd000) == 0x8000) { /* conditional branches, system registers, barriers */
      if ((hi & 0x0380) != 0x0380) return (Timing){1, refill(), 0};
      return plain(cpu == kM4 ? 2 : 3);
    }
    return plain(1 + refill() + (cpu == kM0plus && lo & 0x4000)); /* B; BL takes one more on Cortex-M0+ */
  }
  if ((hi & 0xfe40) == 0xe800) { /* LDM, STM, POP, PUSH */
    return plain(1 + ones(lo) + (hi & 0x10 && lo & 0x8000 ? refill() : 0));
  }
  if ((hi & 0xfe40) == 0xe840) { /* LDRD, STRD; TBB; exclusive ones */
    if ((hi & 0xfff0) == 0xe8d0 && (lo & 0xe0) == 0) return plain(2 + refill());
    return plain((hi & 0x0120) ? 3 : 2);
  }
  if ((hi & 0xfe00) == 0xf800) return hi & 0x10 ? ((lo & 0xf000) == 0xf000 ? plain(2 + refill()) : load()) : store();
  if ((hi & 0xff80) == 0xfb00 && (hi & 0x70) == 0 && (lo & 0xf000) != 0xf000) return plain(2); /* MLA, MLS */
  if ((hi & 0xff80) == 0xfb80 && (lo & 0xf0) == 0xf0) return plain(7);                          /* SDIV, UDIV */
  return plain(1);
}

static Timing timing(const uint8_t* bytes, size_t size) {
  const unsigned hi = bytes[0] | bytes[1] << 8;
  return size == 2 ? of_16_bits(hi) : of_32_bits(hi, bytes[2] | bytes[3] << 8);
}

static void executed(unsigned vcpu, void* data) {
  const Block* block = data;
  (void)vcpu;
  if (before && before->when_taken && block->start != before->end) cycles += before->when_taken;
  cycles += block->cost;
  before = block;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  const size_t n = qemu_plugin_tb_n_insns(tb);
  size_t i;
  Block* block;
  int single = 0;
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, 0 /* add to a uint64_t */, &count, n);
  if (cpu == kNone) return;
  block = calloc(1, sizeof *block);
  block->start = block->end = qemu_plugin_tb_vaddr(tb);
  for (i = 0; i < n; ++i) {
    const struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    const size_t size = qemu_plugin_insn_size(insn);
    const Timing t = timing(qemu_plugin_insn_data(insn), size);
    block->cost += t.single && single && cpu == kM4 ? 1 : t.cost;
    block->when_taken = t.when_taken;
    block->end += size;
    single = t.single;
  }
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0 /* reads no registers */, block);
}

static void ended(qemu_plugin_id_t id, void* data) {
  (void)id;
  (void)data;
  fprintf(stderr, "instructions %llu\n", (unsigned long long)count);
  if (cpu != kNone) fprintf(stderr, "cycles %llu\n", (unsigned long long)cycles);
}

VISIBLE int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  int i;
  (void)info;
  for (i = 0; i < argc; ++i) {
    if (!strcmp(argv[i], "cpu=cortex-m0plus")) cpu = kM0plus;
    else if (!strcmp(argv[i], "cpu=cortex-m4")) cpu = kM4;
    else { fprintf(stderr, "qemu_instructions: %s is unknown\n", argv[i]); return 1; }
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
