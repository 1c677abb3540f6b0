#include "schedule/dispatch.h"

#include <gtest/gtest.h>

#include "backend/mock/mock_backend.h"

namespace inferd {
namespace {

struct Record : Outcome {
  std::string text_, backend;
  int ends = 0;
  std::optional<Error> error;
  void piece(const Piece& piece) override { text_ += piece.text; }
  void queued(size_t) override {}
  void prefilled(uint32_t, uint32_t) override {}
  void done(const Completion&, const Backend& from) override {
    ++ends;
    backend = from.name();
  }
  void failed(const Error& failure) override {
    ++ends;
    error = failure;
  }
};

class DispatchTest : public ::testing::Test {
 protected:
  std::shared_ptr<Dispatch> submit(Record& record) {
    auto dispatch = std::make_shared<Dispatch>(scheduler_, std::make_shared<GenerateRequest>(), record);
    dispatch->submit(Breaker::Time());
    return dispatch;
  }
  os::asio::io_context io_;
  MockBackend first_{io_, {.name = "first", .tape = {"a", "b"}}}, second_{io_, {.name = "second", .tape = {"c"}}};
  Scheduler scheduler_{io_, 1};
};

TEST_F(DispatchTest, AnAnswerComesFromTheFirstBackend) {
  scheduler_.router().add(&first_);
  scheduler_.router().add(&second_);
  Record record;
  submit(record);
  EXPECT_EQ(record.text_, "ab");
  EXPECT_EQ(record.backend, "first");
  EXPECT_EQ(record.ends, 1);
}

TEST_F(DispatchTest, ABackendThatFailsBeforeTheFirstPieceIsReplacedByTheNext) {
  scheduler_.router().add(&first_);
  scheduler_.router().add(&second_);
  first_.options().fault = MockBackend::Fault::kUnavailable;
  Record record;
  submit(record);
  EXPECT_EQ(record.backend, "second");
  EXPECT_EQ(record.text_, "c");
  EXPECT_EQ(record.ends, 1);
}

TEST_F(DispatchTest, AfterTheFirstPieceAFailureIsTheAnswer) {
  scheduler_.router().add(&first_);
  scheduler_.router().add(&second_);
  first_.options().fault = MockBackend::Fault::kDropAfter;
  first_.options().drop_after = 1;
  Record record;
  submit(record);
  ASSERT_TRUE(record.error);
  EXPECT_EQ(record.error->code, Code::kBackendUnavailable);
  EXPECT_EQ(record.text_, "a");
}

TEST_F(DispatchTest, TheCallersOwnFaultIsNeitherRetriedNorCounted) {
  scheduler_.router().add(&first_);
  scheduler_.router().add(&second_);
  first_.options().fault = MockBackend::Fault::kInvalid;
  for (int i = 0; i < 5; ++i) {
    Record record;
    submit(record);
    ASSERT_TRUE(record.error);
    EXPECT_EQ(record.error->code, Code::kInvalidRequest);
  }
  first_.options().fault = MockBackend::Fault::kNone;
  Record record;
  submit(record);
  EXPECT_EQ(record.backend, "first") << "its breaker is closed";
}

TEST_F(DispatchTest, WithoutABackendThereIsAClearError) {
  Record record;
  submit(record);
  ASSERT_TRUE(record.error);
  EXPECT_EQ(record.error->message, "no backend available");
}

TEST_F(DispatchTest, ACancelledRequestFreesItsPlaceForTheOneThatWaits) {
  scheduler_.router().add(&first_);
  first_.options().delay = std::chrono::milliseconds(1);
  Record running, waiting, refused;
  const auto a = submit(running), b = submit(waiting), c = submit(refused);
  EXPECT_EQ(a->stage(), Dispatch::Stage::kRunning);
  EXPECT_EQ(b->stage(), Dispatch::Stage::kPrepared) << "prepared while it waits";
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code, Code::kQueueFull);
  int removed = 0;
  a->cancel([&](Dispatch::Stage stage, const Backend&) {
    ++removed;
    EXPECT_EQ(stage, Dispatch::Stage::kRunning);
  });
  EXPECT_EQ(removed, 1);
  EXPECT_EQ(b->stage(), Dispatch::Stage::kRunning);
  io_.run();
  EXPECT_EQ(waiting.text_, "ab");
  EXPECT_EQ(running.ends, 0);
}

TEST_F(DispatchTest, ThreeFailuresCloseABackendForTheNextRequests) {
  scheduler_.router().add(&first_);
  first_.options().fault = MockBackend::Fault::kUnavailable;
  for (int i = 0; i < 3; ++i) {
    Record record;
    submit(record);
    EXPECT_EQ(record.error->message, "mock");
  }
  Record record;
  submit(record);
  EXPECT_EQ(record.error->message, "no backend available");
}

}  // namespace
}  // namespace inferd
