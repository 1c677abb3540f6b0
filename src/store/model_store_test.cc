#include "store/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <optional>

#include "os/file_lock.h"
#include "os/file_reader.h"
#include "os/system.h"
#include "store/digest.h"
#include "store/import.h"
#include "store/producer_lock.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/model_store_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    auto store = ModelStore::open(folder_ / "models");
    ASSERT_TRUE(store) << store.error().message;
    store_.emplace(std::move(*store));
  }
  void TearDown() override { fs::remove_all(folder_); }

  static BlobId id_of(const std::string& bytes) { return BlobId::parse(sha256_of_text(bytes).value()).value(); }
  static ModelName name_of(const std::string& text) { return ModelName::parse(text).value(); }
  const StorePaths& paths() const { return store_->paths(); }

  fs::path write(const fs::path& path, const std::string& bytes) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << bytes;
    return path;
  }
  Result<Imported> import_bytes(const std::string& bytes, const std::string& name, std::optional<BlobId> expected = {}) {
    return import_file(*store_, write(folder_ / "model.gguf", bytes), name_of(name), expected, "test/1",
                       {.cancelled = cancelled_, .progress = [](std::string_view, uint64_t, uint64_t) {}});
  }
  std::vector<std::string> garbage_kinds(const std::set<BlobId>& keep = {}) {
    std::vector<std::string> kinds;
    const auto garbage = store_->find_garbage(keep).value();
    for (const auto& item : garbage) kinds.emplace_back(kind_name(item.kind));
    return kinds;
  }

  fs::path folder_;
  std::optional<ModelStore> store_;
  const std::atomic<bool> cancelled_ = false;
};

TEST_F(Store, HasTheFoldersOfTheFormatForTheOwnerAlone) {
  for (const char* folder : {"blobs/sha256", "manifests", "locks"}) {
    EXPECT_EQ(fs::status(paths().root() / folder).permissions(), fs::perms::owner_all) << folder;
  }
  EXPECT_TRUE(store_->list()->empty());
  EXPECT_TRUE(store_->find_garbage({})->empty());
  EXPECT_EQ(ModelStore::open_to_read(folder_ / "nowhere").error().code, Code::kNotFound);
}

TEST_F(Store, AnImportedFileIsAModel) {
  const auto imported = import_bytes("weights", "smol/1");
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(imported->id, id_of("weights"));
  EXPECT_EQ(imported->bytes, 7u);
  EXPECT_TRUE(imported->kind.has_value());
  EXPECT_EQ(os::read_file(paths().blob(imported->id), 100).value(), "weights");
  const auto models = store_->list().value();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].name, "smol/1");
  EXPECT_EQ(models[0].manifest->name, "smol/1");
  EXPECT_EQ(models[0].manifest->source.filename, "model.gguf");
  EXPECT_EQ(models[0].blob_bytes, 7u);
  EXPECT_THAT(garbage_kinds(), ::testing::IsEmpty()) << "the import has left nothing";
  EXPECT_EQ(import_bytes("weights", "second")->kind, std::nullopt) << "the blob was there";
}

