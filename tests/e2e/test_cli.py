"""The command line and its environment variables (spec 05 §1, §3, §8)."""
import re
import subprocess

import pytest

from daemon_process import DAEMON, HELD
from wire import assert_error

PUBLIC = """backend lock tcp uds pipe group active-permits queue-depth ready-timeout-secs model-path model-sha256 n-ctx
    n-gpu-layers openai-base-url openai-model openai-timeout-secs bedrock-region bedrock-model-id bedrock-endpoint
    bedrock-timeout-secs config admin-addr v2 v2-addr v2-tcp embed embed-addr embed-tcp max-buffered-bytes
    write-timeout-secs drain-timeout-secs kv-cells threads prefix-sharing host-cache-bytes step-timeout-secs sandbox verify""".split()
HIDDEN = "openai-api-key bedrock-bearer-token api-key mock-tape mock-delay-ms mock-fault".split()
NUMBERS = """active-permits queue-depth ready-timeout-secs n-ctx openai-timeout-secs bedrock-timeout-secs max-buffered-bytes
    write-timeout-secs drain-timeout-secs kv-cells threads host-cache-bytes step-timeout-secs""".split()
PATHS = "lock uds model-path config admin-addr v2-addr embed-addr".split()
LATER = [("--backend", "openai-compat"), ("--backend", "bedrock-invoke"), ("--openai-base-url", "http://127.0.0.1:1"),
         ("--openai-api-key", "k"), ("--openai-model", "m"), ("--openai-timeout-secs", "5"), ("--bedrock-region", "r"),
         ("--bedrock-model-id", "m"), ("--bedrock-bearer-token", "t"), ("--bedrock-endpoint", "h"), ("--bedrock-timeout-secs", "5")]


def variable(option):
    return "AWS_BEARER_TOKEN_BEDROCK" if option == "bedrock-bearer-token" else "INFERD_" + option.upper().replace("-", "_")


def run(place, *args):
    return subprocess.run([DAEMON, *args], env=place.env, capture_output=True, text=True, timeout=10)


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_prints_our_own(place, option):
    """Spec 05 §1, README 27."""
    told = run(place, option)
    assert told.returncode == 0
    assert re.fullmatch(r"inferd-daemon \d+\.\d+\.\d+\S*\n", told.stdout), told


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_option_but_the_hidden_ones(place, option):
    """Spec 05 §1: keys and test-only options are not shown."""
    told = run(place, option)
    assert told.returncode == 0
    listed = set(re.findall(r"--([a-z0-9][a-z0-9-]*)", told.stdout))
    assert listed >= set(PUBLIC)
    assert not listed & set(HIDDEN)


@pytest.mark.parametrize("args", [
    ("--no-such-option",), ("--no-such-option=1",), ("word",), ("--", "word"), ("-x",), ("--uds",),
    ("--backend", "nonsense"), ("--backend", "Mock"), ("--backend=",), ("--lo", "x"),
    ("--v2=maybe",), ("--embed=1",), ("--mock-tape", "no json"), ("--mock-tape", '{"a":1}'), ("--mock-tape", "[1]"),
    ("--mock-fault", "x"), ("--mock-delay-ms", "x"), ("--n-gpu-layers=x",), ("--n-gpu-layers=2147483648",),
], ids=" ".join)
def test_a_usage_error_exits_2_and_speaks_on_stderr(place, args):
    """Spec 05 §1, §8."""
    told = run(place, *args)
    assert told.returncode == 2, told
    assert told.stdout == "" and told.stderr.strip(), told


@pytest.mark.parametrize("option", NUMBERS)
def test_a_number_that_is_none_is_a_usage_error_that_names_the_option(place, option):
    """Spec 05 §1, from the command line and from the environment."""
    for value in ("x", "-1", "1.5", "", "99999999999999999999999", " 1", "1x", "0x10"):
        told = run(place, f"--{option}={value}")
        assert told.returncode == 2 and option in told.stderr, (value, told)
    place.env[variable(option)] = "x"
    told = run(place)
    assert told.returncode == 2 and (option in told.stderr or variable(option) in told.stderr), told


@pytest.mark.parametrize("option", PATHS)
def test_an_empty_path_is_a_usage_error_that_names_the_option(place, option):
    """Spec 05 §1, from the command line and from the environment."""
    told = run(place, f"--{option}=")
    assert told.returncode == 2 and option in told.stderr, told
    place.env[variable(option)] = ""
    told = run(place)
    assert told.returncode == 2 and (option in told.stderr or variable(option) in told.stderr), told


def test_an_empty_string_that_is_no_path_is_accepted(start):
    """Spec 05 §1."""
    assert start("--backend", "mock", "--model-sha256=").connect().text() == "mock-response"


CONFLICTS = [("tcp", "uds"), ("tcp", "pipe"), ("uds", "pipe"), ("v2-addr", "v2-tcp"), ("embed-addr", "embed-tcp")]


