#include "store/fetch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <iterator>
#include <limits>
#include <list>
#include <thread>
#include <utility>

#include "os/file_reader.h"
#include "store/digest.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;
using http::Trouble;

constexpr size_t kPieceBytes = 64;  // that a connection brings at a time

struct Reply {
  http::ReplyHead head;
  std::string body;
  Trouble end = Trouble::kNone;
  bool endless = false;
};

// What a server of ranges answers.
Reply serve(const std::string& content, const http::Get& get, const std::string& tag = "\"1\"") {
  Reply reply;
  reply.head.validator = tag;
  if (!get.range || (!get.if_range.empty() && get.if_range != tag)) {
    reply.head.status = 200;
    reply.body = content;
  } else if (get.range->first >= content.size()) {
    reply.head.status = 416;
  } else {
    const uint64_t last = std::min<uint64_t>(get.range->last, content.size() - 1);
    reply.head.status = 206;
    reply.head.content_range = http::ContentRange{get.range->first, last, content.size()};
    reply.body = content.substr(get.range->first, last - get.range->first + 1);
  }
  reply.head.content_length = reply.body.size();
  return reply;
}

Reply serve_whole(const std::string& content) { return serve(content, {}); }

Reply status(int code) {
  Reply reply;
  reply.head.status = code;
  return reply;
}

// The server behind all connections of a test.
struct Site {
  std::function<Reply(const http::Get&)> answer;
  std::vector<http::Get> requests;
  uint64_t bytes_sent = 0;
  size_t most_at_once = 0;
  std::function<void()> on_round = [] {};
};

class FakeTransfers : public http::Transfers {
 public:
  explicit FakeTransfers(Site& site) : site_(site) {}

  Status start(const http::Get& get, http::Receiver& receiver) override {
    site_.requests.push_back(get);
    active_.push_back({&receiver, site_.answer(get)});
    site_.most_at_once = std::max(site_.most_at_once, active_.size());
    return {};
  }
  void stop(http::Receiver& receiver) override {
    std::erase_if(active_, [&](const Active& active) { return active.receiver == &receiver; });
  }
  std::vector<http::Ended> run(std::chrono::milliseconds) override {
    site_.on_round();
    std::vector<http::Ended> ended;
    for (auto at = active_.begin(); at != active_.end();) {
      const auto trouble = move_on(*at);
      if (trouble) ended.push_back({at->receiver, *trouble, "as the test wants it", at->reply.head});
      at = trouble ? active_.erase(at) : std::next(at);
    }
    return ended;
  }

 private:
  struct Active {
    http::Receiver* receiver;
    Reply reply;
    size_t at = 0;
    bool begun = false;
  };

  std::optional<Trouble> move_on(Active& active) {
    const int code = active.reply.head.status;
    if (code == 0) return active.reply.end;
    if (code != 200 && code != 206) return Trouble::kStatus;
    if (!std::exchange(active.begun, true) && !active.receiver->on_head(active.reply.head)) return Trouble::kStopped;
    if (active.reply.endless && active.at == active.reply.body.size()) active.at = 0;
    const std::string piece = active.reply.body.substr(active.at, kPieceBytes);
    active.at += piece.size();
    site_.bytes_sent += piece.size();
    if (!piece.empty() && !active.receiver->on_body(piece)) return Trouble::kStopped;
    if (active.at < active.reply.body.size() || active.reply.endless) return std::nullopt;
    return active.reply.end;
  }

  Site& site_;
  std::list<Active> active_;
};

std::string content_of(size_t bytes) {
  std::string content;
  for (size_t i = 0; i < bytes; ++i) content += static_cast<char>(i * 7 + i / 251);
  return content;
}

