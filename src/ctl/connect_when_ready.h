// Connecting to a daemon that may still be loading: what `run` and `embed` begin with. Main thread.
#pragma once

#include <string>
#include <string_view>

#include "ctl/commands.h"
#include "inferd/client.h"

namespace inferd::ctl {

/// Whether somebody is loading, or the user wants to wait for somebody who does not run yet.
bool is_worth_waiting(const GlobalOptions& global, const WaitOptions& wait);
/// Shows how far the daemon is until it is ready.
client::Expected<void> wait_until_ready(const GlobalOptions& global, const WaitOptions& wait);

/// Connects; while the daemon is still loading, shows how far it is and waits. `surface`: what a daemon has to be started with to serve
/// this one, for the error; empty if it always does.
template <class Client>
client::Expected<Client> connect_when_ready(const GlobalOptions& global, const client::Endpoint& endpoint, const WaitOptions& wait,
                                            std::string_view surface) {
  auto connected = Client::connect(endpoint);
  if (!connected && connected.error().kind == client::Failure::Kind::kUnreachable && is_worth_waiting(global, wait)) {
    if (auto ready = wait_until_ready(global, wait); !ready) return std::unexpected(ready.error());
    connected = Client::connect(endpoint);
  }
  if (!connected && connected.error().kind == client::Failure::Kind::kUnreachable && !surface.empty()) {
    connected.error().message += " (served by inferd-daemon " + std::string(surface) + ")";
  }
  return connected;
}

}  // namespace inferd::ctl
