#include "session/access.h"

#include <openssl/crypto.h>

namespace inferd {

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void log_connection_accepted(ActivityLog& log, const Caller& caller) {
  const std::string peer = caller.text();
  if (caller.transport == Caller::Transport::kTcp) {
    log.event(log::Level::kInfo, "connection_accepted", {{"peer", peer}, {"transport", "tcp"}});
  } else {
    log.event(log::Level::kInfo, "connection_accepted",
              {{"peer", peer}, {"peer_pid", caller.pid}, {"peer_uid", caller.uid}, {"transport", "unix"}});
  }
}

void log_auth_rejected(ActivityLog& log, const Caller& caller) {
  const std::string peer = caller.text();
  log.event(log::Level::kWarn, "tcp_auth_rejected", {{"peer", peer}});
}

}  // namespace inferd
