#include "http/transfer.h"

#include <curl/curl.h>

#include <algorithm>

#include "base/url_text.h"
#include "os/paths.h"
#include "os/receive_window.h"

namespace inferd::http {
namespace {

constexpr long kMaxRedirects = 5;
constexpr long kBufferBytes = 256 * 1024;
constexpr curl_off_t kMostRetryAfter = 24 * 60 * 60;  // seconds; the server's number may be any

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

bool is_taken(int status) { return status == 200 || status == 206; }

// One GET. libcurl keeps its address: it does not move.
class Transfer {
 public:
  Transfer(Receiver& receiver, uint64_t window_bytes_per_second) : receiver_(receiver), window_(window_bytes_per_second) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  Status set_up(const Get& get, const TransferOptions& options);
  CURL* easy() const { return easy_.get(); }
  const Receiver& receiver() const { return receiver_; }
  Ended ended(CURLcode code);

 private:
  static size_t on_header(char* data, size_t, size_t size, void* self);
  static size_t on_body(char* data, size_t, size_t size, void* self);
  template <class T>
  void set(CURLoption option, T value) {
    if (const CURLcode code = curl_easy_setopt(easy_.get(), option, value); code != CURLE_OK && set_up_ == CURLE_OK) set_up_ = code;
  }
  void trust();
  int status() const;
  bool give_head();
  Trouble trouble_of(CURLcode code) const;

  Receiver& receiver_;
  const uint64_t window_;
  std::unique_ptr<CURL, FreeEasy> easy_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  CURLcode set_up_ = CURLE_OK;  // the first error of set()
  char error_[CURL_ERROR_SIZE] = "";
  HeadReader reader_;
  ReplyHead head_;
  bool head_given_ = false, stopped_ = false;
};

Status Transfer::set_up(const Get& get, const TransferOptions& options) {
  easy_.reset(curl_easy_init());
  if (!easy_) return fail(Code::kInternal, "libcurl gives no handle");
  set(CURLOPT_PRIVATE, static_cast<void*>(this));
  set(CURLOPT_ERRORBUFFER, error_);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // who is told to stop does not wait for a name server that does not answer
  set(CURLOPT_URL, get.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, kMaxRedirects);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_USERAGENT, options.user_agent.c_str());
  set(CURLOPT_BUFFERSIZE, kBufferBytes);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_timeout.count()));
  set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options.stall_bytes_per_second));
  set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  trust();
  if (get.range) set(CURLOPT_RANGE, (std::to_string(get.range->first) + "-" + std::to_string(get.range->last)).c_str());
  if (!get.if_range.empty()) {
    headers_.reset(curl_slist_append(nullptr, ("If-Range: " + get.if_range).c_str()));
    set(CURLOPT_HTTPHEADER, headers_.get());
  }
  if (set_up_ != CURLE_OK) return fail(Code::kInternal, std::string("libcurl: ") + curl_easy_strerror(set_up_));
  return {};
}

// The system's certificates are libcurl's default. It is OpenSSL's own programs that read these two variables, not its library's users.
void Transfer::trust() {
  if (const auto file = os::env("SSL_CERT_FILE")) {
    set(CURLOPT_CAINFO, file->c_str());
    set(CURLOPT_PROXY_CAINFO, file->c_str());
  }
  if (const auto folder = os::env("SSL_CERT_DIR")) {
    set(CURLOPT_CAPATH, folder->c_str());
    set(CURLOPT_PROXY_CAPATH, folder->c_str());
  }
}

size_t Transfer::on_header(char* data, size_t, size_t size, void* self) {
  static_cast<Transfer*>(self)->reader_.line({data, size});
  return size;
}

size_t Transfer::on_body(char* data, size_t, size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  if (!transfer.give_head()) return CURL_WRITEFUNC_ERROR;
  transfer.stopped_ = !transfer.receiver_.on_body({data, size});
  return transfer.stopped_ ? CURL_WRITEFUNC_ERROR : size;
}

int Transfer::status() const {
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

// False if the body is not wanted.
bool Transfer::give_head() {
  if (head_given_) return !stopped_ && is_taken(head_.status);
  head_given_ = true;
  head_ = reader_.head(status());
  curl_off_t seconds = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RETRY_AFTER, &seconds);
  if (seconds > 0) head_.retry_after = std::chrono::seconds(std::min(seconds, kMostRetryAfter));
  if (!is_taken(head_.status)) return false;
  curl_socket_t socket = CURL_SOCKET_BAD;
  if (curl_easy_getinfo(easy_.get(), CURLINFO_ACTIVESOCKET, &socket) == CURLE_OK && socket != CURL_SOCKET_BAD) {
    os::fit_receive_window(socket, window_);
  }
  stopped_ = !receiver_.on_head(head_);
  return !stopped_;
}