@pytest.mark.parametrize("one, other", CONFLICTS)
def test_options_that_exclude_each_other_are_a_usage_error(place, one, other):
    """D3, D5, spec 05 §1: a value from the environment counts as given."""
    told = run(place, f"--{one}=x", f"--{other}=y")
    assert told.returncode == 2 and one in told.stderr and other in told.stderr, told
    for flag, environment in ((one, other), (other, one)):
        place.env[variable(environment)] = "y"
        assert run(place, f"--{flag}=x").returncode == 2
        del place.env[variable(environment)]


def test_pipe_is_not_supported_on_this_platform(start):
    """README 27: exit 1, and the way out is named."""
    start.fails("--pipe", r"\\.\pipe\x", says=("not supported", "--uds", "--tcp"))


@pytest.mark.parametrize("name", ["v2", "embed"])
def test_flag_variables_take_true_and_false_only(start, place, name):
    """Spec 05 §1: `1`, `yes` and empty are usage errors; `false` is off."""
    for value in ("1", "0", "yes", "", "True", "FALSE", " true"):
        assert name in start.fails(code=2, env={variable(name): value}).lower()
    socket = place.runtime / f"infer.{name}.sock"
    for value, served in (("true", True), ("false", False)):
        daemon = start(env={variable(name): value})
        assert daemon.connect().text() == "mock-response"
        assert socket.is_socket() == served
        daemon.stop()


@pytest.mark.parametrize("args", LATER, ids=" ".join)
def test_what_a_later_release_brings_is_a_start_error_and_never_ignored(start, args):
    """Issue 3 item 3: parsed, then "not in this build"."""
    start.fails(*args, says=("not in this build", args[-1] if args[0] == "--backend" else args[0]))


@pytest.mark.parametrize("option, value", [("backend", "openai-compat"), ("openai-base-url", "http://h"), ("bedrock-region", "r")])
def test_what_a_later_release_brings_is_refused_from_the_environment_too(start, option, value):
    """Issue 3 item 3."""
    start.fails(env={variable(option): value}, says="not in this build")


def test_options_and_values_may_be_joined_or_apart(start, place):
    """Spec 05 §1: `--opt VALUE` and `--opt=VALUE`; a joined value may hold `=`."""
    daemon = start(f"--uds={place.base}/a=b.sock", "--queue-depth=0", "--active-permits", "1", "--mock-tape=[\"a=b\"]")
    daemon.v1 = place.base / "a=b.sock"
    assert daemon.connect().text() == "a=b"


def refused_at(daemon, capacity):
    for n in range(capacity):
        daemon.submit(f"r{n}")
    assert_error(daemon.connect().ask()[0], "queue_full")


def test_the_environment_sets_what_the_command_line_leaves_open(start, place):
    """Spec 05 §1: precedence, shown on capacity and on the socket's path."""
    env = {"INFERD_QUEUE_DEPTH": "2", "INFERD_ACTIVE_PERMITS": "2", "INFERD_UDS": str(place.base / "env.sock")}
    daemon = start(delay_ms=HELD, env=env, ready=False)
    daemon.v1 = place.base / "env.sock"
    daemon.wait_ready()
    refused_at(daemon, 4)
    daemon.stop()
    refused_at(start("--queue-depth", "0", delay_ms=HELD, env={"INFERD_QUEUE_DEPTH": "5"}), 1)


def test_a_command_line_value_beats_a_bad_one_from_the_environment(start):
    """Spec 05 §1: the environment is not read for an option that was given."""
    assert start("--queue-depth", "1", env={"INFERD_QUEUE_DEPTH": "x"}).connect().text() == "mock-response"


def test_admin_addr_from_the_environment(start, place):
    """Spec 05 §1."""
    daemon = start(env={"INFERD_ADMIN_ADDR": str(place.base / "adm")}, ready=False)
    daemon.admin_path = place.base / "adm"
    daemon.wait_ready()
    assert not place.admin.exists()


def test_without_a_backend_mock_runs_with_a_loud_warning(start):
    """README 18; `--backend mock` says it on purpose."""
    daemon = start()
    daemon.told("warn.*mock")
    daemon.stop()
    assert start("--backend", "mock").connect().ask()[-1]["backend"] == "mock"


@pytest.mark.parametrize("option", ["active-permits", "queue-depth", "max-buffered-bytes", "drain-timeout-secs"])
def test_the_largest_number_neither_crashes_the_daemon_nor_starts_a_broken_one(start, place, option):
    """Spec 05 §9.9, README 7: it runs, or it is an error by name."""
    told = start(f"--{option}=18446744073709551615", ready=False)
    try:
        told.wait_ready()
    except AssertionError:
        assert told.wait() in (1, 2) and option in told.output, told.output
    else:
        assert told.connect().text() == "mock-response"


def test_other_programs_variables_change_nothing(start):
    """Spec 05 §1: a proxy or an OpenAI key in the environment is no option."""
    env = {"OPENAI_API_KEY": "sk-abcdefghijklmnop", "HTTPS_PROXY": "http://127.0.0.1:1", "INFERD_UNKNOWN": "1"}
    assert start(env=env).connect().text() == "mock-response"
