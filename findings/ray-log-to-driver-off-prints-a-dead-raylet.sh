#!/bin/sh
# Ray 2.60.0: ray.init(log_to_driver=False, logging_level=logging.ERROR) keeps what workers print from the driver's standard
# output, but where a raylet ends without a signal that it handles, the driver prints the last lines of the raylet's log
# there, under the prefix "(raylet)" with colour codes, into files and pipes too. No option is against it; only a private
# variable of the module that prints, which Ray's own debugger sets, is.
# Seen: some twenty lines on standard output, most of them "[state-dump]", within ten seconds of the end of the raylet; none
# where the private variable is off.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check 'ray[default]==2.60.0'
cd "$place"
cat > lose.py <<'END_OF_PROGRAM'
import logging
import os
import signal
import subprocess
import sys
import time

import ray

ray.init(num_cpus=1, log_to_driver=False, logging_level=logging.ERROR)
if sys.argv[1] == "off":
    ray._private.worker._worker_logs_enabled = False
ray.get(ray.remote(lambda: print("of a worker")).remote())
found = subprocess.run(["pgrep", "-x", "-P", str(os.getpid()), "raylet"], capture_output=True, text=True, check=True)
os.kill(int(found.stdout), signal.SIGKILL)
time.sleep(10)
sys.stdout.flush()
os._exit(0)
END_OF_PROGRAM
env/bin/python lose.py on > on.txt 2> /dev/null
env/bin/python lose.py off > off.txt 2> /dev/null
told=$(grep -c "" on.txt || true)
quiet=$(grep -c "" off.txt || true)
echo "lines on standard output: $told; with the private variable off: $quiet"
grep -q "(raylet)" on.txt
grep -q "state-dump" on.txt
! grep -q "of a worker" on.txt
test "$told" -gt 10
test "$quiet" = 0
