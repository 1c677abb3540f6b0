// Our base64 decoder against OpenSSL's EVP_DecodeBlock. Decodes the same text with both in turn, each into a new buffer, and prints one JSON
// line: MB of text a second (10^6), medians of the rounds, and their ratio.
//   base64_bench [--mib 16] [--rounds 5]
// Exit codes: 0 ours is at least as fast; 1 it is not, or the two decode something else; 2 usage.
#include <openssl/evp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/base64.h"

namespace {

using Bytes = std::vector<unsigned char>;

Bytes with_openssl(const std::string& text) {
  Bytes bytes(text.size() / 4 * 3);
  const int size = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  bytes.resize(static_cast<size_t>(std::max(size, 0)));
  return bytes;
}

Bytes with_ours(const std::string& text) {
  Bytes bytes;
  if (!inferd::decode_base64(text, bytes)) bytes.clear();
  return bytes;
}

double megabytes_per_second(Bytes (*decode)(const std::string&), const std::string& text, const Bytes& expected) {
  const auto begin = std::chrono::steady_clock::now();
  const Bytes bytes = decode(text);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (bytes != expected) {
    std::fprintf(stderr, "base64_bench: what was decoded is not what was encoded\n");
    std::exit(1);
  }
  return static_cast<double>(text.size()) / 1e6 / took.count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  size_t mib = 16, rounds = 5;
  CLI::App app("base64: ours against OpenSSL's EVP_DecodeBlock");
  app.add_option("--mib", mib, "size of the text")->check(CLI::Range(1, 1'024));
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1'000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  std::mt19937 random(4648);
  Bytes bytes((mib << 20) / 4 * 3);  // whole groups: EVP_DecodeBlock would count padding as bytes
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
  const std::string text = inferd::encode_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  std::vector<double> ours, openssl;
  for (size_t round = 0; round < rounds + 1; ++round) {
    const double our_rate = megabytes_per_second(with_ours, text, bytes);
    const double openssl_rate = megabytes_per_second(with_openssl, text, bytes);
    if (round == 0) continue;  // the caches and the allocator are warm from here on
    ours.push_back(our_rate);
    openssl.push_back(openssl_rate);
  }
  const double ratio = median(ours) / median(openssl);
  std::printf("{\"mib\":%zu,\"rounds\":%zu,\"ours_mb_per_s\":%.1f,\"openssl_mb_per_s\":%.1f,\"ratio\":%.3f}\n", mib, rounds, median(ours),
              median(openssl), ratio);
  return ratio >= 1 ? 0 : 1;
}