class FetchModel : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/fetch_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root_ = name;
    store_.emplace(ModelStore::open(root_ / "models").value());
    options_.produced_by = "inferd/test";
    options_.download.segment_bytes = 1000;
    options_.download.attempts = 3;
    options_.download.first_pause = options_.download.longest_pause = std::chrono::milliseconds(1);
    options_.download.longest_retry_after = std::chrono::milliseconds(1);
    options_.download.spare_bytes = 0;
    options_.pace = {.recent = 100, .durable = 1000};
    options_.phase_bytes = 1;
    options_.poll = std::chrono::milliseconds(1);
    site_.answer = [this](const http::Get& get) { return serve(content_, get); };
  }
  void TearDown() override { fs::remove_all(root_); }

  BlobId id() const { return BlobId::parse(sha256_of_text(content_).value()).value(); }
  FetchRequest request() const {
    return {.name = ModelName::parse("m").value(), .id = id(), .urls = urls_, .size_bytes = size_, .license = "mit", .distrust = distrust_};
  }
  Fetching<Fetched> fetch_now() {
    phases_.clear();
    return fetch(*store_, request(), options_,
                 {.cancelled = cancelled_,
                  .on_phase =
                      [this](Phase phase) {
                        phases_.push_back(std::move(phase));
                        on_phase_(phases_.back());
                      },
                  .transfers = [this]() -> Result<std::unique_ptr<http::Transfers>> { return std::make_unique<FakeTransfers>(site_); }});
  }
  // The blob is there, right, with its manifest, and nothing else is.
  void expect_fetched(const Fetching<Fetched>& fetched) {
    ASSERT_TRUE(fetched) << fetch_error_name(fetched.error().error) << ": " << fetched.error().message;
    EXPECT_EQ(fetched->bytes, content_.size());
    EXPECT_EQ(fetched->blob, store_->paths().blob(id()));
    EXPECT_EQ(os::read_file(fetched->blob, 1u << 20).value(), content_);
    const auto manifest = store_->manifest(ModelName::parse("m").value());
    ASSERT_TRUE(manifest) << manifest.error().message;
    EXPECT_EQ(manifest->blob_id(), id());
    EXPECT_EQ(manifest->size_bytes, content_.size());
    EXPECT_FALSE(fs::exists(store_->paths().partial_folder(id())));
  }
  // Nothing stands under the final name.
  void expect_failed(const Fetching<Fetched>& fetched, std::string_view name) {
    ASSERT_FALSE(fetched);
    EXPECT_EQ(fetch_error_name(fetched.error().error), name) << fetched.error().message;
    EXPECT_FALSE(fs::exists(store_->paths().blob(id())));
  }
  size_t quarantined() const {
    std::error_code error;
    fs::directory_iterator at(store_->paths().quarantine(), error);
    return error ? 0 : static_cast<size_t>(std::distance(at, fs::directory_iterator()));
  }
  std::vector<std::string> phase_names() const {
    std::vector<std::string> names;
    for (const auto& phase : phases_) {
      if (names.empty() || names.back() != phase.name) names.push_back(phase.name);
    }
    return names;
  }

  fs::path root_;
  std::string content_ = content_of(10'000);
  std::optional<ModelStore> store_;
  std::vector<std::string> urls_ = {"https://host/a/model.gguf"};
  std::optional<uint64_t> size_;
  bool distrust_ = false;
  FetchOptions options_;
  Site site_;
  std::atomic<bool> cancelled_ = false;
  std::vector<Phase> phases_;
  std::function<void(const Phase&)> on_phase_ = [](const Phase&) {};
};

TEST_F(FetchModel, ComesOverSeveralConnectionsAndIsThereTheNextTime) {
  const auto fetched = fetch_now();
  expect_fetched(fetched);
  EXPECT_EQ(fetched->how, Fetched::How::kDownloaded);
  EXPECT_EQ(site_.most_at_once, 4u);
  EXPECT_EQ(site_.requests.size(), 10u);
  EXPECT_EQ(site_.bytes_sent, content_.size());
  EXPECT_EQ(site_.requests[0].if_range, "");
  EXPECT_EQ(site_.requests[1].if_range, "\"1\"");
  EXPECT_THAT(phase_names(), ::testing::ElementsAre("checking_local", "download", "verify"));
  EXPECT_EQ(phases_[1].fields.at("downloaded_bytes"), Phase::Value(uint64_t{0}));
  EXPECT_EQ(store_->manifest(ModelName::parse("m").value())->source.registry, "host");
  site_.requests.clear();
  const auto again = fetch_now();
  expect_fetched(again);
  EXPECT_EQ(again->how, Fetched::How::kWasThere);
  EXPECT_TRUE(site_.requests.empty());
}

TEST_F(FetchModel, GoesOnAfterEachKill) {
  struct Killed {};  // as after SIGKILL, nothing is recorded on the way out
  for (uint64_t kill = 1500; kill < content_.size(); kill += 1500) {
    site_.on_round = [this, kill] {
      if (site_.bytes_sent >= kill) throw Killed();
    };
    EXPECT_THROW((void)fetch_now(), Killed);
  }
  site_.on_round = [] {};
  expect_fetched(fetch_now());
  EXPECT_LT(site_.bytes_sent, content_.size() + 6 * (100 + 4 * kPieceBytes + kPieceBytes)) << "only what no record vouched for came twice";
}