TEST_F(Store, AnImportOfOtherBytesThanExpectedIsRefused) {
  const auto refused = import_bytes("weights", "smol", id_of("other"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kIntegrity);
  EXPECT_THAT(garbage_kinds(), ::testing::IsEmpty());
  EXPECT_TRUE(store_->list()->empty());
}

TEST_F(Store, ANewManifestKeepsOtherToolsFields) {
  ASSERT_TRUE(import_bytes("weights", "smol"));
  const fs::path path = paths().manifest(name_of("smol"));
  std::string text = os::read_file(path, 10000).value();
  text.replace(text.rfind("\n}"), 2, ",\n  \"x\": [1.0]\n}");
  write(path, text);
  Manifest next = store_->manifest(name_of("smol")).value();
  next.extra.clear();
  next.license = "mit";
  ASSERT_TRUE(store_->set_manifest(name_of("smol"), next));
  EXPECT_NE(os::read_file(path, 10000)->find("\"x\": [1.0]"), std::string::npos);
  EXPECT_EQ(store_->manifest(name_of("smol"))->license, "mit");
}

TEST_F(Store, RemovingTheLastNameRemovesTheBlob) {
  const BlobId id = import_bytes("weights", "a")->id;
  ASSERT_TRUE(import_bytes("weights", "b"));
  EXPECT_EQ(store_->remove(name_of("a"))->kept_because, "another model needs it");
  {
    const HeldBlob held = store_->hold(id).value();
    EXPECT_EQ(store_->remove(name_of("b"))->kept_because, "a running daemon holds it");
  }
  EXPECT_TRUE(fs::exists(paths().blob(id)));
  ASSERT_TRUE(import_bytes("weights", "c"));
  EXPECT_TRUE(store_->remove(name_of("c"))->blob_removed);
  EXPECT_FALSE(fs::exists(paths().blob_folder(id)));
  EXPECT_EQ(store_->remove(name_of("c")).error().code, Code::kNotFound);
  EXPECT_EQ(store_->hold(id).error().code, Code::kNotFound);
}

TEST_F(Store, NobodyRemovesWhatIsBeingProduced) {
  const BlobId id = import_bytes("weights", "a")->id;
  auto lock = ProducerLock::acquire(paths(), name_of("a"), id, {.cancelled = cancelled_, .on_progress = [](const ProducerProgress&) {}});
  ASSERT_TRUE(lock);
  EXPECT_EQ(store_->remove(name_of("a")).error().code, Code::kInUse);
}

TEST_F(Store, GcFindsWhatNobodyNeeds) {
  const BlobId needed = import_bytes("needed", "a")->id, kept = id_of("kept"), held = id_of("held"), lost = id_of("lost");
  for (const char* bytes : {"kept", "held", "lost"}) write(paths().blob(id_of(bytes)), bytes);
  write(paths().partial(id_of("half")), "ha");
  write(paths().partial(id_of("running")), "runn");
  write(paths().manifests() / "a.json.tmp", "{");
  write(paths().blobs() / ".import-12" / "data.tmp", "abc");
  ASSERT_TRUE(store_->quarantine(write(folder_ / "bad", "bad"), "sha-mismatch"));
  const auto producer = os::FileLock::try_exclusive(paths().blob_lock(id_of("running"))).value();
  std::optional<HeldBlob> user = store_->hold(held).value();

  EXPECT_THAT(garbage_kinds({kept}), ::testing::UnorderedElementsAre("blob", "partial download", "unfinished manifest", "unfinished import",
                                                                     "quarantined file"));
  const auto before = store_->find_garbage({}).value();
  user.reset();
  user = store_->hold(kept).value();  // since then somebody has come to use it
  const Collected collected = store_->collect(before, {});
  ASSERT_EQ(collected.kept.size(), 1u);
  EXPECT_EQ(collected.kept[0].second, "a running daemon holds it");
  EXPECT_TRUE(fs::exists(paths().blob(needed)));
  EXPECT_TRUE(fs::exists(paths().blob(kept)));
  EXPECT_TRUE(fs::exists(paths().blob(held))) << "was held when garbage was looked for";
  EXPECT_FALSE(fs::exists(paths().blob(lost)));
  EXPECT_FALSE(fs::exists(paths().partial_folder(id_of("half"))));
  EXPECT_TRUE(fs::exists(paths().partial(id_of("running"))));
}

TEST_F(Store, GcDeletesNothingWhileAManifestCannotBeRead) {
  write(paths().blob(id_of("a")), "a");
  const auto found = store_->find_garbage({}).value();
  EXPECT_EQ(found.size(), 1u);
  write(paths().manifests() / "broken.json", "{");
  EXPECT_EQ(store_->find_garbage({}).error().code, Code::kIntegrity);
  EXPECT_EQ(store_->collect(found, {}).kept.size(), 1u);
  EXPECT_TRUE(fs::exists(paths().blob(id_of("a"))));
  EXPECT_FALSE(store_->list()->front().manifest);
}

TEST_F(Store, TwoQuarantinesOfOneSecondAreTwoFiles) {
  const auto now = std::chrono::system_clock::from_time_t(0);
  const auto first = store_->quarantine(write(folder_ / "bad", "1"), "sha/mismatch", now).value();
  const auto second = store_->quarantine(write(folder_ / "bad", "2"), "sha/mismatch", now).value();
  EXPECT_EQ(first, paths().quarantine() / "19700101T000000Z-sha-mismatch.bin");
  EXPECT_EQ(second, paths().quarantine() / "19700101T000000Z-sha-mismatch-2.bin");
  EXPECT_EQ(os::read_file(first, 10).value(), "1");
  EXPECT_EQ(os::read_file(second, 10).value(), "2");
}

TEST_F(Store, OfAReasonTheNewestTwoStayInQuarantine) {
  const auto at = [](int seconds) { return std::chrono::system_clock::from_time_t(seconds); };
  ASSERT_TRUE(store_->quarantine(write(folder_ / "bad", "other"), "too-long", at(0)));
  for (const int second : {1, 2, 2, 3}) {
    ASSERT_TRUE(store_->quarantine(write(folder_ / "bad", std::to_string(second)), "sha-mismatch", at(second)));
  }
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(paths().quarantine())) names.push_back(entry.path().filename());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("19700101T000000Z-too-long.bin", "19700101T000002Z-sha-mismatch-2.bin",
                                                     "19700101T000003Z-sha-mismatch.bin"));
}

