// What is generated from the table of fields: the JSON Schema that editors complete the config file by, and the reference in
// doc/configuration.md. schema_test keeps the shipped files equal to these texts. Pure; any thread.
#pragma once

#include <string>

namespace inferd {

/// A JSON Schema (draft 2020-12) of the config file, indented by two spaces, with a line end. It accepts what read_config accepts, but
/// for what JSON Schema cannot say: names that are unique, sizes that depend on each other, log filters.
std::string config_schema();

/// Markdown: one table of fields for the file, each object in it and each kind of backend.
std::string config_reference();

}  // namespace inferd
