#include "base/url_text.h"

#include <algorithm>

namespace inferd {

UrlText split_url(std::string_view url) {
  const size_t query = std::min(url.find_first_of("?#"), url.size());
  const std::string_view address = url.substr(0, query);
  const size_t scheme = address.find("://");
  const size_t begin = scheme == std::string_view::npos ? 0 : scheme + 3;
  const size_t end = scheme == std::string_view::npos ? address.size() : std::min(address.find('/', begin), address.size());
  const size_t at = address.substr(begin, end - begin).rfind('@');
  const size_t host = at == std::string_view::npos ? begin : begin + at + 1;
  return {address.substr(0, begin), address.substr(begin, host - begin), address.substr(host), url.substr(query)};
}

}  // namespace inferd