Trouble Transfer::trouble_of(CURLcode code) const {
  curl_off_t connected = 0;  // microseconds until the first byte of the request could be sent
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:  // start() has checked the first URL; an answer that is no HTTP/1 is called the same
      return status() / 100 == 3 ? Trouble::kInsecureRedirect : Trouble::kProtocol;
    case CURLE_URL_MALFORMAT:
      return Trouble::kBadUrl;
    case CURLE_TOO_MANY_REDIRECTS:
      return Trouble::kTooManyRedirects;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Trouble::kResolve;
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
      return Trouble::kConnect;
    case CURLE_OPERATION_TIMEDOUT:
      curl_easy_getinfo(easy_.get(), CURLINFO_PRETRANSFER_TIME_T, &connected);
      return connected == 0 ? Trouble::kConnectTimeout : Trouble::kStalled;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
      return Trouble::kTls;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return Trouble::kCut;
    default:
      return Trouble::kProtocol;
  }
}

Ended Transfer::ended(CURLcode code) {
  if (code == CURLE_OK) give_head();  // an answer without a body
  if (stopped_) return {&receiver_, Trouble::kStopped, "stopped", head_};
  if (head_given_ && !is_taken(head_.status)) {
    return {&receiver_, Trouble::kStatus, "the server answers " + std::to_string(head_.status), head_};
  }
  if (code == CURLE_OK) return {&receiver_, Trouble::kNone, "", head_};
  return {&receiver_, trouble_of(code), *error_ != '\0' ? error_ : curl_easy_strerror(code), head_};
}

class CurlTransfers : public Transfers {
 public:
  explicit CurlTransfers(TransferOptions options) : options_(std::move(options)), multi_(curl_multi_init()) {}
  ~CurlTransfers() override {
    for (const auto& transfer : active_) curl_multi_remove_handle(multi_.get(), transfer->easy());
  }
  bool ok() const { return multi_ != nullptr; }

  Status start(const Get& get, Receiver& receiver) override {
    if (!get.url.starts_with("https://")) return fail(Code::kUsage, shown_url(get.url) + ": only https:// is fetched");
    auto transfer = std::make_unique<Transfer>(receiver, options_.window_bytes_per_second);
    if (auto set = transfer->set_up(get, options_); !set) return set;
    if (const CURLMcode code = curl_multi_add_handle(multi_.get(), transfer->easy()); code != CURLM_OK) {
      return fail(Code::kInternal, std::string("libcurl: ") + curl_multi_strerror(code));
    }
    active_.push_back(std::move(transfer));
    return {};
  }

  void stop(Receiver& receiver) override {
    std::erase_if(active_, [&](const auto& transfer) {
      if (&transfer->receiver() != &receiver) return false;
      curl_multi_remove_handle(multi_.get(), transfer->easy());
      return true;
    });
  }

  std::vector<Ended> run(std::chrono::milliseconds wait) override {
    const auto until = std::chrono::steady_clock::now() + wait;
    std::vector<Ended> ended;
    while (!active_.empty()) {
      int running = 0, left = 0;
      const CURLMcode code = curl_multi_perform(multi_.get(), &running);
      if (code != CURLM_OK) return all_ended(curl_multi_strerror(code));
      while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg == CURLMSG_DONE) ended.push_back(take(message->easy_handle, message->data.result));
      }
      const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (!ended.empty() || rest.count() <= 0) break;
      curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(rest.count()), nullptr);
    }
    return ended;
  }

 private:
  Ended take(CURL* easy, CURLcode result) {
    const auto at = std::ranges::find(active_, easy, [](const auto& transfer) { return transfer->easy(); });
    Ended ended = (*at)->ended(result);
    curl_multi_remove_handle(multi_.get(), easy);
    active_.erase(at);
    return ended;
  }

  // The multi handle itself has failed: nothing more comes of any of them.
  std::vector<Ended> all_ended(const std::string& why) {
    std::vector<Ended> ended;
    while (!active_.empty()) {
      ended.push_back(take(active_.back()->easy(), CURLE_FAILED_INIT));
      ended.back().message = "libcurl: " + why;
    }
    return ended;
  }

  const TransferOptions options_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
  std::vector<std::unique_ptr<Transfer>> active_;
};

}  // namespace

Result<std::unique_ptr<Transfers>> curl_transfers(const TransferOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return fail(Code::kInternal, std::string("libcurl: ") + curl_easy_strerror(initialised));
  auto transfers = std::make_unique<CurlTransfers>(options);
  if (!transfers->ok()) return fail(Code::kInternal, "libcurl gives no handle");
  return std::unique_ptr<Transfers>(std::move(transfers));
}

std::string shown_url(std::string_view url) {
  const UrlText parts = split_url(url);
  return std::string(parts.before) + std::string(parts.rest);
}

}  // namespace inferd::http
