#!/usr/bin/env bash
# Gets the pinned llama.cpp and builds it once into the cache; prints the folder that holds include/ and lib/.
#   scripts/llama-cpp.sh            the libraries that inferd-engine links
#   scripts/llama-cpp.sh --peers    also llama-server, llama-bench and llama-batched-bench, for bench/
# Variables: INFERD_CACHE (default ~/.cache/inferd), LLAMA_CPP_DIR (an installed copy: nothing is built).
set -euo pipefail

version=v0.5.0
package=node-llama-cpp package_version=3.22.1   # carries upstream's repository as a git bundle
commit=de3ff815ea7d559ee917f063901b8986f038abc6
variants="x64 haswell skylakex icelake zen4"    # the CPU variants that are shipped
here=$(cd "$(dirname "$0")" && pwd)
cache=${INFERD_CACHE:-$HOME/.cache/inferd}
peers=0; [ "${1:-}" = --peers ] && peers=1

if [ -n "${LLAMA_CPP_DIR:-}" ]; then
  [ -e "$LLAMA_CPP_DIR/include/llama.h" ] || { echo "LLAMA_CPP_DIR=$LLAMA_CPP_DIR: no include/llama.h in it" >&2; exit 1; }
  echo "$LLAMA_CPP_DIR"; exit 0
fi

flags=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF
  -DGGML_CPU_ALL_VARIANTS=ON -DGGML_OPENMP=OFF -DLLAMA_BUILD_IS_DEV=OFF
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_TOOLS=ON
  -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
  -DLLAMA_SUBPROCESS=OFF -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN')
compiler=$(c++ -dumpfullversion 2>/dev/null || echo none)
patches=("$here"/llama-cpp-patches/*.patch)     # what is changed in the sources, besides what stands below
key=$( (printf '%s\n' "$version" "$commit" "$variants" grammar-visits "$compiler" "${flags[@]}"; cat "${patches[@]}") | sha256sum | cut -c1-12)
root=$cache/llama.cpp-$version-$key
src=$root/source build=$root/build prefix=$root/install
mkdir -p "$root"
exec 9>"$root/.lock"; flock 9    # two builds at once would write the same files
log() { echo "[llama.cpp] $*" >&2; }

if [ ! -e "$prefix/.complete" ]; then
  if [ ! -e "$src/.complete" ]; then
    rm -rf "$src" "$root/package"; mkdir -p "$root/package"
    log "getting $version"
    npm=$("$here/npm.sh")
    (cd "$root/package" && PATH="$(dirname "$npm"):$PATH" "$npm" pack --silent "$package@$package_version" >&2 && tar xzf ./*.tgz)
    git clone --quiet "$root/package/package/llama/gitRelease.bundle" "$src" 2>/dev/null
    got=$(git -C "$src" rev-parse HEAD)
    [ "$got" = "$commit" ] || { log "the bundle holds $got, expected $commit"; exit 1; }
    # Upstream builds every CPU variant or one; only the shipped ones are kept.
    keep=$(echo "$variants" | tr ' ' '|')
    sed -i -E "/^ *ggml_add_cpu_backend_variant\(/{/\(($keep)[ )]/!d}" "$src/ggml/src/CMakeLists.txt"
    # Its check for left recursion visits a rule once for every path to it: 2^40 visits for a grammar of 40 lines.
    sed -i '/^static bool llama_grammar_detect_left_recursion(/,/^}/s/^    if ((\*rules_in_progress)\[rule_index\]) {/    if ((*rules_visited)[rule_index]) { return false; }\n&/' "$src/src/llama-grammar.cpp"
    grep -q 'rules_visited)\[rule_index\]) { return false' "$src/src/llama-grammar.cpp" || { log "llama-grammar.cpp is not as expected"; exit 1; }
    for patch in "${patches[@]}"; do git -C "$src" apply "$patch" || { log "$patch does not apply"; exit 1; }; done
    rm -rf "$root/package"; touch "$src/.complete"
  fi
  log "building it once into $root (about five minutes on two cores)"
  cmake -S "$src" -B "$build" -G Ninja "${flags[@]}" >"$root/configure.log" 2>&1 || { tail -20 "$root/configure.log" >&2; exit 1; }
  targets="llama llama-common mtmd"
  for v in $variants; do targets="$targets ggml-cpu-$v"; done
  nice cmake --build "$build" --target $targets >"$root/build.log" 2>&1 || { tail -30 "$root/build.log" >&2; exit 1; }
  rm -rf "$prefix"; mkdir -p "$prefix/include/common" "$prefix/lib"
  cp "$src"/include/*.h "$src"/ggml/include/*.h "$src"/tools/mtmd/mtmd*.h "$prefix/include/"
  (cd "$src/common" && find . -name '*.h' -exec cp --parents {} "$prefix/include/common/" \;)
  cp -r "$src/vendor/nlohmann" "$prefix/include/"
  cp "$src/src/llama-ext.h" "$prefix/include/"   # memory breakdown of a context
  find "$build" -name 'lib*.so*' -exec cp -P {} "$prefix/lib/" \;
  cp "$src/LICENSE" "$prefix/"
  mkdir -p "$prefix/templates" && cp "$src"/models/templates/* "$prefix/templates/"
  touch "$prefix/.complete"
fi
if [ $peers = 1 ] && [ ! -e "$build/bin/llama-server" -o ! -e "$build/bin/llama-bench" -o ! -e "$build/bin/llama-batched-bench" ]; then
  log "building llama-server, llama-bench and llama-batched-bench for the benchmarks"
  nice cmake --build "$build" --target llama-server llama-bench llama-batched-bench >"$root/peers.log" 2>&1 || { tail -30 "$root/peers.log" >&2; exit 1; }
fi
echo "$prefix"
