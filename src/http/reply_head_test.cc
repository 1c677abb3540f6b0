#include "http/reply_head.h"

#include <gtest/gtest.h>

namespace inferd::http {
namespace {

TEST(ContentRange, IsReadStrictly) {
  const auto range = read_content_range("bytes 10-19/200");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->first, 10u);
  EXPECT_EQ(range->last, 19u);
  EXPECT_EQ(range->total, 200u);
  EXPECT_EQ(read_content_range(" Bytes 0-0/*")->total, std::nullopt);
  for (const char* wrong : {"", "bytes", "bytes */200", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-/10", "bytes -5/10", "items 0-1/2",
                            "bytes 0-1", "bytes 0x0-1/2", "bytes 0-99999999999999999999/*", "bytes 0-1/2x"}) {
    EXPECT_FALSE(read_content_range(wrong)) << wrong;
  }
}

TEST(ReplyHead, IsThatOfTheLastAnswer) {
  HeadReader reader;
  for (const char* line : {"HTTP/1.1 302 Found\r\n", "ETag: \"redirect\"\r\n", "Content-Length: 5\r\n", "\r\n",
                           "HTTP/1.1 206 Partial Content\r\n", "eTaG:  \"v1\" \r\n", "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n",
                           "Content-Range: bytes 0-9/100\r\n", "\r\n"}) {
    reader.line(line);
  }
  const ReplyHead head = reader.head(206);
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(head.content_length, std::nullopt);
  EXPECT_EQ(head.validator, "\"v1\"");
  EXPECT_EQ(head.content_range->total, 100u);
}

TEST(ReplyHead, AWeakTagIsNoValidator) {
  HeadReader reader;
  reader.line("HTTP/1.1 200 OK\r\n");
  reader.line("ETag: W/\"v1\"\r\n");
  EXPECT_EQ(reader.head(200).validator, "");
  reader.line("Last-Modified: yesterday\r\n");
  EXPECT_EQ(reader.head(200).validator, "yesterday");
}

TEST(ReplyHead, ATagWithAControlCharacterIsNoValidator) {
  HeadReader reader;
  reader.line("HTTP/1.1 200 OK\r\n");
  reader.line("ETag: \"a\rRange: bytes=0-0\"\r\n");
  EXPECT_EQ(reader.head(200).validator, "");
}

}  // namespace
}  // namespace inferd::http
