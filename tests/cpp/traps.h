// SPDX-License-Identifier: MIT
// Work done in a child process in which requests for memory are counted and every system call but the exit ends it.
// Replaces malloc and its family: include in one file of a program, on glibc.
//
// System calls are trapped by a seccomp filter of the kernel, so nothing that enters it is missed, whoever calls. Where
// there is no such filter (qemu-user, old kernels) `Report::filtered` is false and memory alone is watched.
#ifndef UNDERTOW_TESTS_TRAPS_H_
#define UNDERTOW_TESTS_TRAPS_H_

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#if __has_include(<linux/seccomp.h>)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#endif

// While armed, every request for memory counts; it is served all the same.
static volatile bool g_armed = false;
static volatile long g_requests = 0;

static inline void count_request() { g_requests = g_requests + (g_armed ? 1 : 0); }

extern "C" {
void* __libc_malloc(size_t n);
void* __libc_calloc(size_t n, size_t size);
void* __libc_realloc(void* p, size_t n);
void* __libc_memalign(size_t align, size_t n);
void __libc_free(void* p);

void* malloc(size_t n) { return count_request(), __libc_malloc(n); }
void* calloc(size_t n, size_t size) { return count_request(), __libc_calloc(n, size); }
void* realloc(void* p, size_t n) { return count_request(), __libc_realloc(p, n); }
void* aligned_alloc(size_t align, size_t n) { return count_request(), __libc_memalign(align, n); }
void free(void* p) {
  count_request();
  __libc_free(p);
}
int posix_memalign(void** p, size_t align, size_t n) {
  count_request();
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) {
  count_request();
  using Mmap = void* (*)(void*, size_t, int, int, int, off_t);
  return reinterpret_cast<Mmap>(dlsym(RTLD_NEXT, "mmap"))(at, n, protection, flags, fd, offset);
}
}

namespace ut_test {

struct Report {
  bool finished;     // the work came to its end
  bool filtered;     // system calls were trapped; else `error` is why not
  int error;
  long requests;     // for memory
  long system_call;  // the number of the one that was trapped; -1: none
  int signal;        // that ended the child otherwise; 0: none

  bool clean() const { return finished && requests == 0 && system_call < 0 && signal == 0; }
};

#if defined(SECCOMP_RET_TRAP) && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__x86_64__)
constexpr uint32_t kAuditArch = AUDIT_ARCH_X86_64;
#else
constexpr uint32_t kAuditArch = AUDIT_ARCH_AARCH64;
#endif

static Report* g_report;  // in memory that the parent sees

extern "C" inline void on_system_call(int, siginfo_t* info, void*) {
  g_report->system_call = info->si_syscall;
  g_report->requests = g_requests;
  _exit(1);
}

// From here on this process may end, and nothing else. 0, or the error.
inline int forbid_system_calls() {
  struct sigaction action = {};
  action.sa_sigaction = on_system_call;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, nullptr) != 0) return errno;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAuditArch, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  sock_fprog program = {sizeof code / sizeof code[0], code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : errno;
}
#else
static Report* g_report;
inline int forbid_system_calls() { return ENOSYS; }
#endif

// Runs work() in a child process under both traps and says how it went. What it writes stays in the child.
template <class Work>
Report trapped(const Work& work) {
  void* const shared = mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  g_report = static_cast<Report*>(shared);
  *g_report = Report{false, false, 0, 0, -1, 0};
  fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) abort();
  if (child == 0) {
    g_report->error = forbid_system_calls();
    g_report->filtered = g_report->error == 0;
    g_armed = true;
    work();
    g_armed = false;
    g_report->requests = g_requests;
    g_report->finished = true;
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) abort();
  Report report = *g_report;
  report.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  munmap(shared, sizeof(Report));
  return report;
}

}  // namespace ut_test

#endif  // UNDERTOW_TESTS_TRAPS_H_
