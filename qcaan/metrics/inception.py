"""Features of the Inception network by which FID is quoted in papers."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from qcaan.data.images import to_pixels
from qcaan.training import is_out_of_memory

# images at a time, which are 299x299 in the network
_BATCH = 50

log = logging.getLogger(__name__)


def load_inception(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """Return the FID Inception network with the weights in a file. Nothing is downloaded.

    The file is the one of pytorch-fid and torch-fidelity, pt_inception-2015-12-05-6726825d.pth
    or weights-inception-2015-12-05-6726825d.pth, which hold the weights of the original FID
    (arXiv:1706.08500).

    Args:
        path: path of the file.
        device: device of the network.

    Raises:
        ValueError: the package torch-fidelity is missing, or the file holds something else.
        OSError: the file cannot be read.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ModuleNotFoundError:
        raise ValueError(
            "`inception_weights` needs the package torch-fidelity: pip install 'qcaan[inception]'"
        ) from None
    try:
        # the network unpickles whatever a file holds, so the file is first read safely
        torch.load(path, map_location="cpu", weights_only=True)
        network = FeatureExtractorInceptionV3("fid", ["2048"], str(path))
    # another file, or one cut short, fails in many ways
    except Exception as error:
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise ValueError(
            f"`inception_weights` {path} does not hold the weights of the FID Inception network, "
            "or is damaged; use pt_inception-2015-12-05-6726825d.pth of pytorch-fid"
        ) from error
    return network.to(device)


@torch.no_grad()
def inception_features(network: nn.Module, images: Tensor) -> Tensor:
    """Return the features float32 [N, 2048], on the CPU, of images [N, C, H, W] in [-1, 1].

    The three channels of a grey image are equal. The network scales images to 299x299 as the
    original FID does.
    """
    if len(images) >= 1000:
        log.info("computing Inception features of %d images, slow without a GPU", len(images))
    device = next(network.parameters()).device
    parts = [
        network(to_pixels(part).expand(-1, 3, -1, -1).to(device))[0].cpu()
        for part in images.split(_BATCH)
    ]
    return torch.cat(parts)
