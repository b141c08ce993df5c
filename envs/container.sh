#!/bin/sh
# Inside a fresh Debian root, as root, with this folder at /opt/retable/envs: what retable.def and Dockerfile build.
# The code is not in the image: jobs run `python -m benchmark` in the clone, which the cluster's file system brings.
set -eu
apt-get update --quiet
# The compiler is for kernels that torch.compile, Triton and numba's parallel loops build when they are first used.
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
    ca-certificates g++ gcc libc6-dev python3 python3-dev python3-venv
rm -rf /var/lib/apt/lists/*
python3 -m venv /opt/retable/venv
PIP_NO_CACHE_DIR=1 sh /opt/retable/envs/install.sh /opt/retable/venv/bin/python
