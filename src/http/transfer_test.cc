#include "http/transfer.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace inferd::http {
namespace {

class Body : public Receiver {
 public:
  bool on_head(const ReplyHead&) override { return true; }
  bool on_body(std::string_view bytes) override {
    text += bytes;
    return true;
  }
  std::string text;
};

TEST(Transfers, FetchNothingButHttps) {
  auto transfers = curl_transfers({}).value();
  Body body;
  for (const char* url : {"http://127.0.0.1/f", "http://localhost/f", "file:///etc/passwd", "ftp://h/f", "HTTP://h/", ""}) {
    const auto started = transfers->start({.url = url, .range = {}, .if_range = {}}, body);
    ASSERT_FALSE(started) << url;
    EXPECT_EQ(started.error().code, Code::kUsage);
  }
}

TEST(Transfers, SayWhyThereIsNoConnection) {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) ::unsetenv(name);
  auto transfers = curl_transfers({}).value();
  Body body;
  ASSERT_TRUE(transfers->start({.url = "https://127.0.0.1:1/f", .range = Get::Range{0, 9}, .if_range = "\"v\""}, body));
  std::vector<Ended> ended;
  for (int i = 0; i < 100 && ended.empty(); ++i) ended = transfers->run(std::chrono::milliseconds(100));
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].receiver, &body);
  EXPECT_EQ(ended[0].trouble, Trouble::kConnect) << ended[0].message;
  EXPECT_EQ(ended[0].head.status, 0);
  EXPECT_NE(ended[0].message, "");
  EXPECT_TRUE(transfers->run(std::chrono::milliseconds(1)).empty());
}

TEST(Transfers, AStoppedOneIsNotReported) {
  auto transfers = curl_transfers({}).value();
  Body body;
  ASSERT_TRUE(transfers->start({.url = "https://127.0.0.1:1/f", .range = {}, .if_range = {}}, body));
  transfers->stop(body);
  EXPECT_TRUE(transfers->run(std::chrono::milliseconds(1)).empty());
}

TEST(ShownUrl, HidesSecrets) {
  EXPECT_EQ(shown_url("https://user:pass@h:8/p/f.gguf?sig=secret#x"), "https://h:8/p/f.gguf");
  EXPECT_EQ(shown_url("https://h/a@b"), "https://h/a@b");
  EXPECT_EQ(shown_url("https://h"), "https://h");
  EXPECT_EQ(shown_url("https:/user:pass@h/p"), "h/p");
  EXPECT_EQ(shown_url(""), "");
}

}  // namespace
}  // namespace inferd::http
