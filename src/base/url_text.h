// A URL in the parts that decide what of it may be shown: user name and password, and what stands in the query, may be secret. No parser: any
// text has these parts. Pure; any thread.
#pragma once

#include <string_view>

namespace inferd {

/// before + user ("NAME:PASSWORD@" or empty) + rest + query ("?..." or "#..." or empty) is the text.
struct UrlText {
  std::string_view before, user, rest, query;
};

/// Without "://" nobody knows where the host ends, as in "https:/user:password@host", a slip of the keyboard: then the user ends at the last "@".
UrlText split_url(std::string_view url);

}  // namespace inferd
