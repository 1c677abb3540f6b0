// Who may talk to a surface: the TCP key (spec 05 §6), the list of users and groups of a Unix socket, and the log events of a peer that
// came or was turned away. Called by connections, and by whoever accepts them; I/O thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "observe/activity_log.h"
#include "os/peer.h"
#include "os/unique_fd.h"
#include "request/caller.h"

namespace inferd {

struct SessionContext;
struct SessionKind;

/// The users and groups that may use a Unix socket, by id. Besides them root and the daemon's own user: they could change the list.
class AccessList {
 public:
  /// `owner` is the daemon's own uid; `name` is what a refusal calls the list: "access.v1 of /etc/inferd.json".
  AccessList(std::vector<int64_t> users, std::vector<int64_t> groups, int64_t owner, std::string name);

  /// `supplementary`: groups besides `gid`. A uid of -1 is unknown and may not.
  bool allows(int64_t uid, int64_t gid, std::span<const gid_t> supplementary) const;
  /// Supplementary groups have to be known.
  bool has_groups() const { return !groups_.empty(); }
  const std::string& name() const { return name_; }

 private:
  std::vector<int64_t> users_, groups_;
  int64_t owner_;
  std::string name_;
};

/// The same for an accepted Unix socket; asks the kernel for supplementary groups where it comes down to them.
bool may_use(const AccessList& list, const Caller& caller, int socket_fd);

/// Ends a connection that may_use() denies: one error frame, which says why and is the same on every surface; nothing that the peer sends is looked
/// at. Logs `connection_refused`.
void refuse_connection(SessionContext& context, const SessionKind& kind, os::UniqueFd client, Caller caller, const AccessList& list);

void log_connection_accepted(ActivityLog& log, const SessionKind& kind, const Caller& caller);
void log_auth_rejected(ActivityLog& log, const SessionKind& kind, const Caller& caller);

}  // namespace inferd
