// A line over kInlineParseBytes: decoded on the pool, so that the I/O thread goes on. I/O thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "os/asio.h"
#include "session/connection.h"

namespace inferd {

/// `decode` is pure; `handle` is called with its result on the I/O thread while the connection lives.
template <class Decoded, class Handle>
void decode_on_pool(Connection& connection, SessionContext& context, std::string line, Decoded (*decode)(std::string_view), Handle handle) {
  auto text = std::make_shared<std::string>(std::move(line));
  connection.set_parsing(text->size());
  const auto work = [&context, text, decode, handle, self = connection.shared_from_this()] {
    auto decoded = std::make_shared<Decoded>(decode(*text));
    os::asio::post(context.io, [decoded, handle, self] {
      self->set_parsing(0);
      handle(std::move(*decoded));
    });
  };
  if (!context.pool.try_run(work)) work();  // the pool is full: this frame costs the I/O thread some milliseconds
}

}  // namespace inferd
