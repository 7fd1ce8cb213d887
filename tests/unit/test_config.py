"""Settings: where they come from, what they may be, and what is said about those that may not."""

import os
import pwd
import stat
import subprocess
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tifftockd.clock import SECOND
from tifftockd.config import HANDLERS_OWN, SETTINGS, Address, fallback_folder, load_config, parse_size, private_folder
from tifftockd.errors import ConfigError, InvalidInput, ListenError
from tifftockd.journal.entry import format_line

DAY = 86_400 * SECOND


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No test reads the .env of the folder that it was started in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def env(tmp_path):
    """What a person's session sets."""
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": "/run/user/1000"}


def refused(environ, env_file=None, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load_config(environ, env_file, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- defaults


def test_by_hand_nothing_need_be_set(env, tmp_path):
    config = load_config(env)
    assert config.env_file is None
    assert config.listen == (Address("unix:/run/user/1000/tifftock.sock", path="/run/user/1000/tifftock.sock"),)
    assert config.api_keys == ()
    assert config.database_path == tmp_path / "home/.local/state/tifftock/tifftock.db"
    assert config.handlers_dir == tmp_path / "home/.config/tifftock/handlers.d"
    assert (config.max_late, config.retry_delay, config.handler_timeout) == (DAY, 30 * SECOND, 60 * SECOND)
    assert (config.retries, config.handler_concurrency, config.catch_up_rate) == (5, 4, 100)
    assert (config.history_days, config.history_max) == (30, 1_000_000)
    assert (config.handler_memory, config.handler_output, config.handler_renew) == (512 * 1024**2, 8192, 1000)


def test_by_hand_the_xdg_folders_decide(env):
    config = load_config(env | {"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"})
    assert config.database_url == "sqlite:////s/tifftock/tifftock.db"
    assert config.handlers_dir == Path("/c/tifftock/handlers.d")


def test_relative_xdg_folders_are_taken_no_notice_of(env, tmp_path):
    config = load_config(env | {"XDG_STATE_HOME": "s", "XDG_CONFIG_HOME": "c", "XDG_RUNTIME_DIR": "r"})
    assert config.database_path == tmp_path / "home/.local/state/tifftock/tifftock.db"
    assert config.handlers_dir == tmp_path / "home/.config/tifftock/handlers.d"
    assert config.listen[0].path == f"{fallback_folder()}/tifftock.sock"


def test_without_a_runtime_folder_the_socket_lies_in_a_folder_of_ones_own():
    [address] = load_config({"HOME": "/home/a"}).listen
    assert address.path == f"{fallback_folder()}/tifftock.sock"
    assert fallback_folder().name == f"tifftock-{os.getuid()}"


def test_without_home_the_user_database_tells_it():
    assert load_config({}).database_path.is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)


def test_under_systemd_the_first_of_its_folders_counts(tmp_path):
    (tmp_path / "tifftock.env").write_text("RETRIES=7\n")
    config = load_config(
        {"CONFIGURATION_DIRECTORY": f"{tmp_path}:/etc/other", "STATE_DIRECTORY": "/var/lib/tifftock:/var/lib/x"},
        inherited=True,
    )
    assert config.env_file == tmp_path / "tifftock.env"
    assert config.retries == 7
    assert config.handlers_dir == tmp_path / "handlers.d"
    assert config.database_url == "sqlite:////var/lib/tifftock/tifftock.db"
    assert config.listen == ()


def test_an_api_url_adds_to_inherited_sockets(env):
    [address] = load_config(env | {"API_URL": "unix:/run/x.sock"}, inherited=True).listen
    assert address.path == "/run/x.sock"


@pytest.mark.parametrize("nothing", ["", " \t"])
def test_an_empty_value_means_the_default(env, nothing):
    settings = [setting for setting in SETTINGS if setting.field and setting.name != "TZ"]
    empty, unset = load_config(env | {setting.name: nothing for setting in settings}), load_config(env)
    for setting in settings:
        assert getattr(empty, setting.field) == getattr(unset, setting.field), setting.name


@pytest.mark.parametrize("nothing", ["", " \t"])
def test_a_worker_does_not_see_an_empty_value_where_the_default_counts(env, nothing):
    names = (*HANDLERS_OWN, *(setting.name for setting in SETTINGS))
    environ = load_config(env | dict.fromkeys(names, nothing) | {"TZ": "", "LAMP": nothing}).environ
    assert environ == env | {"TZ": "", "LAMP": nothing}


# ---- sources


def test_the_environment_wins_over_a_credential_and_a_credential_over_the_file(env, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "RETRIES").write_text("2\n")
    (credentials / "HISTORY_DAYS").write_text("2")
    (tmp_path / ".env").write_text("RETRIES=3\nHISTORY_DAYS=3\nCATCH_UP_RATE=3\n")
    config = load_config(env | {"CREDENTIALS_DIRECTORY": str(credentials), "RETRIES": "1"})
    assert (config.retries, config.history_days, config.catch_up_rate) == (1, 2, 3)


def test_one_newline_at_the_end_of_a_credential_is_not_part_of_it(env, tmp_path):
    (tmp_path / "SMTP_PASSWORD").write_text("secret \n\n")
    (tmp_path / "tls.pem").write_bytes(b"\xff")
    config = load_config(env | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.environ["SMTP_PASSWORD"] == "secret \n"
    assert "tls.pem" not in config.environ


def test_a_folder_of_credentials_that_is_not_there_is_an_error(env):
    message = refused(env | {"CREDENTIALS_DIRECTORY": "/nonexistent"})
    assert message.startswith("cannot read the credentials in /nonexistent: No such file")


def test_a_credential_that_is_not_utf8_is_named(env, tmp_path):
    (tmp_path / "API_KEY").write_bytes(b"\xff")
    assert "credential API_KEY, line 1: not UTF-8" in refused(env | {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_workers_see_all_that_is_set_but_what_systemd_meant_for_the_daemon(env, tmp_path):
    (tmp_path / ".env").write_text("LAMP_HOST=lamp\nPATH=/file\n")
    for_daemon = {
        "NOTIFY_SOCKET": "/run/n",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "WATCHDOG_PID": "1",
        "WATCHDOG_USEC": "1",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "none"),
    }
    (tmp_path / "none").mkdir()
    config = load_config(env | for_daemon | {"PATH": "/bin"})
    assert config.environ == env | {"PATH": "/bin", "LAMP_HOST": "lamp"}


def test_a_proxy_counts_where_the_operator_has_set_it_and_not_where_it_came_with_the_environment(env, tmp_path):
    env |= {"http_proxy": "http://shell:1", "HTTPS_PROXY": "http://shell:2", "no_proxy": "*"}
    (tmp_path / ".env").write_text("http_proxy=http://proxy:3128\n")
    environ = load_config(env, tmp_path / ".env").environ
    proxies = {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}
    assert proxies == {"http_proxy": "http://proxy:3128"}


def test_a_config_shows_no_secrets_when_it_is_printed(env):
    config = load_config(env | {"API_KEY": "very-secret", "SMTP_PASSWORD": "hidden"})
    assert "very-secret" not in repr(config)
    assert "hidden" not in repr(config)


# ---- the file


TIFFTOCK = """\
API_KEY=4f3c2b1a
API_URL=http://localhost:5000

# Twilio
TWILIO_ACCOUNT_SID=ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
TWILIO_AUTH_TOKEN=token
TWILIO_PHONE_NUMBER_FROM=+15005550006
TWILIO_PHONE_NUMBER_TO=+15005550007
MAILGUN_API_KEY="key-1"
MAILGUN_EMAIL_DOMAIN=mg.example.com
MAILGUN_EMAIL_FROM='Reminder <reminder@mg.example.com>'
MAILGUN_EMAIL_TO=me@example.com
API_REMIND_URL=http://localhost:8000/reminded
"""


def test_a_tifftock_file_loads_unchanged(env, tmp_path):
    (tmp_path / ".env").write_text(TIFFTOCK)
    config = load_config(env)
    assert config.env_file == tmp_path / ".env"
    assert config.listen == (Address("http://localhost:5000", host="localhost", port=5000),)
    assert config.api_keys == ("4f3c2b1a",)
    assert config.environ["MAILGUN_EMAIL_FROM"] == "Reminder <reminder@mg.example.com>"
    assert config.environ["TWILIO_PHONE_NUMBER_FROM"] == "+15005550006"
    assert config.environ["API_REMIND_URL"] == "http://localhost:8000/reminded"


def test_a_named_file_is_read_instead_of_the_default_one(env, tmp_path):
    (tmp_path / ".env").write_text("RETRIES=1\n")
    other = tmp_path / "other"
    other.write_text("RETRIES=2\n")
    config = load_config(env, Path("other"))
    assert (config.env_file, config.retries) == (other, 2)


def test_a_named_file_that_is_missing_is_an_error(env, tmp_path):
    assert refused(env, tmp_path / "gone").startswith(f"cannot open {tmp_path}/gone: no such file; ")


def test_a_folder_in_place_of_the_file_is_an_error(env, tmp_path):
    assert refused(env, tmp_path) == f"cannot open {tmp_path}: Is a directory; it must be a file of NAME=value lines"


def test_nothing_in_a_value_is_replaced(env, tmp_path):
    (tmp_path / ".env").write_text("A='${HOME}'\nB=pa$$word\nC=\"${X:-y}\"\nD=a#b\nE=a #b\nexport F=g\n")
    environ = load_config(env).environ
    assert [environ[name] for name in "ABCDEF"] == ["${HOME}", "pa$$word", "${X:-y}", "a#b", "a", "g"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("RETRIES", 1),
        ("RETRIES=1\n\n\n  HISTORY_DAYS\n", 4),
        ("RETRIES=1\r\n\r\n# a comment\r\nMAX LATE=1h\r\n", 4),
        ("\n\n=1", 3),
        ("A='open\nB=1\n", 1),
        ("A=1\nB='x' y\n", 2),
        ("A='several\nlines'\n\nB\n", 4),
        ("export A\n", 1),
        ("\ufeffA\n", 1),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(env, tmp_path, text, line):
    (tmp_path / ".env").write_bytes(text.encode())
    assert refused(env).startswith(f"{tmp_path}/.env, line {line}: not NAME=value; ")


def test_a_bad_line_is_not_shown_as_it_may_hold_a_secret(env, tmp_path):
    (tmp_path / ".env").write_text("API_KEY: s3cret\n")
    assert "s3cret" not in refused(env)


@pytest.mark.parametrize(("data", "problem"), [(b"A=1\nB=\xff\n", "not UTF-8"), (b"A=1\nB=a\0b\n", "a NUL byte")])
def test_bytes_that_are_no_text_are_named_by_file_and_line(env, tmp_path, data, problem):
    (tmp_path / ".env").write_bytes(data)
    assert refused(env).startswith(f"{tmp_path}/.env, line 2: {problem}; ")


def test_a_byte_order_mark_is_not_part_of_the_first_name(env, tmp_path):
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfRETRIES=3\n")
    assert load_config(env).retries == 3


def as_nobody(function):
    """What `function` returns in a child process that is not root, to whom permissions mean nothing."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.write(write_end, str(function()).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(pid, 0)
    with os.fdopen(read_end) as pipe:
        return pipe.read()


def message_of(*args):
    try:
        load_config(*args)
    except ConfigError as error:
        return str(error)
    return "accepted"


def test_a_file_that_may_not_be_read_is_an_error_that_says_what_is_expected(env, tmp_path):
    file = tmp_path / "tifftock.env"
    file.write_text("RETRIES=1\n")
    file.chmod(0)
    packaged = as_nobody(lambda: message_of(env | {"CONFIGURATION_DIRECTORY": str(tmp_path)}))
    assert packaged == f"cannot open {file}: permission denied (expected mode 0640, group _tifftock)"
    by_hand = as_nobody(lambda: message_of(env, file))
    assert by_hand.startswith(f"cannot open {file}: permission denied (expected readable by uid ")


# ---- what is said about bad values


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RETRIES", "many", "RETRIES is 'many': not a whole number; it must be from 0 to 1000"),
        ("RETRIES", "-1", "RETRIES is '-1': out of range; it must be from 0 to 1000"),
        ("RETRIES", "1001", "out of range"),
        ("RETRIES", "1.5", "not a whole number"),
        ("RETRIES", "1_0", "not a whole number"),
        ("RETRIES", "\u0661", "not a whole number"),
        ("RETRIES", "9" * 5000, "not a whole number"),
        ("HANDLER_CONCURRENCY", "0", "from 1 to 1024"),
        ("HANDLER_CONCURRENCY", "1025", "from 1 to 1024"),
        ("CATCH_UP_RATE", "0", "from 1 to 100000"),
        ("CATCH_UP_RATE", "100001", "from 1 to 100000"),
        ("HISTORY_DAYS", "0", "from 1 to 36500"),
        ("HISTORY_DAYS", "36501", "from 1 to 36500"),
        ("HISTORY_MAX", "0", "from 1 to 1000000000"),
        ("HISTORY_MAX", "1000000001", "from 1 to 1000000000"),
        ("HANDLER_RENEW", "0", "from 1 to 1000000000"),
        ("MAX_LATE", "soon", "MAX_LATE is 'soon': not a span; write it like 90s, 24h or 1h 30min"),
        ("MAX_LATE", "-1h", "MAX_LATE is '-1h': not a span"),
        ("MAX_LATE", "3651d", "longer than nothing and at most 3650d"),
        ("RETRY_DELAY", "0", "RETRY_DELAY is '0': out of range; it must be longer than nothing and at most 30d"),
        ("HANDLER_TIMEOUT", "0s", "longer than nothing"),
        ("HANDLER_TIMEOUT", "31d", "at most 30d"),
        ("HANDLER_MEMORY", "lots", "HANDLER_MEMORY is 'lots': not a size; write bytes, or units of 1024 like 8K"),
        ("HANDLER_MEMORY", "63M", "HANDLER_MEMORY is '63M': out of range; it must be from 64M to 16T"),
        ("HANDLER_OUTPUT", "1025K", "from 0 to 1M"),
        ("TZ", "Mars/Base", "TZ is 'Mars/Base': "),
        ("SMTP_SECURITY", "ssl", "SMTP_SECURITY is 'ssl': it must be one of starttls, tls, none"),
        ("SMTP_PORT", "smtp", "SMTP_PORT is 'smtp': not a whole number; it must be from 1 to 65535"),
        ("SMTP_PORT", "65536", "from 1 to 65535"),
        ("SMTP_PORT", "0", "from 1 to 65535"),
        ("MAILGUN_API_URL", "api.eu.mailgun.net", "not a URL; write it like https://example.org"),
        ("TWILIO_API_URL", "http://", "not a URL"),
        (
            "DATABASE_URL",
            "mysql://host/db",
            "DATABASE_URL is 'mysql://host/db': only SQLite is supported; write sqlite:",
        ),
        ("DATABASE_URL", "tifftock.db", "only SQLite is supported"),
        ("DATABASE_URL", "sqlite://", "in memory would lose what it has accepted"),
        ("DATABASE_URL", "sqlite:///", "in memory would lose"),
        ("DATABASE_URL", "sqlite:///:memory:", "in memory would lose"),
        ("DATABASE_URL", "sqlite://host/x.db", "it names no file"),
        ("DATABASE_URL", "sqlite:////var/lib/", "it names no file"),
        ("DATABASE_URL", "sqlite:///x.db?mode=ro", "options after a '?' are not supported"),
        ("API_URL", "unix:run/x.sock", "API_URL is 'unix:run/x.sock': its path is not absolute; write unix:/PATH"),
        ("API_URL", "unix:", "its path is not absolute"),
        ("API_URL", "unix:/", "it names a folder"),
        ("API_URL", "unix:/run/", "it names a folder"),
        ("API_URL", f"unix:/{'x' * 107}", "longer than 107 bytes"),
        ("API_URL", "unix:/" + "\u00e4" * 54, "longer than 107 bytes"),
        ("API_URL", "/run/x.sock", "not an address; write unix:/PATH or http://HOST:PORT"),
        ("API_URL", "localhost:5000", "not an address"),
        ("API_URL", "unix:/a https://host", "API_URL is 'https://host': TLS is the business of a server in front"),
        ("API_URL", "http://host:5000/api", "no other path than /"),
        ("API_URL", "http://host:5000?x", "no other path than /"),
        ("API_URL", "http://host:5000//", "no other path than /"),
        ("API_URL", "http://", "not a host's name or address"),
        ("API_URL", "http://:5000", "not a host's name or address"),
        ("API_URL", "http://*:5000", "to listen on all of them write http://0.0.0.0:PORT or http://[::]:PORT"),
        ("API_URL", "http://host:port", "not a host and a port"),
        ("API_URL", "http://host:65536", "from 0 to 65535"),
        ("API_URL", "http://::1:5000", "an IPv6 address in brackets"),
        ("API_URL", "http://[::x]:5000", "not an IPv6 address in its brackets"),
        ("API_URL", "http://[127.0.0.1]:5000", "not an IPv6 address in its brackets"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(env, name, value, says):
    message = refused(env | {"API_KEY": "k", name: value})
    assert message.startswith(f"{name} is ")
    assert says in message
    assert len(message) < 400


def test_a_bad_value_of_the_file_is_named_by_file_and_line(env, tmp_path):
    file = tmp_path / "tifftock.env"
    file.write_text("# ours\n\nAPI_KEY='a\nb'\n\nexport RETRIES=many # times\n")
    assert refused(env, file).startswith(f"{file}, line 6: RETRIES is 'many': not a whole number")
    file.write_text("RETRIES=1\nRETRIES=many\nAPI_URL=http://localhost:5000")
    assert refused(env, file).startswith(f"{file}, line 2: ")
    assert refused(env | {"RETRIES": "-1"}, file).startswith("RETRIES is '-1': ")
    assert refused(env | {"RETRIES": "1"}, file).startswith(f"{file}, line 3: API_URL is 'http://localhost:5000': on T")


def test_a_bad_value_of_a_credential_is_named_as_one(env, tmp_path):
    (tmp_path / "RETRIES").write_text("many\n")
    message = refused(env | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert message.startswith("credential RETRIES: RETRIES is 'many': ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "gr\u00fcn"),
        ("API_KEY", "a\x07b"),
        ("DATABASE_URL", "postgresql://user:gr\u00fcn@host/db"),
        ("API_URL", "http://user:gr\u00fcn@host:5000"),
    ],
)
def test_a_bad_value_that_may_be_secret_is_not_shown(env, name, value):
    message = refused(env | {name: value})
    assert message.startswith(f"{name} is set to something that is not shown here: ")
    assert value not in message
    assert "gr\u00fcn" not in message


def test_a_value_with_line_breaks_is_shown_in_one_line(env):
    assert refused(env | {"RETRIES": "1\n2"}).startswith(r"RETRIES is '1\n2': ")


def test_a_bad_default_says_that_it_is_one(env):
    message = refused(env | {"XDG_RUNTIME_DIR": "/" + "x" * 107})
    assert message.startswith("API_URL is not set; its default is '")
    assert "longer than 107 bytes" in message


# ---- good values


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", Address("unix:/run/x.sock", path="/run/x.sock")),
        ("unix:///run/x.sock", Address("unix:/run/x.sock", path="/run/x.sock")),
        (f"unix:/{'x' * 106}", Address(f"unix:/{'x' * 106}", path=f"/{'x' * 106}")),
        ("http://localhost:5000/", Address("http://localhost:5000", host="localhost", port=5000)),
        ("HTTP://localhost:5000", Address("http://localhost:5000", host="localhost", port=5000)),
        ("http://host.example", Address("http://host.example:80", host="host.example", port=80)),
        ("http://127.0.0.1:0", Address("http://127.0.0.1:0", host="127.0.0.1", port=0)),
        ("http://[::1]:5000", Address("http://[::1]:5000", host="::1", port=5000)),
        ("http://[fe80::1%eth0]:80", Address("http://[fe80::1%eth0]:80", host="fe80::1%eth0", port=80)),
    ],
)
def test_addresses(env, text, address):
    assert load_config(env | {"API_URL": text, "API_KEY": "k"}).listen == (address,)


def test_several_addresses_and_keys_are_separated_by_spaces_and_count_once(env):
    config = load_config(env | {"API_URL": " unix:/a  http://h:1\thttp://h:1/ unix:/b ", "API_KEY": "a  b a"})
    assert [address.text for address in config.listen] == ["unix:/a", "http://h:1", "unix:/b"]
    assert config.api_keys == ("a", "b")


@pytest.mark.parametrize("key", [{}, {"API_KEY": ""}, {"API_KEY": "  "}])
def test_tcp_without_a_key_is_refused_with_the_way_to_make_one(env, key):
    message = refused(env | {"API_URL": "unix:/a http://localhost:5000"} | key)
    assert message.startswith("API_URL is 'http://localhost:5000': ")
    command = message.split("set API_KEY, for instance to what this prints: ")[1]
    made = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    assert len(load_config(env | {"API_KEY": made}).api_keys[0]) == 64
    # As the log shows it, it can still be pasted.
    assert command in format_line("start-failed", {"message": message})


def test_a_relative_database_and_handlers_folder_are_taken_from_the_working_directory(env, tmp_path):
    config = load_config(env | {"DATABASE_URL": "sqlite:///x.db", "HANDLERS_DIR": "handlers"})
    assert config.database_path == tmp_path / "x.db"
    assert config.database_url == f"sqlite:///{tmp_path}/x.db"
    assert config.handlers_dir == tmp_path / "handlers"


def test_spans_and_sizes(env):
    config = load_config(
        env | {"MAX_LATE": "1h 30min", "RETRY_DELAY": "50ms", "HANDLER_TIMEOUT": "1.5", "HANDLER_OUTPUT": "0"}
    )
    assert (config.max_late, config.retry_delay, config.handler_timeout) == (5400 * SECOND, 50_000, 1_500_000)
    assert config.handler_output == 0


def test_tz_is_the_zone_and_empty_is_utc(env):
    assert load_config(env | {"TZ": "Europe/Berlin"}).zone == ZoneInfo("Europe/Berlin")
    assert load_config(env | {"TZ": ":Asia/Tokyo"}).zone == ZoneInfo("Asia/Tokyo")
    assert load_config(env | {"TZ": ""}).zone is UTC


@pytest.mark.parametrize(
    ("value", "size"),
    [("0", 0), ("8192", 8192), ("8K", 8192), ("512M", 512 * 2**20), ("1G", 2**30), ("2T", 2**41), (7, 7), (0, 0)],
)
def test_sizes_are_bytes_or_units_of_1024(value, size):
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value", ["", "8k", "8KB", "8 K", "-1", "1.5M", "K", "9" * 30, "9" * 19, -1, 2**63, True, 1.0, None]
)
def test_anything_else_is_no_size(value):
    with pytest.raises(InvalidInput, match="is not a size; write bytes, or units of 1024"):
        parse_size(value)


def test_every_setting_has_a_field_of_its_own(env):
    config = load_config(env)
    fields = [setting.field for setting in SETTINGS if setting.field]
    assert len(set(fields)) == len(fields)
    assert {*fields, "env_file", "environ", "slips"} == set(vars(config))


# ---- the private folder


def test_a_private_folder_is_made_for_this_user_alone(tmp_path):
    private_folder(tmp_path / "new")
    status = (tmp_path / "new").stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == os.getuid()
    private_folder(tmp_path / "new")


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_can_enter_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(ListenError, match=f"others can enter it .mode {mode:04o}, expected 0700.; remove it, or set"):
        private_folder(tmp_path)


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ListenError, match="it is not a folder"):
        private_folder(tmp_path / "link")


def test_a_folder_of_another_user_is_refused(tmp_path):
    if os.getuid() == 0:
        path = tmp_path / "theirs"
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
    else:
        path = Path("/")
    with pytest.raises(ListenError, match="it belongs to uid"):
        private_folder(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(ListenError, match=r"cannot make the folder .*; set XDG_RUNTIME_DIR or API_URL"):
        private_folder(tmp_path / "missing" / "new")


# ---- names that are none


def test_a_name_that_looks_like_a_settings_is_told_with_its_line_and_what_may_be_meant(env, tmp_path):
    file = tmp_path / "x.env"
    file.write_text("# ours\nRETRYS=3\nMAX_LATENESS=1h\n\nSMTP_USERNAME=ann\n")
    assert load_config(env, file).slips == (
        f"{file}, line 2: there is no setting RETRYS; is RETRIES meant?",
        f"{file}, line 3: there is no setting MAX_LATENESS; is MAX_LATE meant?",
        f"{file}, line 5: there is no setting SMTP_USERNAME; is SMTP_USER meant?",
    )


@pytest.mark.parametrize(
    "text", ["RETRIES=3", "SMTP_PASSWORD=x", "NOTIFY_FAMILY=x", "LAMP_URL=x", "MY_API_KEY=x", "API_KEY=a\nAPI_KEY2=b"]
)
def test_settings_and_names_that_are_somebody_elses_are_no_slips(env, tmp_path, text):
    file = tmp_path / "x.env"
    file.write_text(f"{text}\n")
    assert load_config(env, file).slips == ()


def test_names_of_the_environment_are_not_looked_at(env):
    assert load_config(env | {"RETRYS": "3"}).slips == ()
