// What must not work in the sandbox, each as a call that can be tried: used by the probe alone, in its one thread.
//
// An attempt does no harm where it is let through: it works on the probe's own folder and parent, or its arguments are such that the
// kernel, once it looks at them, refuses them for another reason than rights (no such path, a bad flag). So EPERM, EACCES and ENOSYS
// mean refused; success and every other error mean that the call got through.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/unique_fd.h"

namespace inferd::os {

/// Made before the sandbox is entered: what a hostile engine would find, or get from outside.
struct Targets {
  std::string folder;  // in /tmp, ours; holds `file` and `spare`
  std::string file;
  std::string spare;
  std::string home;
  UniqueFd folder_path;  // O_PATH
  UniqueFd open_file;    // `file`, read and write
  UniqueFd tcp_socket;   // neither bound nor connected
  UniqueFd unix_socket;  // SOCK_DGRAM
  UniqueFd program;      // a memfd
  UniqueFd parent;       // a pidfd
};

Result<Targets> make_targets();
void remove_targets(const Targets& targets);

struct Attempt {
  std::string name;
  std::function<long()> run;  // negative: errno says why
};

/// To be tried in this order. Called before the sandbox is entered, by a child of the process that made the targets.
std::vector<Attempt> escape_attempts(const Targets& targets);

}  // namespace inferd::os
