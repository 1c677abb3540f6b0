#include <algorithm>
#include <array>
#include <cstdio>

#include "base/size_text.h"
#include "base/utf8.h"
#include "ctl/commands.h"
#include "ctl/configured_models.h"
#include "ctl/json_line.h"
#include "ctl/model_text.h"

namespace inferd::ctl {
namespace {

constexpr size_t kDigestDigits = 12;
using Row = std::array<std::string, 5>;

// The manifest's text on one line: a line end in JSON is never part of a value, nor is what indents the next line.
std::string on_one_line(const std::string& json) {
  std::string out;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '\n' || json[i] == '\r') {
      i = std::min(json.find_first_not_of(" \t\r\n", i), json.size()) - 1;
    } else {
      out += json[i];
    }
  }
  return out;
}

void print_json(const store::ListedModel& model) {
  JsonLine line;
  line.text("name", model.name).text("state", state_name(state_of(model))).text("manifest_path", model.manifest_path.string());
  line.text("blob_path", model.blob_path.string()).number("blob_bytes", model.blob_bytes);
  if (model.manifest) {
    line.json("manifest", on_one_line(store::manifest_text(*model.manifest)));
  } else {
    line.json("manifest", "null").text("error", model.manifest.error().message);
  }
  line.print();
}

Row row_of(const store::ListedModel& model) {
  const std::string state(state_name(state_of(model)));
  if (!model.manifest) return {printable(model.name), "-", "-", "-", state};
  const auto id = model.manifest->blob_id();
  return {printable(model.name), size_text(model.manifest->size_bytes), id ? id->hex().substr(0, kDigestDigits) : "-",
          printable(model.manifest->license.value_or("-")), state};
}

// Characters, where each takes one column.
size_t columns(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](unsigned char c) { return (c & 0xC0) != 0x80; }));
}

void print_table(const std::vector<Row>& rows) {
  std::array<size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i + 1 < row.size(); ++i) line += row[i] + std::string(widths[i] - columns(row[i]) + 2, ' ');
    std::printf("%s%s\n", line.c_str(), row.back().c_str());
  }
}

}  // namespace

int list_models(const GlobalOptions& global) {
  const auto configured = read_configured_models(global);
  if (!configured) return report(configured.error());
  const auto models = store::ModelStore::open_to_read(configured->store_root);
  const auto listed = models ? models->list() : Result<std::vector<store::ListedModel>>();
  if (!listed) return report(listed.error());
  if (listed->empty()) std::fprintf(stderr, "inferdctl: no models in %s\n", configured->store_root.c_str());
  std::vector<Row> rows;
  rows.push_back(Row{"NAME", "SIZE", "SHA-256", "LICENCE", "STATE"});
  for (const store::ListedModel& model : *listed) {
    if (global.json) print_json(model);
    rows.push_back(row_of(model));
  }
  if (!global.json && !listed->empty()) print_table(rows);
  return kOk;
}

}  // namespace inferd::ctl
