// The power-cut model: every call of the store that changes the disk is recorded, the power is cut behind each of them, and what a disk may
// then hold (os/durable_file.h) is laid out in a folder and opened. Whatever it is, the store holds the old models or the new ones, whole.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "os/durable_file.h"
#include "os/file_reader.h"
#include "store/digest.h"
#include "store/import.h"
#include "store/model_store.h"
#include "store/partial_file.h"

namespace inferd::store {
namespace {

namespace fs = std::filesystem;

struct Op {
  enum class Kind { kOpen, kWrite, kResize, kSync, kSyncPath, kMakeFolder, kSyncFolder, kRename, kRemove, kRemoveFolder };
  Kind kind;
  fs::path path = {}, to = {};
  size_t handle = 0;    // of the file that kOpen opened
  uint64_t number = 0;  // offset, size, or whether kOpen empties the file
  std::string bytes = {};
};

// Does what it is told, and writes it down.
class Recorder : public os::FileSystem {
 public:
  std::vector<Op> ops;

  Result<std::unique_ptr<os::DurableFile>> open(const fs::path& path, Open how) override {
    auto file = os::file_system().open(path, how);
    if (!file) return file;
    const size_t handle = ++handles_;
    ops.push_back({.kind = Op::Kind::kOpen, .path = path, .handle = handle, .number = how == Open::kEmpty});
    return std::make_unique<File>(*this, handle, std::move(*file));
  }
  Status make_folder(const fs::path& path) override {
    return noted(os::file_system().make_folder(path), {.kind = Op::Kind::kMakeFolder, .path = path});
  }
  Status rename(const fs::path& from, const fs::path& to) override {
    return noted(os::file_system().rename(from, to), {.kind = Op::Kind::kRename, .path = from, .to = to});
  }
  Status rename_to_new(const fs::path& from, const fs::path& to) override {
    return noted(os::file_system().rename_to_new(from, to), {.kind = Op::Kind::kRename, .path = from, .to = to});
  }
  Status remove(const fs::path& path) override { return noted(os::file_system().remove(path), {.kind = Op::Kind::kRemove, .path = path}); }
  Status remove_files_in(const fs::path& folder) override {
    std::vector<Op> gone;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) gone.push_back({.kind = Op::Kind::kRemove, .path = entry.path()});
    if (auto removed = os::file_system().remove_files_in(folder); !removed) return removed;
    for (Op& op : gone) ops.push_back(std::move(op));
    return {};
  }
  Status remove_empty_folder(const fs::path& path) override {
    return noted(os::file_system().remove_empty_folder(path), {.kind = Op::Kind::kRemoveFolder, .path = path});
  }
  Status sync_file(const fs::path& path) override {
    return noted(os::file_system().sync_file(path), {.kind = Op::Kind::kSyncPath, .path = path});
  }
  Status sync_folder(const fs::path& path) override {
    return noted(os::file_system().sync_folder(path), {.kind = Op::Kind::kSyncFolder, .path = path});
  }
  Result<os::CopyKind> copy(int from, const fs::path& to, const std::function<bool(uint64_t)>& go_on) override {
    auto kind = os::file_system().copy(from, to, go_on);
    if (!kind) return kind;
    const size_t handle = ++handles_;
    ops.push_back({.kind = Op::Kind::kOpen, .path = to, .handle = handle, .number = 1});
    ops.push_back({.kind = Op::Kind::kWrite, .handle = handle, .number = 0, .bytes = os::read_file(to, 1u << 20).value()});
    return kind;
  }

 private:
  class File : public os::DurableFile {
   public:
    File(Recorder& recorder, size_t handle, std::unique_ptr<os::DurableFile> file)
        : recorder_(recorder), handle_(handle), file_(std::move(file)) {}
    Status write_at(uint64_t offset, std::string_view bytes) override {
      return recorder_.noted(file_->write_at(offset, bytes),
                             {.kind = Op::Kind::kWrite, .handle = handle_, .number = offset, .bytes = std::string(bytes)});
    }
    Status resize(uint64_t bytes) override {
      return recorder_.noted(file_->resize(bytes), {.kind = Op::Kind::kResize, .handle = handle_, .number = bytes});
    }
    Status sync() override { return recorder_.noted(file_->sync(), {.kind = Op::Kind::kSync, .handle = handle_}); }
    int fd() const override { return file_->fd(); }