TEST_F(FetchModel, WhoIsKilledAfterTheLastByteDoesNotBeginAtZero) {
  struct Killed {};
  on_phase_ = [](const Phase& phase) {
    if (phase.name == "verify") throw Killed();
  };
  EXPECT_THROW((void)fetch_now(), Killed);
  on_phase_ = [](const Phase&) {};
  expect_fetched(fetch_now());
  EXPECT_LE(site_.bytes_sent, content_.size() + 100 + 4 * kPieceBytes);
}

TEST_F(FetchModel, GoesOnWithEveryByteAfterItWasStopped) {
  site_.on_round = [this] { cancelled_ = site_.bytes_sent >= 4321; };
  expect_failed(fetch_now(), "cancelled");
  cancelled_ = false;
  site_.on_round = [] {};
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size());
}

TEST_F(FetchModel, FromZeroWhenTheFileHasChangedMeanwhile) {
  const std::string old = content_of(9'000);
  for (const bool honours_if_range : {true, false}) {
    site_.bytes_sent = 0;
    site_.answer = [&](const http::Get& get) { return serve(old, get, "\"old\""); };
    site_.on_round = [this] { cancelled_ = site_.bytes_sent >= 3000; };
    expect_failed(fetch_now(), "cancelled");
    cancelled_ = false;
    site_.on_round = [] {};
    site_.answer = [&](http::Get get) {
      if (!honours_if_range) get.if_range.clear();
      return serve(content_, get, "\"new\"");
    };
    expect_fetched(fetch_now());
    ASSERT_TRUE(store_->remove(ModelName::parse("m").value()));
    EXPECT_EQ(quarantined(), 0u);
  }
}

TEST_F(FetchModel, AShorterFileThanWhatIsThereIsTakenFromZero) {
  const std::string longer = content_of(20'000);
  site_.answer = [&](const http::Get& get) { return serve(longer, get, ""); };
  site_.on_round = [this] { cancelled_ = site_.bytes_sent >= 15'000; };
  expect_failed(fetch_now(), "cancelled");
  cancelled_ = false;
  site_.on_round = [] {};
  site_.answer = [&](const http::Get& get) { return serve(content_, get, ""); };
  expect_fetched(fetch_now());
}

TEST_F(FetchModel, AServerWithoutRangesIsReadAlone) {
  site_.answer = [&](const http::Get&) { return serve_whole(content_); };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.most_at_once, 1u);
}

TEST_F(FetchModel, AServerThatForgetsRangesIsTakenFromZero) {
  site_.answer = [&](const http::Get& get) { return site_.requests.size() == 3 ? serve_whole(content_) : serve(content_, get); };
  expect_fetched(fetch_now());
}

TEST_F(FetchModel, ABodyWithoutALengthEndsWhereItEnds) {
  site_.answer = [&](const http::Get&) {
    Reply reply = serve_whole(content_);
    reply.head.content_length.reset();
    return reply;
  };
  expect_fetched(fetch_now());
  ASSERT_TRUE(store_->remove(ModelName::parse("m").value()));
  size_ = content_.size() + 1;
  expect_failed(fetch_now(), "size_mismatch");
}

TEST_F(FetchModel, AnEndlessBodyIsCut) {
  size_ = content_.size();
  site_.answer = [&](const http::Get&) {
    Reply reply = serve_whole(content_);
    reply.head.content_length.reset();
    reply.endless = true;
    return reply;
  };
  expect_failed(fetch_now(), "body_too_long");
  EXPECT_LE(fs::file_size(store_->paths().partial(id())), content_.size());
}

TEST_F(FetchModel, AWrongLengthIsANamedError) {
  size_ = content_.size();
  site_.answer = [&](const http::Get& get) { return serve(content_ + "x", get); };
  expect_failed(fetch_now(), "size_mismatch");
  site_.answer = [&](const http::Get&) {
    Reply reply = serve_whole(content_);
    reply.head.content_length = content_.size() + 10;
    reply.end = Trouble::kCut;
    return reply;
  };
  size_.reset();
  expect_failed(fetch_now(), "connection_lost");
}

TEST_F(FetchModel, AWrongRangeIsABadReply) {
  site_.answer = [&](const http::Get& get) {
    Reply reply = serve(content_, get);
    if (reply.head.content_range) reply.head.content_range->first += 1;
    return reply;
  };
  expect_failed(fetch_now(), "bad_reply");
}

TEST_F(FetchModel, RangesThatDoNotSayHowLongTheFileIsNeedItsSize) {
  site_.answer = [&](const http::Get& get) {
    Reply reply = serve(content_, get);
    if (reply.head.content_range) reply.head.content_range->total.reset();
    return reply;
  };
  expect_failed(fetch_now(), "bad_reply");
  size_ = content_.size();
  expect_fetched(fetch_now());
}

TEST_F(FetchModel, AnAnswerThatBreaksBehindItsLastByteIsWhole) {
  options_.download.attempts = 1;
  site_.answer = [&](const http::Get& get) {
    Reply reply = serve(content_, get);
    reply.head.content_length = reply.body.size() + 100;
    reply.end = Trouble::kCut;
    return reply;
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.requests.size(), 10u);
}

TEST_F(FetchModel, ConnectionsThatBreakAreTakenUpAgain) {
  options_.download.attempts = 30;
  site_.answer = [&](const http::Get& get) {
    Reply reply = serve(content_, get);
    if (site_.requests.size() % 2 == 0) {
      reply.body.resize(reply.body.size() / 2);
      reply.end = Trouble::kCut;
    }
    return reply;
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size());
}

TEST_F(FetchModel, AServerOfOneConnectionIsReadByOne) {
  site_.answer = [&](const http::Get& get) {
    const size_t nth = site_.requests.size();
    return nth > 1 && nth < 5 ? status(503) : serve(content_, get);
  };
  expect_fetched(fetch_now());
}

TEST_F(FetchModel, TroubleThatPassesIsWaitedFor) {
  site_.answer = [&](const http::Get& get) {
    if (site_.requests.size() > 2) return serve(content_, get);
    Reply reply = status(429);
    reply.head.retry_after = std::chrono::seconds(1);
    return reply;
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.requests[0].url, site_.requests[2].url);
}

TEST_F(FetchModel, TroubleThatStaysHasAName) {
  const std::vector<std::pair<Trouble, std::string>> troubles = {
      {Trouble::kResolve, "resolve_failed"}, {Trouble::kConnect, "connect_failed"},       {Trouble::kConnectTimeout, "connect_timeout"},
      {Trouble::kTls, "tls_failed"},         {Trouble::kStalled, "stalled"},              {Trouble::kInsecureRedirect, "insecure_redirect"},
      {Trouble::kCut, "connection_lost"},    {Trouble::kTooManyRedirects, "too_many_redirects"}};
  for (const auto& [trouble, name] : troubles) {
    site_.answer = [&](const http::Get&) {
      Reply reply;
      reply.end = trouble;
      return reply;
    };
    expect_failed(fetch_now(), name);
  }
  site_.answer = [](const http::Get&) { return status(404); };
  site_.requests.clear();
  expect_failed(fetch_now(), "http_status");
  EXPECT_EQ(site_.requests.size(), 1u) << "the same answer would come again";
}

TEST_F(FetchModel, TheNextMirrorGoesOnWithWhatIsThere) {
  urls_ = {"https://one/f", "https://two/f"};
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[1]) return serve(content_, get, "\"two\"");
    return site_.requests.size() > 5 ? status(404) : serve(content_, get);
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size());
  EXPECT_EQ(store_->manifest(ModelName::parse("m").value())->source.registry, "two");
}

