#include "os/secret_memory.h"

#include <openssl/crypto.h>
#include <string.h>

#include <algorithm>

namespace inferd::os {

void wipe(std::string& text) {
  text.resize(text.capacity());  // bytes of a longer text may stand behind the end
  ::explicit_bzero(text.data(), text.size());
  text.clear();
}

SecretText::SecretText(std::string&& source) : bytes_(std::make_unique<char[]>(source.size())), size_(source.size()) {
  source.copy(bytes_.get(), size_);
  wipe(source);
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  if (this == &other) return *this;
  overwrite();
  bytes_ = std::move(other.bytes_);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void SecretText::overwrite() noexcept {
  if (bytes_) ::explicit_bzero(bytes_.get(), size_);
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void hide_arguments(int argc, char** argv, std::span<const std::string_view> options) {
  const auto hide = [](char* value) { ::memset(value, 'x', ::strlen(value)); };
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string_view name = argument.substr(0, argument.find('='));
    if (std::ranges::find(options, name) == options.end()) continue;
    if (name.size() < argument.size()) {
      hide(argv[i] + name.size() + 1);
    } else if (i + 1 < argc) {
      hide(argv[++i]);
    }
  }
}

}  // namespace inferd::os
