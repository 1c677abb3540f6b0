#include "engine/compute_threads.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <utility>

namespace inferd::engine {

// The CPU backend is loaded at run time, so its functions are looked up by name.
ComputeThreads::ComputeThreads(uint32_t threads, std::unique_ptr<os::Turnstile> turnstile) : turnstile_(std::move(turnstile)) {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return;
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
  const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_new"));
  free_ = reinterpret_cast<decltype(&ggml_threadpool_free)>(ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_free"));
  if (create == nullptr || free_ == nullptr) return;
  ggml_threadpool_params params = ggml_threadpool_params_default(static_cast<int>(threads));
  if (turnstile_) params.poll = 0;  // between its turns it leaves the CPUs to the others
  pool_ = create(&params);
}

ComputeThreads::~ComputeThreads() {
  if (pool_ != nullptr) free_(pool_);
}

}  // namespace inferd::engine