TEST_F(FetchModel, WrongBytesGoToQuarantineAndTheNextMirrorBeginsAtZero) {
  urls_ = {"https://one/f", "https://two/f", "https://three/f"};
  std::string wrong = content_;
  wrong[5000] ^= 1;
  site_.answer = [&](const http::Get& get) { return serve(get.url == urls_[0] ? wrong : content_, get); };
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 1u);
  EXPECT_EQ(site_.bytes_sent, 2 * content_.size());
  EXPECT_THAT(phase_names(), ::testing::ElementsAre("checking_local", "download", "verify", "quarantine", "download", "verify"));
}

TEST_F(FetchModel, WrongBytesTwiceAreAnError) {
  urls_ = {"https://one/f", "https://two/f", "https://three/f"};
  std::string wrong = content_;
  wrong[5000] ^= 1;
  site_.answer = [&](const http::Get& get) { return serve(wrong, get); };
  expect_failed(fetch_now(), "sha256_mismatch");
  EXPECT_EQ(quarantined(), 2u);
  urls_.resize(1);
  expect_failed(fetch_now(), "sha256_mismatch");
  EXPECT_EQ(quarantined(), 2u) << "the oldest has made room";
}

TEST_F(FetchModel, AWrongByteOfTwoMirrorsDoesNotUseUpTheNextMirror) {
  urls_ = {"https://one/f", "https://two/f", "https://three/f"};
  std::string wrong = content_;
  wrong[10] ^= 1;
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[2]) return serve(content_, get);
    return get.url == urls_[0] && site_.requests.size() > 5 ? status(404) : serve(wrong, get);
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 2u) << "the mixed file, and the second mirror's";
}

