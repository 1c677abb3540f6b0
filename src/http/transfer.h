// Downloads over HTTPS, several at once, on the calling thread (a worker's: run() blocks for as long as it is told). A seam:
// fetch_test.cc has a server of its own behind it. One thread at a time; owns the connections, not the receivers.
//
// HTTPS and nothing else, also after redirects (at most five). Trust: the system's store, SSL_CERT_FILE, SSL_CERT_DIR. Proxies:
// https_proxy, all_proxy, no_proxy as libcurl reads them. HTTP/1.1, so that several connections are several. No compression: what is
// counted and hashed are the file's bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/reply_head.h"

namespace inferd::http {

struct Get {
  std::string url;
  struct Range {
    uint64_t first = 0, last = 0;  // both within
  };
  std::optional<Range> range;
  std::string if_range;  // ETag or Last-Modified; empty: the header is not sent
};

/// Takes one answer. Called within run(), on its thread; must not start or stop transfers.
class Receiver {
 public:
  virtual ~Receiver() = default;
  /// Once, for an answer 200 or 206 only. False ends the transfer with kStopped.
  virtual bool on_head(const ReplyHead& head) = 0;
  /// The body in order. False ends the transfer with kStopped.
  virtual bool on_body(std::string_view bytes) = 0;
};

/// How a transfer ended.
enum class Trouble {
  kNone,               // the whole answer is there
  kStopped,            // the receiver said so
  kBadUrl,             // the text is no URL
  kInsecureRedirect,   // to something that is not https://
  kTooManyRedirects,
  kResolve,            // no address for the host or proxy
  kConnect,            // refused, unreachable, or cut before TLS was up
  kConnectTimeout,
  kTls,                // the certificate is not trusted, or is another host's
  kStalled,            // too few bytes for too long
  kCut,                // the connection ended before the answer did
  kStatus,             // an answer that is neither 200 nor 206: see head
  kProtocol,           // anything else that libcurl reports
};

struct Ended {
  Receiver* receiver = nullptr;
  Trouble trouble = Trouble::kNone;
  std::string message;  // one line for a person, without the URL
  ReplyHead head;       // status 0: there was no answer
};

class Transfers {
 public:
  virtual ~Transfers() = default;
  /// The receiver must live until its transfer has ended or was stopped.
  virtual Status start(const Get& get, Receiver& receiver) = 0;
  /// Ends it without a word: run() does not report it. Not one of ours: nothing happens.
  virtual void stop(Receiver& receiver) = 0;
  /// Moves bytes for at most `wait`, less when transfers end, and says which have.
  virtual std::vector<Ended> run(std::chrono::milliseconds wait) = 0;
};

struct TransferOptions {
  std::string user_agent = "inferd";
  std::chrono::seconds connect_timeout{30};  // until TLS is up
  std::chrono::seconds stall_timeout{30};    // with fewer than stall_bytes_per_second
  uint64_t stall_bytes_per_second = 1024;
  uint64_t window_bytes_per_second = 256u << 20;  // of one connection (os/receive_window.h)
};

/// Transfers by libcurl, which is initialised by the first call of the process.
Result<std::unique_ptr<Transfers>> curl_transfers(const TransferOptions& options);

/// The URL for messages: without user name, password and query, any of which may be secret.
std::string shown_url(std::string_view url);

}  // namespace inferd::http
