#include "runtime/cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

namespace gradus::runtime {
namespace {

/// The processors that share a core with `cpu`, as the kernel spells them; itself if unknown.
std::string core_of(int cpu) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                     "/topology/thread_siblings_list");
  std::string siblings;
  return std::getline(file, siblings) ? siblings : std::to_string(cpu);
}

/// Whole processors granted by the control group (at least 1), or `unlimited`.
std::int64_t quota(std::int64_t unlimited) {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double granted = 0;
  double period = 0;
  if (!(file >> granted >> period) || period <= 0) return unlimited;  // "max 100000", or no file
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(granted / period));
}

}  // namespace

std::int64_t usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cores.insert(core_of(cpu));
  }
  const auto count = std::max<std::int64_t>(1, static_cast<std::int64_t>(cores.size()));
  return std::min(count, quota(count));
}

}  // namespace gradus::runtime
