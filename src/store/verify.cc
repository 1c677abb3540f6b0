#include "store/verify.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <system_error>
#include <vector>

#include "base/log.h"
#include "base/sha256_hex.h"
#include "os/secret_file.h"
#include "os/secret_memory.h"
#include "os/system.h"
#include "store/digest.h"

namespace inferd::store {
namespace {

constexpr size_t kKeyBytes = 32, kNameBytes = 8;
constexpr size_t kMaxRecordBytes = 512;
constexpr int64_t kSettledNs = 2'000'000'000;

std::string record_of(const std::string& key, const BlobId& id, const os::FileIdentity& file) {
  std::string text = "inferd-verified 1 " + id.hex();
  for (const uint64_t number : {file.device, file.inode, file.size}) text += ' ' + std::to_string(number);
  for (const int64_t time : {file.modified_ns, file.changed_ns}) text += ' ' + std::to_string(time);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(),
       &length);
  return text + ' ' + hex_text({mac.data(), length}) + '\n';
}

}  // namespace

std::filesystem::path VerificationRecords::key_path() const { return paths_.verified() / (std::to_string(os::effective_user()) + ".key"); }

std::filesystem::path VerificationRecords::record_path(const BlobId& id) const {
  return paths_.verified() / (id.hex() + "." + std::to_string(os::effective_user()));
}

Result<std::string> VerificationRecords::key() const {
  auto key = os::read_secret_file(key_path());
  if (key && !sha256_hex(*key)) return fail(Code::kIntegrity, key_path().string() + " is no key (remove it: a new one will be made)");
  return key;
}

Result<std::string> VerificationRecords::key_or_new() {
  auto old = key();
  if (old || old.error().code != Code::kNotFound) return old;
  if (auto made = os::make_durable_folders(*files_, paths_.root(), "locks/verified"); !made) return std::unexpected(made.error());
  const auto new_key = random_text(kKeyBytes);
  if (!new_key) return std::unexpected(new_key.error());
  const auto next = write_next(key_path(), *new_key);
  if (!next) return std::unexpected(next.error());
  // Two processes may make a key at once: one of them gets the name, and both read what stands there.
  if (auto named = files_->rename_to_new(*next, key_path()); !named) {
    if (auto gone = files_->remove(*next); !gone) return std::unexpected(gone.error());
    if (named.error().code != Code::kInUse) return std::unexpected(named.error());
  }
  if (auto synced = files_->sync_folder(paths_.verified()); !synced) return std::unexpected(synced.error());
  return key();
}

bool VerificationRecords::vouch_for(const BlobId& id, const os::FileIdentity& file) const {
  const auto secret = key();
  const auto record = os::read_file(record_path(id), kMaxRecordBytes);
  return secret && record && os::equal_in_constant_time(*record, record_of(*secret, id, file));
}

Status VerificationRecords::remember(const BlobId& id, const os::FileIdentity& file) {
  const auto secret = key_or_new();
  if (!secret) return std::unexpected(secret.error());
  const auto next = write_next(record_path(id), record_of(*secret, id, file));
  if (!next) return std::unexpected(next.error());
  if (auto renamed = files_->rename(*next, record_path(id)); !renamed) return renamed;
  return files_->sync_folder(paths_.verified());
}

// Under a name that no other process uses: nobody holds a lock here.
Result<std::filesystem::path> VerificationRecords::write_next(const std::filesystem::path& path, const std::string& text) {
  const auto random = random_text(kNameBytes);
  if (!random) return std::unexpected(random.error());
  auto next = path;
  next += "." + *random + ".tmp";
  if (auto written = os::write_synced_file(*files_, next, text); !written) return std::unexpected(written.error());
  return next;
}

void VerificationRecords::forget(const BlobId& id) {
  std::error_code error;
  std::vector<std::filesystem::path> records;
  for (std::filesystem::directory_iterator at(paths_.verified(), error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with(id.hex() + ".")) records.push_back(at->path());
  }
  for (const auto& record : records) {
    if (auto gone = files_->remove(record); !gone) log::warn("store", "{}", gone.error().message);
  }
}

Result<Verified> verify_open_file(int fd, const std::filesystem::path& shown, const BlobId& id, VerifyPolicy policy,
                                  VerificationRecords* records, const VerifyHooks& hooks) {
  const int64_t begun = os::file_time_now_ns();
  const auto before = os::identity_of(fd);
  if (!before) return fail(before.error().code, shown.string() + ": " + before.error().message);
  if (policy == VerifyPolicy::kRecorded && records != nullptr && records->vouch_for(id, *before)) {
    hooks.progress(before->size, before->size);
    return Verified{.bytes = before->size, .from_record = true};
  }
  hooks.progress(0, before->size);
  auto digest = sha256_of(fd, hooks.cancelled, [&](uint64_t bytes) { hooks.progress(bytes, before->size); });
  if (!digest) return fail(digest.error().code, shown.string() + ": " + digest.error().message);
  if (*digest != id.hex()) {
    if (records != nullptr) records->forget(id);
    return fail(Code::kIntegrity, shown.string() + " has the SHA-256 " + *digest + ", expected " + id.hex() +
                                      ": it is damaged, or the digest is another file's");
  }
  const auto after = os::identity_of(fd);
  if (!after) return fail(after.error().code, shown.string() + ": " + after.error().message);
  if (!os::has_same_bytes(*before, *after)) {
    return fail(Code::kIntegrity, shown.string() + " was changed while it was hashed");
  }
  hooks.progress(before->size, before->size);
  if (records != nullptr && *before == *after && before->changed_ns + kSettledNs < begun) {
    if (auto remembered = records->remember(id, *after); !remembered) {
      log::warn("store", "the verification of {} is not recorded: {}", shown.string(), remembered.error().message);
    }
  }
  return Verified{.bytes = before->size, .from_record = false};
}

}  // namespace inferd::store