   private:
    Recorder& recorder_;
    const size_t handle_;
    std::unique_ptr<os::DurableFile> file_;
  };

  Status noted(Status done, Op op) {
    if (done) ops.push_back(std::move(op));
    return done;
  }

  size_t handles_ = 0;
};

// A disk: what programs see of it, and what is safe.
class Disk {
 public:
  explicit Disk(fs::path root) : root_(std::move(root)), nodes_(1) { nodes_[0].folder = true; }

  void apply(const Op& op) {
    switch (op.kind) {
      case Op::Kind::kOpen: {
        const size_t node = find_or_make(op.path, false);
        if (op.number == 1) nodes_[node].bytes.clear();
        handles_[op.handle] = node;
        break;
      }
      case Op::Kind::kWrite: {
        std::string& bytes = nodes_[handles_.at(op.handle)].bytes;
        bytes.resize(std::max<size_t>(bytes.size(), op.number + op.bytes.size()));
        bytes.replace(op.number, op.bytes.size(), op.bytes);
        break;
      }
      case Op::Kind::kResize:
        nodes_[handles_.at(op.handle)].bytes.resize(op.number);
        break;
      case Op::Kind::kSync:
        sync(handles_.at(op.handle));
        break;
      case Op::Kind::kSyncPath:
        sync(*find(op.path));
        break;
      case Op::Kind::kMakeFolder:
        find_or_make(op.path, true);
        break;
      case Op::Kind::kSyncFolder:
        if (const auto node = find(op.path)) nodes_[*node].safe_names = nodes_[*node].names;
        break;
      case Op::Kind::kRename: {
        const size_t node = *find(op.path);
        forget(op.path);
        nodes_[*find(op.to.parent_path())].names[op.to.filename()] = node;
        break;
      }
      case Op::Kind::kRemove:
        forget(op.path);  // lock files are unknown here: nothing is lost with them
        break;
      case Op::Kind::kRemoveFolder:
        if (const auto node = find(op.path); node && nodes_[*node].names.empty()) forget(op.path);
        break;
    }
  }

  /// Lays out what is left when the power goes now. `luck(n)` is a number below n: 0 = what is not safe is lost, n - 1 = all is kept.
  void lay_out(const fs::path& at, const std::function<size_t(size_t)>& luck) const { lay_out(0, at, luck); }

 private:
  struct Node {
    bool folder = false;
    std::string bytes, safe_bytes;
    std::map<std::string, size_t> names, safe_names;
  };

  void sync(size_t node) { nodes_[node].safe_bytes = nodes_[node].bytes; }

  std::optional<size_t> find(const fs::path& path) const {
    size_t node = 0;
    if (path == root_) return node;
    for (const fs::path& part : path.lexically_relative(root_)) {
      const auto at = nodes_[node].names.find(part);
      if (at == nodes_[node].names.end()) return std::nullopt;
      node = at->second;
    }
    return node;
  }

  size_t find_or_make(const fs::path& path, bool folder) {
    if (const auto node = find(path)) return *node;
    nodes_.emplace_back().folder = folder;
    nodes_[*find(path.parent_path())].names[path.filename()] = nodes_.size() - 1;
    return nodes_.size() - 1;
  }

  void forget(const fs::path& path) {
    if (const auto parent = find(path.parent_path())) nodes_[*parent].names.erase(path.filename());
  }

  void lay_out(size_t index, const fs::path& at, const std::function<size_t(size_t)>& luck) const {
    const Node& node = nodes_[index];
    if (!node.folder) {
      std::string left = node.safe_bytes;
      const size_t how = luck(3);
      if (how == 1) left = node.bytes.substr(0, node.bytes.size() / 2);
      if (how == 2) left = node.bytes;
      if (node.bytes == node.safe_bytes) left = node.bytes;
      std::ofstream(at) << left;
      return;
    }
    fs::create_directories(at);
    std::map<std::string, size_t> left;
    for (const auto* names : {&node.safe_names, &node.names}) {
      for (const auto& [name, child] : *names) left.emplace(name, child);
    }
    for (const auto& [name, any] : left) {
      const auto& names = luck(2) == 0 ? node.safe_names : node.names;
      if (const auto child = names.find(name); child != names.end()) lay_out(child->second, at / name, luck);
    }
  }

