// Boost.Asio as inferd uses it: compiled once (asio.cc), one io_context run by one thread.
#pragma once

#include <boost/asio/error.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

namespace inferd::os {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

}  // namespace inferd::os