TEST_F(FetchModel, BytesOfTwoMirrorsAreKnownAsThatAfterAKill) {
  struct Killed {};
  urls_ = {"https://one/f", "https://two/f"};
  std::string wrong = content_;
  wrong[10] ^= 1;
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[1]) return serve(content_, get);
    return site_.requests.size() > 5 ? status(404) : serve(wrong, get);
  };
  site_.on_round = [this] {
    if (site_.requests.back().url == urls_[1] && site_.bytes_sent >= 9000) throw Killed();
  };
  EXPECT_THROW((void)fetch_now(), Killed);
  site_.on_round = [] {};
  urls_ = {"https://two/f"};
  site_.answer = [this](const http::Get& get) { return serve(content_, get); };
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 1u) << "once more from the same URL, since it may not be the one that is wrong";
}

TEST_F(FetchModel, ARangeThatEndsBehindWhatWasAskedForIsABadReply) {
  for (const uint64_t beyond : {uint64_t{1}, std::numeric_limits<uint64_t>::max()}) {
    size_ = content_.size();
    site_.answer = [&](const http::Get& get) {
      Reply reply = serve(content_, get);
      if (!reply.head.content_range) return reply;
      auto& range = *reply.head.content_range;
      range = {range.first, beyond == 1 ? get.range->last + 1 : beyond, std::nullopt};
      reply.endless = true;
      return reply;
    };
    expect_failed(fetch_now(), "bad_reply");
    EXPECT_EQ(site_.bytes_sent, 0u);
  }
}

TEST_F(FetchModel, WhatIsThereOutlivesAnAnswerOfAnotherSize) {
  site_.on_round = [this] { cancelled_ = site_.bytes_sent >= 6000; };
  expect_failed(fetch_now(), "cancelled");
  cancelled_ = false;
  site_.on_round = [] {};
  const uint64_t kept = site_.bytes_sent;
  size_ = content_.size();
  const auto right = site_.answer;
  for (const auto& answer : std::vector<std::function<Reply(const http::Get&)>>{
           [](const http::Get&) { return serve_whole("a page that asks for a password"); }, [](const http::Get&) { return status(416); },
           [this](const http::Get& get) { return serve(content_ + "x", get, "\"2\""); }}) {
    site_.answer = answer;
    expect_failed(fetch_now(), "size_mismatch");
  }
  site_.answer = right;
  site_.bytes_sent = 0;
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size() - kept);
}

TEST_F(FetchModel, AMirrorOfAnotherSizeIsGivenUpForTheNextOne) {
  urls_ = {"https://one/f", "https://two/f", "https://three/f", "https://four/f"};
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[1]) return serve_whole("another file");
    if (get.url == urls_[2]) return serve(content_ + "x", get);
    return get.url == urls_[0] && site_.requests.size() > 5 ? status(404) : serve(content_, get);
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size());
}

TEST_F(FetchModel, BytesThatNoMirrorGoesOnWithAreThrownAway) {
  urls_ = {"https://one/f", "https://two/f"};
  const std::string other = content_of(12'000);
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[1]) return serve(content_, get);
    return site_.requests.size() > 5 ? status(404) : serve(other, get);
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 0u);
}

