#include "session/access.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/log.h"
#include "session/connection.h"
#include "session/log_fields.h"
#include "wire/reply_frames.h"

namespace inferd {
namespace {

constexpr int64_t kRoot = 0;

bool contains(const std::vector<int64_t>& ids, int64_t id) { return std::ranges::find(ids, id) != ids.end(); }

}  // namespace

AccessList::AccessList(std::vector<int64_t> users, std::vector<int64_t> groups, int64_t owner, std::string name)
    : users_(std::move(users)), groups_(std::move(groups)), owner_(owner), name_(std::move(name)) {}

bool AccessList::allows(int64_t uid, int64_t gid, std::span<const gid_t> supplementary) const {
  if (uid < 0) return false;
  if (uid == kRoot || uid == owner_ || contains(users_, uid) || contains(groups_, gid)) return true;
  return std::ranges::any_of(supplementary, [&](gid_t group) { return contains(groups_, group); });
}

bool may_use(const AccessList& list, const Caller& caller, int socket_fd) {
  if (list.allows(caller.uid, caller.gid, {})) return true;
  if (caller.uid < 0 || !list.has_groups()) return false;
  const auto groups = os::peer_groups(socket_fd);
  if (!groups) log::warn("session", "{}: its groups are not known: {}", caller.text, groups.error().message);
  return groups && list.allows(caller.uid, caller.gid, *groups);
}

void refuse_connection(SessionContext& context, const SessionKind& kind, os::UniqueFd client, Caller caller, const AccessList& list) {
  context.log.event(log::Level::kWarn, std::string(kind.prefix) + "connection_refused",
                    {{"peer", caller.text},
                     {"peer_gid", caller.gid},
                     {"peer_pid", caller.pid},
                     {"peer_uid", caller.uid},
                     {"transport", "unix"},
                     {"wire_version", wire_version(kind)}});
  const std::string who = caller.uid < 0 ? "a peer of unknown uid" : "uid " + std::to_string(caller.uid);
  const auto connection = std::make_shared<Connection>(context, std::move(client), std::move(caller), kind, nullptr);
  connection->start();
  wire::append_error(connection->output(), "", Code::kInvalidRequest, who + " may not use this socket: it is not on the list " + list.name());
  connection->close_after_reply();  // before its first event: from here on what it sends is thrown away
}

void log_connection_accepted(ActivityLog& log, const SessionKind& kind, const Caller& caller) {
  const std::string event = std::string(kind.prefix) + "connection_accepted";
  if (caller.transport == Caller::Transport::kTcp) {
    log.event(log::Level::kInfo, event, {{"peer", caller.text}, {"transport", "tcp"}, {"wire_version", wire_version(kind)}});
  } else {
    log.event(log::Level::kInfo, event,
              {{"peer", caller.text},
               {"peer_gid", caller.gid},
               {"peer_pid", caller.pid},
               {"peer_uid", caller.uid},
               {"transport", "unix"},
               {"wire_version", wire_version(kind)}});
  }
}

void log_auth_rejected(ActivityLog& log, const SessionKind& kind, const Caller& caller) {
  log.event(log::Level::kWarn, std::string(kind.prefix) + "tcp_auth_rejected", {{"peer", caller.text}, {"wire_version", wire_version(kind)}});
}

}  // namespace inferd
