// Why a model could not be fetched: one name for each reason, which admin events, logs and inferdctl show. Plain data; any thread.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace inferd::store {

enum class FetchError {
  kNoSource,           // the blob is missing and no URL is configured: the operator gives one or imports the file
  kNotHttps,           // a URL does not begin with https://: the operator changes it
  kInsecureRedirect,   // the server redirects to something that is not https://
  kTooManyRedirects,
  kBadUrl,
  kResolveFailed,      // no address for the host or the proxy
  kConnectFailed,
  kConnectTimeout,
  kTlsFailed,          // the certificate is not trusted (SSL_CERT_FILE names others)
  kStalled,            // the server sends too little for too long
  kConnectionLost,     // the connection ended before the answer did, again and again
  kHttpStatus,         // the server answers with an error
  kBadReply,           // the answer is not what HTTP allows, or changes from one request to the next
  kSizeMismatch,       // the server's file has another size than is configured
  kBodyTooLong,        // more bytes than were announced: cut
  kNoSpace,            // the file system has no room: the operator makes some
  kSha256Mismatch,     // the bytes are not the model's: moved to quarantine
  kStore,              // a file or folder of the store cannot be used: the message names it
  kCancelled,          // we were told to stop
};

/// "no_source", "sha256_mismatch", ...
std::string_view fetch_error_name(FetchError error);

struct FetchFailure {
  FetchError error = FetchError::kStore;
  std::string message;  // one line for a person; names URL or path
};

/// The same as an Error of the daemon: "<name>: <message>".
Error as_error(const FetchFailure& failure);

template <class T>
using Fetching = std::expected<T, FetchFailure>;

inline std::unexpected<FetchFailure> fetch_fail(FetchError error, std::string message) {
  return std::unexpected<FetchFailure>(FetchFailure{error, std::move(message)});
}
/// An error of the store's files, or of being told to stop.
std::unexpected<FetchFailure> store_fail(const Error& error);

}  // namespace inferd::store