TEST_F(Store, WhatTheConfigFileNamesIsNotRemovedUnderAnotherName) {
  const BlobId id = import_bytes("weights", "a")->id;
  EXPECT_EQ(store_->remove(name_of("a"), {id})->kept_because, "the config file names it");
  EXPECT_TRUE(fs::exists(paths().blob(id)));
}

TEST_F(Store, NothingIsDeletedThroughALink) {
  const BlobId id = id_of("half");
  const fs::path file = write(folder_ / "elsewhere" / "data.tmp", "somebody's");
  fs::create_directories(paths().blob_group(id));
  fs::create_directory_symlink(folder_ / "elsewhere", paths().partial_folder(id));
  const auto garbage = store_->find_garbage({}).value();
  ASSERT_EQ(garbage.size(), 1u);
  EXPECT_EQ(store_->collect(garbage, {}).kept.size(), 1u);
  EXPECT_TRUE(fs::exists(file));
}

TEST_F(Store, AFolderWithMoreThanFilesInItIsLeftAlone) {
  const BlobId id = id_of("half");
  const fs::path file = write(paths().partial(id), "ha");
  write(paths().partial_folder(id) / "folder" / "file", "x");
  EXPECT_EQ(store_->collect(store_->find_garbage({}).value(), {}).kept.size(), 1u);
  EXPECT_TRUE(fs::exists(file));
}

TEST_F(Store, AnImportOfAFileThatChangesMeanwhileIsRefused) {
  const fs::path file = write(folder_ / "model.gguf", "");
  fs::resize_file(file, 33u << 20);
  fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto change = [&](std::string_view phase, uint64_t, uint64_t) {
    if (phase == "verify") std::fstream(file, std::ios::in | std::ios::out) << "x";
  };
  const auto imported = import_file(*store_, file, name_of("m"), {}, "test/1", {.cancelled = cancelled_, .progress = change});
  if (imported && imported->kind == os::CopyKind::kReflink) GTEST_SKIP() << "the blob has its own bytes here";
  ASSERT_FALSE(imported);
  EXPECT_EQ(imported.error().code, Code::kIntegrity);
  EXPECT_NE(imported.error().message.find("was changed while it was read"), std::string::npos);
  EXPECT_TRUE(store_->list()->empty());
  EXPECT_THAT(garbage_kinds(), ::testing::IsEmpty());
}

TEST_F(Store, AFileNameThatIsNoUtf8MakesAManifestThatReads) {
  const fs::path file = write(folder_ / "a\xFF.gguf", "weights");
  const ImportHooks hooks{.cancelled = cancelled_, .progress = [](std::string_view, uint64_t, uint64_t) {}};
  ASSERT_TRUE(import_file(*store_, file, name_of("m"), {}, "test/1", hooks));
  const auto manifest = store_->manifest(name_of("m"));
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->source.filename, "a\xEF\xBF\xBD.gguf");
}

