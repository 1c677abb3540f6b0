#!/usr/bin/env python3
"""One engine, many callers: inferd against llama-server and llama-batched-bench of the same pinned llama.cpp, and what
callers notice of each other. See README.md.

    bench/share_bench.py [--build build/release] [--rows decode,shared,own,turns,chats,fair,arrival,cancel,memory,kill,
                         admin] [--rounds 5] [--peers DIR] [--no-results]

Variables: INFERD_MODEL (a model file; default: the default model in the model store).
"""

import signal
import time

import harness
import lib
import share_fair
import share_life
import share_plot
import share_sides
import share_speed
import share_talk

ROWS = {
    "decode": share_speed.decode,
    "shared": share_speed.shared,
    "own": share_speed.own,
    "turns": share_talk.turns,
    "chats": share_talk.chats,
    "fair": share_fair.fair,
    "arrival": share_fair.arrival,
    "cancel": share_life.cancel,
    "memory": share_speed.memory,
    "kill": share_life.kill,
    "admin": share_life.admin,
}


def main():
    parser = harness.parser(__doc__, ROWS)
    parser.add_argument("--fair-seconds", type=float, default=40, help="how long the greedy process sends new prompts")
    parser.add_argument("--kills", type=int, default=100, help="engines that are ended")
    arguments = parser.parse_args()
    harness.complete(arguments, ROWS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started here ends with it, as with Ctrl-C
    lib.warn_if_busy()
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder:
        bench = share_sides.Bench(arguments, folder, table)
        for name, row in ROWS.items():
            if name in arguments.chosen:
                begin = time.monotonic()
                try:
                    row(bench)
                except SystemExit as failed:  # of lib.fail(): the other rows are worth having
                    table.add(f"{name}: measured", 0, at_least=1, detail=str(failed))
                lib.note(f"{name}: {time.monotonic() - begin:.0f} s")
    for name, command in bench.details["commands"].items():
        print(f"{name.strip()}: {command}")
    table.print()
    if not arguments.no_results:
        path = table.write("share", facts, bench.details).with_suffix(".svg")
        share_plot.write(path, facts, table.rows, bench.details.get("decode_tokens_per_second"))
        print(f"written to {path.relative_to(lib.ROOT)}")
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