  const fs::path root_;
  std::vector<Node> nodes_;
  std::map<size_t, size_t> handles_;
};

using Models = std::map<std::string, std::string>;  // name -> the bytes of its blob

class PowerCut : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/power_cut_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    fs::create_directories(folder_ / "disk");
  }
  void TearDown() override { fs::remove_all(folder_); }

  static ModelName name_of(const std::string& text) { return ModelName::parse(text).value(); }
  static BlobId id_of(const std::string& bytes) { return BlobId::parse(sha256_of_text(bytes).value()).value(); }

  // From here on a cut leaves these models or those of the step before.
  void step(const std::string& what, Models after, const std::function<void()>& act) {
    act();
    steps_.push_back({what, recorder_.ops.size(), std::move(after)});
  }

  void take_in(ModelStore& store, const std::string& bytes, const std::string& name) {
    const fs::path file = folder_ / ("file-" + bytes);
    std::ofstream(file) << bytes;
    const auto imported = import_file(store, file, name_of(name), {}, "test/1",
                                      {.cancelled = cancelled_, .progress = [](std::string_view, uint64_t, uint64_t) {}});
    ASSERT_TRUE(imported) << imported.error().message;
  }

  // As fetch does it, without a server.
  void download(ModelStore& store, const std::string& bytes, const std::string& name) {
    auto partial = PartialFile::open(recorder_, store.paths(), id_of(bytes), {.recent = 3, .durable = 6});
    ASSERT_TRUE(partial) << partial.error().message;
    partial->set_origin({.url = "https://h/f", .validator = {}, .total = bytes.size()});
    for (size_t at = 0; at < bytes.size(); at += 2) ASSERT_TRUE(partial->write(at, bytes.substr(at, 2)));
    ASSERT_TRUE(partial->sync(bytes.size()));
    ASSERT_TRUE(store.add_blob(id_of(bytes), store.paths().partial(id_of(bytes))));
    Manifest manifest;
    manifest.set_blob(id_of(bytes));
    manifest.size_bytes = bytes.size();
    const auto named = store.set_manifest(name_of(name), manifest);
    ASSERT_TRUE(named) << named.error().message;
  }

  // What a store that was laid out holds; every model of it must be whole.
  static Models models_in(const fs::path& root) {
    const auto store = ModelStore::open(root);
    EXPECT_TRUE(store) << store.error().message;
    if (!store) return {};
    Models models;
    const auto listed = store->list().value();
    for (const auto& model : listed) {
      EXPECT_TRUE(model.manifest) << model.manifest.error().message;
      if (!model.manifest) continue;
      const auto bytes = os::read_file(store->paths().blob(*model.manifest->blob_id()), 1u << 20);
      EXPECT_TRUE(bytes) << bytes.error().message;
      EXPECT_EQ(id_of(bytes.value_or("")), *model.manifest->blob_id());
      models[model.name] = bytes.value_or("");
    }
    // Blobs without a manifest, too, are whole under their final name.
    const auto garbage = store->find_garbage({}).value();
    for (const auto& item : garbage) {
      if (item.kind != Garbage::Kind::kBlob) continue;
      EXPECT_EQ(id_of(os::read_file(item.path, 1u << 20).value()).hex(), item.id);
    }
    return models;
  }

  void check_every_cut() {
    std::minstd_rand random(1);
    const std::vector<std::function<size_t(size_t)>> fates = {[](size_t) { return 0; },
                                                              [](size_t n) { return n - 1; },
                                                              [&](size_t n) { return random() % n; },
                                                              [&](size_t n) { return random() % n; },
                                                              [&](size_t n) { return random() % n; },
                                                              [&](size_t n) { return random() % n; },
                                                              [&](size_t n) { return random() % n; },
                                                              [&](size_t n) { return random() % n; }};
    Disk disk(folder_ / "disk");
    size_t step = 0;
    for (size_t cut = 0; cut <= recorder_.ops.size(); ++cut) {
      while (step + 1 < steps_.size() && cut > steps_[step].ops) ++step;
      for (size_t fate = 0; fate < fates.size(); ++fate) {
        const fs::path left = folder_ / "left";
        fs::remove_all(left);
        disk.lay_out(left, fates[fate]);
        const Models found = models_in(left / "models");
        const Models before = step == 0 ? Models{} : steps_[step - 1].after;
        // When a call has returned, what it did stays.
        const bool done = cut == steps_[step].ops;
        EXPECT_TRUE(found == steps_[step].after || (!done && found == before))
            << "cut behind call " << cut << " in step `" << steps_[step].what << "`, fate " << fate;
        if (::testing::Test::HasFailure()) return;
      }
      if (cut < recorder_.ops.size()) disk.apply(recorder_.ops[cut]);
    }
  }

  struct Step {
    std::string what;
    size_t ops;  // behind it
    Models after;
  };

  fs::path folder_;
  Recorder recorder_;
  std::vector<Step> steps_;
  const std::atomic<bool> cancelled_ = false;
};

