#!/bin/sh
# envs/install.sh PYTHON: what envs/train.lock says, and torch, into the environment of that Python. make, the container
# recipes and train.post-deploy.sh all call this. From the environment:
#   TORCH        cpu, cuda, or another build of PyTorch's own index (cu126); default: cuda where the NVIDIA driver is loaded
#   TORCH_INDEX  PyTorch's own index
#   DRIVER       the file by which the driver is known
# Exact files, by hash, without resolving: nnunetv2 would pull torchvision through timm, and a torchvision of another
# build breaks torch.
set -eu
python=$1
cd "$(dirname "$0")"
driver=${DRIVER:-/proc/driver/nvidia/version}
torch=${TORCH:-$(test -e "$driver" && echo cuda || echo cpu)}
index=${TORCH_INDEX:-https://download.pytorch.org/whl}
version=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' cuda.lock)
size() { sed -n 's/^# [0-9]* packages, \(.*\) to download.*/\1/p' "$1.lock"; }
pip() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

case $torch in
    cuda) torch_size="$(size cuda) with its CUDA libraries" ;;
    cpu) torch_size="about 190 MB" ;;
    *) torch_size="see $index/$torch" ;;
esac
echo "downloading $(size train) of packages, then the $torch build of torch $version: $torch_size"
pip --no-deps --require-hashes -r train.lock
if [ "$torch" = cuda ]; then
    pip --no-deps --require-hashes -r cuda.lock
else
    # What it requires is in train.lock. A site's own index or folder of wheels is asked before PyTorch's.
    pip "torch==$version+$torch" 2> /dev/null || pip --extra-index-url "$index/$torch" "torch==$version+$torch"
fi