TEST_F(FetchModel, NothingOldIsLeftBehindAShorterModel) {
  {
    auto partial = PartialFile::open(store_->files(), store_->paths(), id(), options_.pace).value();
    partial.set_origin({.url = urls_[0], .validator = "\"1\"", .total = content_.size()});
    ASSERT_TRUE(partial.write(0, content_.substr(0, 500)));
    ASSERT_TRUE(partial.record_recent());
  }
  std::ofstream(store_->paths().partial(id()), std::ios::app) << content_of(20'000);
  expect_fetched(fetch_now());
  EXPECT_EQ(site_.bytes_sent, content_.size() - 500);
}

TEST_F(FetchModel, WrongBytesOfTwoMirrorsAreTriedOnceMoreFromTheSecond) {
  urls_ = {"https://one/f", "https://two/f"};
  std::string wrong = content_;
  wrong[10] ^= 1;
  site_.answer = [&](const http::Get& get) {
    if (get.url == urls_[1]) return serve(content_, get, "\"two\"");
    return site_.requests.size() > 5 ? status(404) : serve(wrong, get);
  };
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 1u);
}

TEST_F(FetchModel, NeedsRoom) {
  options_.download.spare_bytes = std::numeric_limits<uint64_t>::max();
  expect_failed(fetch_now(), "no_space");
  EXPECT_LE(site_.bytes_sent, kPieceBytes);
}

TEST_F(FetchModel, ASizeThatOnlyOneServerClaimsIsNoFullDisk) {
  urls_ = {"https://one/f", "https://two/f"};
  site_.answer = [&](const http::Get& get) {
    Reply reply = serve(content_, get);
    if (get.url == urls_[0]) reply.head.content_range->total = uint64_t{1} << 60;
    return reply;
  };
  expect_fetched(fetch_now());
}

TEST_F(FetchModel, NeedsAUrlOfHttps) {
  urls_ = {"https://h/f", "http://127.0.0.1/f"};
  expect_failed(fetch_now(), "not_https");
  urls_ = {"https://h/f\nx"};
  expect_failed(fetch_now(), "bad_url");
  urls_ = {};
  expect_failed(fetch_now(), "no_source");
  EXPECT_TRUE(site_.requests.empty());
}

TEST_F(FetchModel, ABlobWithoutAManifestIsVerified) {
  fs::create_directories(store_->paths().blob_folder(id()));
  std::ofstream(store_->paths().blob(id())) << content_;
  const auto fetched = fetch_now();
  expect_fetched(fetched);
  EXPECT_EQ(fetched->how, Fetched::How::kVerified);
  EXPECT_THAT(phase_names(), ::testing::ElementsAre("checking_local", "verify"));
  EXPECT_TRUE(site_.requests.empty());
}

TEST_F(FetchModel, AWrongBlobWithoutAManifestIsReplaced) {
  fs::create_directories(store_->paths().blob_folder(id()));
  std::ofstream(store_->paths().blob(id())) << "something else";
  expect_fetched(fetch_now());
  EXPECT_EQ(quarantined(), 1u);
}

TEST_F(FetchModel, ADistrustedBlobIsHashedWhateverItsManifestSays) {
  expect_fetched(fetch_now());
  site_.requests.clear();
  distrust_ = true;
  const auto good = fetch_now();
  expect_fetched(good);
  EXPECT_EQ(good->how, Fetched::How::kVerified);
  EXPECT_TRUE(site_.requests.empty());
  std::ofstream(store_->paths().blob(id())) << std::string(content_.size(), 'x');
  const auto mended = fetch_now();
  expect_fetched(mended);
  EXPECT_EQ(mended->how, Fetched::How::kDownloaded);
  EXPECT_EQ(quarantined(), 1u);
}

TEST_F(FetchModel, TheSecondWaitsAndSeesTheSameProgress) {
  // The server holds the rest back until the one who waits has seen something; the second begins when the first has a partial file.
  std::promise<void> begun, seen;
  bool waited = false;
  site_.on_round = [&] {
    if (site_.bytes_sent > 2000 && !std::exchange(waited, true)) {
      begun.set_value();
      seen.get_future().wait_for(std::chrono::seconds(10));
    }
  };
  std::thread second([&] {
    begun.get_future().wait();
    const auto refuse = []() -> Result<std::unique_ptr<http::Transfers>> { return fail(Code::kInternal, "downloads, too"); };
    const auto look = [&, told = false](const Phase& phase) mutable {
      if (phase.name == "download" && !std::exchange(told, true)) seen.set_value();
    };
    const auto fetched = fetch(*store_, request(), options_, {.cancelled = cancelled_, .on_phase = look, .transfers = refuse});
    ASSERT_TRUE(fetched) << fetched.error().message;
    EXPECT_EQ(fetched->how, Fetched::How::kWasThere);
  });
  expect_fetched(fetch_now());
  second.join();
  EXPECT_TRUE(waited);
}

}  // namespace
}  // namespace inferd::store
