#!/bin/sh
# Wheels of OpenBLAS on PyPI differ in which processors they serve, and neither name nor metadata says so.
# cmeel-openblas (Linux, x86-64) is built without DYNAMIC_ARCH, for the processor of the machine that happened to build it:
# 0.3.29 calls itself ZEN, 0.3.31 SKYLAKEX, whose kernels need AVX-512. With 0.3.31 in the place of MLX 0.32.4's reference
# BLAS, the first float32 product on an AMD EPYC with AVX2 alone ended the process (SIGILL in sgemm_incopy), while the same
# wheel had worked on every machine with AVX-512. scipy-openblas32 0.3.34.481.3, of the makers of SciPy, has
# DYNAMIC_ARCH, chooses its kernels when it is loaded, and works on both; its functions are named scipy_cblas_sgemm.
# Seen: what each of the libraries says of itself. No product is computed here.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
cd "$place"
for wheel in cmeel-openblas==0.3.29 cmeel-openblas==0.3.31 scipy-openblas32==0.3.34.481.3; do
    env/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest wheels "$wheel"
done
cat > says.py <<'END'
import re
import zipfile
from pathlib import Path

for wheel in sorted(Path("wheels").iterdir()):
    with zipfile.ZipFile(wheel) as archive:
        library = max(archive.infolist(), key=lambda one: (".so" in one.filename, one.file_size))
        content = archive.read(library)
    said = re.search(rb"OpenBLAS \d[\d.]+ [ -~]*", content)
    print(wheel.name.split("-py3")[0], "|", said.group().decode().strip(), "|", b"DYNAMIC_ARCH" in said.group())
END
env/bin/python says.py | tee said
grep -q 'cmeel_openblas-0.3.29.* NO_AFFINITY ZEN.*False' said
grep -q 'cmeel_openblas-0.3.31.* NO_AFFINITY SKYL.*False' said
grep -q 'scipy_openblas32.*DYNAMIC_ARCH.*True' said
