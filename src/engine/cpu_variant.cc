#include "engine/cpu_variant.h"

#include <dlfcn.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <memory>

namespace inferd::engine {
namespace {

constexpr std::string_view kPrefix = "libggml-cpu-", kSuffix = ".so";

// What the library says of this CPU: 0 if it cannot run here. Loads it for the question only.
int score_of(const std::filesystem::path& library) {
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return 0;
  const auto score = reinterpret_cast<int (*)()>(::dlsym(handle, "ggml_backend_score"));
  const int value = score == nullptr ? 0 : score();
  ::dlclose(handle);
  return value;
}

}  // namespace

Result<std::string> load_cpu_variant(const std::filesystem::path& folder, const std::vector<std::string>& skip, const std::string& wanted) {
  struct Candidate {
    int score;
    std::string name;
    std::filesystem::path path;
  };
  std::vector<Candidate> candidates;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with(kPrefix) || !file.ends_with(kSuffix)) continue;
    std::string name = file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size());
    if (std::ranges::find(skip, name) != skip.end() || (!wanted.empty() && name != wanted)) continue;
    const int score = score_of(entry.path());
    if (score > 0) candidates.push_back({score, std::move(name), entry.path()});
  }
  std::ranges::sort(candidates, std::greater(), &Candidate::score);
  for (const Candidate& candidate : candidates) {
    if (ggml_backend_load(candidate.path.c_str()) != nullptr) return candidate.name;
  }
  return fail(Code::kNotInThisBuild, "no CPU variant in " + folder.string() + " runs on this machine (" + std::string(kPrefix) + "*.so)");
}

Status prove_cpu_variant() {
  const std::unique_ptr<ggml_backend, decltype(&ggml_backend_free)> backend(
      ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr), &ggml_backend_free);
  if (!backend) return fail(Code::kInternal, "the CPU backend cannot be initialised");
  // One thread: ggml's default of four spins against itself on a machine with fewer CPUs.
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend.get()));
  const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
  if (set_threads != nullptr) set_threads(backend.get(), 1);
  constexpr int64_t kRows = 64, kInner = 512;
  const ggml_type types[] = {GGML_TYPE_F32,  GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,
                             GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                             GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS};
  const int64_t columns[] = {1, 32};
  const ggml_init_params params{.mem_size = ggml_tensor_overhead() * 256 + ggml_graph_overhead(), .mem_buffer = nullptr, .no_alloc = true};
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init(params), &ggml_free);
  ggml_cgraph* graph = ggml_new_graph(context.get());
  for (const ggml_type type : types) {
    ggml_tensor* weights = ggml_new_tensor_2d(context.get(), type, kInner, kRows);
    for (const int64_t n : columns) {
      ggml_tensor* input = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, kInner, n);
      ggml_build_forward_expand(graph, ggml_mul_mat(context.get(), weights, input));
    }
  }
  const std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)> buffer(
      ggml_backend_alloc_ctx_tensors(context.get(), backend.get()), &ggml_backend_buffer_free);
  if (!buffer) return fail(Code::kInternal, "no memory to prove the CPU variant");
  ggml_backend_buffer_clear(buffer.get(), 0);  // zeros are a value of every kind
  if (ggml_backend_graph_compute(backend.get(), graph) != GGML_STATUS_SUCCESS) {
    return fail(Code::kInternal, "the CPU variant cannot multiply matrices");
  }
  return {};
}

}  // namespace inferd::engine
