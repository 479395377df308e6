"""Configuration trees full of oddities, made from a seed: cheap to make by the hundred, and repeatable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.unit.apache.real_apache import MODULES, head

# By level: a file includes only files of later levels, so that there is no loop.
FILES = [
    ["conf/httpd.conf"],
    ["conf.d/a.conf", "conf.d/B.conf", "conf.d/.hidden.conf", "conf.d/c.conf.bak", "conf.d/sub/x.conf"],
    ["inc/global.conf", "inc/2.conf", "inc/[odd].conf", "inc/sub/deep.conf", "inc/sub.conf/in.txt"],
    ["leaf/1.conf", "leaf/10.conf", "leaf/2.conf", "leaf/\u00e9.conf"],
]
INCLUDES = [
    [
        "conf.d/*.conf",
        "conf.d",
        "conf.d/[aB].conf",
        "conf.d/?.conf",
        "*/a.conf",
        "conf.d/.*.conf",
        "conf.d/*/*.conf",
    ],
    [
        "inc/global.conf",
        "inc/*.conf",
        "./inc/../inc/2.conf",
        "inc/sub",
        "i*/sub/*",
        "inc//2.conf",
        "inc/[!2]*.conf",
    ],
    [
        "leaf/*.conf",
        "leaf/1*.conf",
        "leaf/",
        "leaf/[^1].conf",
        "leaf/missing.conf",
        "missing/*.conf",
        "leaf/no*",
    ],
    [],
]
FLAGS = ["on", "off", "On", "OFF", '"on"', "'off'", "${SWITCH}", "off # since tuesday"]
ENDS = [
    "\n",
    "\n",
    "\n",
    "\r\n",
    "  \n",
    "\n\n",
    "\n# a comment\n",
    "\n# continued \\\n  SSLUseStapling on\n",
]
CONDITIONS = [
    ("IfModule", "ssl_module"),
    ("IfModule", "mod_ssl.c"),
    ("ifmodule", "!ssl_module"),
    ("IfModule", "socache_dbm_module"),
    ("IfModule", "!mod_socache_dbm.c"),
    ("IfModule", "status_module"),
    ("IfModule", "event.c"),
    ("IfModule", "http_core.c"),
    ("IfModule", '"mod_ssl.c"'),
    ("IfDefine", "SEEN"),
    ("IfDefine", "!SEEN"),
    ("IfVersion", ">= 2.4"),
    ("IfVersion", "< 2.4"),
    ("IfVersion", "!= 2.2"),
    ("IfFile", "conf/httpd.conf"),
    ("IfFile", "!nowhere.conf"),
]
ADDRESSES = ["*:18443", "127.0.0.1:18443 [::1]:18443", "_default_:18443"]
OTHERS = [
    "LimitRequestLine 8000",
    "KeepAlive on",
    "UseCanonicalName Off",
    "TraceEnable off",
    "# SSLUseStapling on",
]


def write_tree(base: Path, seed: int) -> None:
    """Write a whole tree below `base`; httpd may refuse it (a second LoadModule, an Include of nothing)."""
    maker = _Maker(Random(seed))
    for level, names in enumerate(FILES):
        for name in names:
            text = maker.body(level)
            if level == 0:
                text = head(base) + "Define SWITCH on\n" + text
            path = base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((text.rstrip("\n") if maker.one_in(3) else text).encode())


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.status_loaded = False

    def one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def several(self, make: Callable[[], str], most: int) -> str:
        return "".join(make() for _ in range(self.random.randrange(most + 1)))

    def line(self, text: str) -> str:
        return self.random.choice(["", "  ", "\t", " \t "]) + text + self.random.choice(ENDS)

    def name(self, word: str) -> str:
        forms = [word, word, word.lower(), word.upper(), f'"{word}"', word[:3] + "\\\n" + word[3:]]
        return self.random.choice(forms)

    def body(self, level: int) -> str:
        """Only httpd.conf has virtual hosts, for an include may stand inside one."""
        return self.several(lambda: self.item(level, in_vhost=level > 0, depth=3), 7)

    def item(self, level: int, *, in_vhost: bool, depth: int) -> str:
        kind = self.random.randrange(10)
        if kind < 3 and depth:
            return self.section(lambda: self.item(level, in_vhost=in_vhost, depth=depth - 1))
        if kind < 5:
            return self.include(level)
        if kind == 5 and not in_vhost:
            return self.vhost(level)
        if kind == 6 and not in_vhost and not self.status_loaded:
            self.status_loaded = True
            return f"LoadModule status_module {MODULES}/mod_status.so\n"
        return self.directive(in_vhost)

    def section(self, make: Callable[[], str]) -> str:
        kind, argument = self.random.choice(CONDITIONS)
        return self.line(f"<{kind} {argument}>") + self.several(make, 4) + self.line(f"</{kind}>")

    def include(self, level: int) -> str:
        patterns = [pattern for later in INCLUDES[level:] for pattern in later]
        if not patterns:
            return ""
        quote = self.random.choice(["", '"', "'"])
        name = self.random.choice(["IncludeOptional", "includeoptional", "IncludeOptional", "Include"])
        return self.line(f"{name} {quote}{self.random.choice(patterns)}{quote}")

    def vhost(self, level: int) -> str:
        inside = self.several(lambda: self.item(level, in_vhost=True, depth=1), 4)
        return f"<VirtualHost {self.random.choice(ADDRESSES)}>\n{inside}</VirtualHost>\n"

    def directive(self, in_vhost: bool) -> str:
        kind = self.random.randrange(10)
        if kind < 4:
            return self.line(f"{self.name('SSLUseStapling')} {self.random.choice(FLAGS)}")
        if kind == 4:
            return self.line(f"{self.name('SSLStaplingResponderTimeout')} {self.random.randrange(1, 9)}")
        if kind == 5:
            return self.line(f"{self.name('Timeout')}  \\\r\n {self.random.randrange(1, 900)}")
        if kind == 6 and not in_vhost:
            cache = self.random.choice(['"shmcb:run/one(32768)"', "shmcb:run/two(32768)"])
            return self.line(f"{self.name('SSLStaplingCache')} {cache}")
        if kind == 7:
            choices = ["Define SEEN", "UnDefine SEEN", "Define SWITCH off", "Define switch on"]
            return self.line(self.random.choice(choices))
        return self.line(self.random.choice(OTHERS))
