#!/bin/sh
# Ray 2.60.0 reads RAY_AUTH_MODE in a driver when it is imported, and in the processes that ray.init starts when they start.
# Set in between, as a program does that imports Ray before it decides, the servers ask for a token that the driver, which
# has one in its file, never sends.
# Seen: ray.init ends after some twenty seconds with AuthenticationError, "Authentication token is missing or incorrect" and
# "RAY_AUTH_MODE is currently 'disabled' (not 'token')"; with the same file and the variable set before the import it works.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check 'ray[default]==2.60.0'
cd "$place"
(umask 077; "$place/env/bin/python" -c 'import secrets; print(secrets.token_hex(32), end="")' > token)
cat > start.py <<'END'
import os
import sys

os.environ["RAY_AUTH_TOKEN_PATH"] = "token"
if sys.argv[1] == "before":
    os.environ["RAY_AUTH_MODE"] = "token"
import ray  # noqa: E402

os.environ["RAY_AUTH_MODE"] = "token"
try:
    ray.init(num_cpus=1, log_to_driver=False)
    print("works")
except Exception as error:
    print(" ".join(str(error).split()))
END
before=$(env -u RAY_AUTH_MODE env/bin/python start.py before 2> /dev/null | tail -1)
after=$(env -u RAY_AUTH_MODE env/bin/python start.py after 2> /dev/null | tail -1)
echo "set before the import: $before"
echo "set after it: $after" | cut -c1-400
test "$before" = works
echo "$after" | grep -q "RAY_AUTH_MODE is currently 'disabled'"
