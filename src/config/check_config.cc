#include "config/check_config.h"

#include <cstdio>

#include "config/check_options.h"
#include "config/effective.h"
#include "config/effective_text.h"

namespace inferd {
namespace {

int complain(const Error& error) {
  std::fprintf(stderr, "inferd-daemon: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int check_config(const DaemonOptions& options) {
  const auto effective = load_effective(options);
  if (!effective) return complain(effective.error());
  const std::string text = options.json ? to_json(*effective) : to_lines(*effective);
  std::fputs(text.c_str(), stdout);
  if (auto checked = check_effective(*effective); !checked) return complain(checked.error());
  return 0;
}

}  // namespace inferd
