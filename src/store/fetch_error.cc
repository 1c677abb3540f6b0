#include "store/fetch_error.h"

namespace inferd::store {

std::string_view fetch_error_name(FetchError error) {
  switch (error) {
    case FetchError::kNoSource: return "no_source";
    case FetchError::kNotHttps: return "not_https";
    case FetchError::kInsecureRedirect: return "insecure_redirect";
    case FetchError::kTooManyRedirects: return "too_many_redirects";
    case FetchError::kBadUrl: return "bad_url";
    case FetchError::kResolveFailed: return "resolve_failed";
    case FetchError::kConnectFailed: return "connect_failed";
    case FetchError::kConnectTimeout: return "connect_timeout";
    case FetchError::kTlsFailed: return "tls_failed";
    case FetchError::kStalled: return "stalled";
    case FetchError::kConnectionLost: return "connection_lost";
    case FetchError::kHttpStatus: return "http_status";
    case FetchError::kBadReply: return "bad_reply";
    case FetchError::kSizeMismatch: return "size_mismatch";
    case FetchError::kBodyTooLong: return "body_too_long";
    case FetchError::kNoSpace: return "no_space";
    case FetchError::kSha256Mismatch: return "sha256_mismatch";
    case FetchError::kStore: return "store";
    case FetchError::kCancelled: return "cancelled";
  }
  return "store";
}

Error as_error(const FetchFailure& failure) {
  Code code = Code::kBackendUnavailable;
  switch (failure.error) {
    case FetchError::kNoSource:
    case FetchError::kNotHttps:
    case FetchError::kBadUrl:
      code = Code::kUsage;
      break;
    case FetchError::kSha256Mismatch:
    case FetchError::kSizeMismatch:
    case FetchError::kBodyTooLong:
      code = Code::kIntegrity;
      break;
    case FetchError::kNoSpace:
    case FetchError::kStore:
      code = Code::kIo;
      break;
    default:
      break;
  }
  return Error{code, std::string(fetch_error_name(failure.error)) + ": " + failure.message};
}

std::unexpected<FetchFailure> store_fail(const Error& error) {
  // kBackendUnavailable is what hashing, copying and waiting answer when they are told to stop.
  return fetch_fail(error.code == Code::kBackendUnavailable ? FetchError::kCancelled : FetchError::kStore, error.message);
}

}  // namespace inferd::store
