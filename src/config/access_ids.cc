#include "config/access_ids.h"

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "config/config_table.h"
#include "os/peer.h"
#include "os/unix_socket.h"

namespace inferd {
namespace {

constexpr uint32_t kNoId = 0xFFFFFFFF;  // what system calls take for "leave it as it is"

std::optional<uint32_t> decimal(const std::string& text) {
  uint32_t id = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, id);
  const bool is_id = read.ec == std::errc() && read.ptr == end && id != kNoId;
  return is_id ? std::optional(id) : std::nullopt;
}

using LookUp = Result<uint32_t> (*)(const std::string& name);

Result<std::vector<int64_t>> ids_of(const std::vector<std::string>& names, std::string_view kind, LookUp look_up,
                                    const std::string& place) {
  std::vector<int64_t> ids;
  for (const std::string& name : names) {
    if (const auto id = decimal(name)) {
      ids.push_back(*id);
      continue;
    }
    const auto id = look_up(name);
    if (!id) {
      const std::string what = id.error().code == Code::kUsage
                                   ? "no " + std::string(kind) + " " + shown(ConfigField{}, name) + ": expected an existing one or an id"
                                   : id.error().message;
      return fail(id.error().code, path_of_element(place, ids.size()) + ": " + what);
    }
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

Result<AccessIds> resolve_access(const AccessRule& rule, const std::string& place) {
  auto users = ids_of(rule.users, "user", &os::user_id, path_of_member(place, "users"));
  if (!users) return std::unexpected(users.error());
  auto groups = ids_of(rule.groups, "group", &os::group_id, path_of_member(place, "groups"));
  if (!groups) return std::unexpected(groups.error());
  return AccessIds{std::move(*users), std::move(*groups)};
}

}  // namespace inferd
