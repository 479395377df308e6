"""A Python that lacks something: an older version, or one whose venv is a package of its own (Debian's habit).

Usage: lesser_python.py VERSION|"no venv" PYTHON-ARGUMENTS   Only `-V` and `[-I] -c CODE` are understood.
"""

import sys

lack, *words = sys.argv[1:]
words = [word for word in words if word != "-I"]
if words[:1] in (["-V"], ["--version"]):
    print(f"Python {lack if lack[0].isdigit() else sys.version.split()[0]}")
elif words[:1] == ["-c"]:
    if lack[0].isdigit():
        sys.version_info = (*map(int, lack.split(".")), "final", 0)  # type: ignore[assignment]
    else:
        sys.modules["ensurepip"] = None  # type: ignore[assignment]
    exec(compile(words[1], "<string>", "exec"))
else:
    sys.exit("This Python cannot do that.")