TEST_F(PowerCut, LeavesTheOldModelsOrTheNewOnesNeverAHalf) {
  std::optional<ModelStore> store;
  step("open", {}, [&] { store.emplace(ModelStore::open(folder_ / "disk" / "models", recorder_).value()); });
  step("import", {{"a", "first bytes"}}, [&] { take_in(*store, "first bytes", "a"); });
  step("download", {{"a", "first bytes"}, {"b", "second bytes"}}, [&] { download(*store, "second bytes", "b"); });
  step("another blob", {{"a", "third bytes"}, {"b", "second bytes"}}, [&] { download(*store, "third bytes", "a"); });
  step("the same blob", {{"a", "third bytes"}, {"b", "second bytes"}}, [&] { take_in(*store, "third bytes", "a"); });
  step("remove", {{"b", "second bytes"}}, [&] { ASSERT_TRUE(store->remove(name_of("a"))); });
  step("gc", {{"b", "second bytes"}}, [&] { EXPECT_TRUE(store->collect(store->find_garbage({}).value(), {}).kept.empty()); });
  ASSERT_FALSE(HasFailure());
  EXPECT_GT(recorder_.ops.size(), 80u);
  check_every_cut();
}

// The cut is in the middle of a download: the bytes that the record vouches for are there.
TEST_F(PowerCut, ADownloadGoesOnWithBytesThatAreThere) {
  const std::string bytes = "0123456789abcdefghij";
  const StorePaths paths(folder_ / "disk" / "models");
  {
    auto store = ModelStore::open(paths.root(), recorder_).value();
    auto partial = PartialFile::open(recorder_, paths, id_of(bytes), {.recent = 2, .durable = 6}).value();
    for (size_t at = 0; at < bytes.size(); at += 2) ASSERT_TRUE(partial.write(at, bytes.substr(at, 2)));
  }
  std::minstd_rand random(2);
  const std::vector<std::function<size_t(size_t)>> fates = {[](size_t) { return 0; }, [](size_t n) { return n - 1; },
                                                            [&](size_t n) { return random() % n; }};
  Disk disk(folder_ / "disk");
  size_t most = 0;
  for (const Op& op : recorder_.ops) {
    disk.apply(op);
    for (const auto& fate : fates) {
      const fs::path left = folder_ / "left";
      fs::remove_all(left);
      disk.lay_out(left, fate);
      const StorePaths there(left / "models");
      std::error_code error;
      fs::remove(there.partial(id_of(bytes)).string() + ".recent", error);  // of another start of the machine
      const auto store = ModelStore::open(there.root());
      ASSERT_TRUE(store) << store.error().message;
      const auto partial = PartialFile::open(os::file_system(), there, id_of(bytes), {});
      ASSERT_TRUE(partial) << partial.error().message;
      const uint64_t known = partial->ranges().contiguous();
      EXPECT_EQ(os::read_file(there.partial(id_of(bytes)), 1000)->substr(0, known), bytes.substr(0, known));
      most = std::max<size_t>(most, known);
    }
  }
  EXPECT_EQ(most, 18u);
}

}  // namespace
}  // namespace inferd::store
