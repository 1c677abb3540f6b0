// The v2 surface: typed blocks (spec 02 §4-5). Owned by its connection; I/O thread.
#pragma once

#include <memory>
#include <vector>

#include "session/generate_session.h"

namespace inferd {

class V2Session final : public GenerateSession {
 public:
  static const SessionKind kKind;
  V2Session(Connection& connection, SessionContext& context);

 private:
  void forget_answer() override { std::vector<Piece>().swap(blocks_); }
  void write_piece(const Piece& piece) override;
  Status write_done(const Completion& completion, const Backend& backend) override;
  void log_done(const Done& done) override;

  std::vector<Piece> blocks_;  // without `stream`: whole blocks, to be sent at the end
};

}  // namespace inferd
