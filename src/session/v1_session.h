// The v1 surface: plain text (spec 01 §4-6). Owned by its connection; I/O thread.
#pragma once

#include <memory>
#include <string>

#include "session/generate_session.h"

namespace inferd {

class V1Session final : public GenerateSession {
 public:
  static const SessionKind kKind;
  V1Session(Connection& connection, SessionContext& context);

 private:
  void forget_answer() override;
  void write_piece(const Piece& piece) override;
  Status write_done(const Completion& completion, const Backend& backend) override;
  void log_done(const Done& done) override;

  std::string content_;  // the whole answer so far
};

}  // namespace inferd
