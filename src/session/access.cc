#include "session/access.h"

#include <openssl/crypto.h>

namespace inferd {

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void log_connection_accepted(ActivityLog& log, const Caller& caller) {
  if (caller.transport == Caller::Transport::kTcp) {
    log.event(log::Level::kInfo, "connection_accepted", {{"peer", caller.text}, {"transport", "tcp"}});
  } else {
    log.event(log::Level::kInfo, "connection_accepted",
              {{"peer", caller.text}, {"peer_pid", caller.pid}, {"peer_uid", caller.uid}, {"transport", "unix"}});
  }
}

void log_auth_rejected(ActivityLog& log, const Caller& caller) {
  log.event(log::Level::kWarn, "tcp_auth_rejected", {{"peer", caller.text}});
}

}  // namespace inferd