TEST_F(Store, ANewManifestOfTheSameBlobKeepsWhereItCameFrom) {
  const BlobId id = import_bytes("weights", "m")->id;
  Manifest known = store_->manifest(name_of("m")).value();
  known.license = "mit";
  known.source.registry = "host";
  ASSERT_TRUE(store_->set_manifest(name_of("m"), known));
  Manifest unknown;
  unknown.set_blob(id);
  unknown.size_bytes = 7;
  ASSERT_TRUE(store_->set_manifest(name_of("m"), unknown));
  EXPECT_EQ(store_->manifest(name_of("m"))->license, "mit");
  EXPECT_EQ(store_->manifest(name_of("m"))->source.registry, "host");
  EXPECT_EQ(store_->manifest(name_of("m"))->source.filename, "model.gguf");
  unknown.set_blob(id_of("other"));
  ASSERT_TRUE(store_->set_manifest(name_of("m"), unknown));
  EXPECT_EQ(store_->manifest(name_of("m"))->license, std::nullopt);
  EXPECT_EQ(store_->manifest(name_of("m"))->source.registry, "");
}

TEST_F(Store, RecordsOfABlobGoWithItAndGcFindsTheRest) {
  const BlobId id = import_bytes("weights", "m")->id;
  const auto record = [&](const std::string& bytes) { return paths().verified() / (id_of(bytes).hex() + ".4711"); };
  write(record("weights"), "x");
  write(record("gone"), "x");
  write(paths().verified() / "4711.key.12.tmp", "x");
  EXPECT_THAT(garbage_kinds(), ::testing::ElementsAre("verification record")) << "what was just written may be somebody's";
  fs::last_write_time(paths().verified() / "4711.key.12.tmp", fs::file_time_type::clock::now() - std::chrono::hours(2));
  EXPECT_EQ(garbage_kinds().size(), 2u);
  EXPECT_TRUE(store_->collect(store_->find_garbage({}).value(), {}).kept.empty());
  EXPECT_TRUE(fs::exists(record("weights")));
  ASSERT_TRUE(store_->remove(name_of("m")));
  EXPECT_TRUE(fs::is_empty(paths().verified()));
  write(paths().blob(id), "weighty");
  write(record("weights"), "x");
  ASSERT_TRUE(store_->quarantine(paths().blob(id), "sha-mismatch"));
  EXPECT_FALSE(fs::exists(record("weights")));
}

TEST_F(Store, WhoeverWaitsForAStoppedProcessEndsAndNamesIt) {
  const BlobId id = id_of("weights");
  size_t told = 0;
  const ProducerLock::Wait wait{.cancelled = cancelled_,
                                .on_progress = [&](const ProducerProgress&) { ++told; },
                                .poll = std::chrono::milliseconds(1),
                                .warn_after = std::chrono::milliseconds(5),
                                .give_up_after = std::chrono::milliseconds(50)};
  auto holder = ProducerLock::acquire(paths(), name_of("m"), id, wait);
  ASSERT_TRUE(holder);
  for (const bool shows : {false, true}) {
    if (shows) holder->show({.phase = "verify", .bytes = 1, .total = 2, .source_url = {}});
    const auto waiter = ProducerLock::acquire(paths(), name_of("m"), id, wait);
    ASSERT_FALSE(waiter);
    EXPECT_EQ(waiter.error().code, Code::kInUse);
    EXPECT_NE(waiter.error().message.find("process " + std::to_string(os::process_id())), std::string::npos) << waiter.error().message;
    EXPECT_NE(waiter.error().message.find(paths().name_lock(name_of("m")).string()), std::string::npos) << waiter.error().message;
    EXPECT_EQ(told, shows ? 1u : 0u) << "what the holder shows, not what the one before him has left";
  }
}

TEST(ProducerProgress, ReadsBackOrIsNothing) {
  const ProducerNote note{12, 3, {.phase = "download", .bytes = 5, .total = 7, .source_url = "https://h/f"}};
  const ProducerNote unknown{12, 4, {.phase = "verify", .bytes = 0, .total = std::nullopt, .source_url = {}}};
  EXPECT_EQ(read_note(note_text(note)), note);
  EXPECT_EQ(read_note(note_text(unknown)), unknown);
  EXPECT_EQ(read_note(note_text(unknown) + "e old end of a longer one"), unknown);
  for (const char* text : {"", "something else", "inferd-progress 1 verify 0 - -\n", "inferd-progress 2 1 1 verify x - -\n"}) {
    EXPECT_EQ(read_note(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace inferd::store
