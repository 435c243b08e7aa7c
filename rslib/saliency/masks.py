"""Object masks: proxies from activation maps (paper 3.4.1), and masks of one's own.

The paper makes "simplified object masks using thresholding and morphological operations on class
activation maps from a well-calibrated baseline model" and gives no numbers. Read here: Otsu's
threshold, opening and closing by a 3 x 3 cross, the largest component. A proxy mask says where a
*model* looked; overlap with it measures agreement with that model, not with an object.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rslib.saliency.maps import check_maps, degenerate, standardize
from rslib.store.arrays import ArrayError, open_array

_SIZE = (32, 32)


class MaskError(ValueError):
    """Masks that cannot be used; the message says which and why."""


def check_masks(mask: Tensor, *, like: Tensor | None = None, least: int = 1) -> Tensor:
    """The masks, bool (B, H, W), if they are ``least`` or more, shaped ``like`` maps, none empty.

    Raises:
        MaskError: If the dtype or shape is wrong, there are too few, or one is empty.
    """
    if mask.dtype != torch.bool or mask.ndim != 3 or len(mask) < least:
        raise MaskError(
            f"masks are {mask.dtype} {tuple(mask.shape)}; bool (B, H, W) with B >= {least} is "
            "needed (a mask in [0, 1] is binarized by mask > 0.5)"
        )
    if like is not None and mask.shape != like.shape:
        raise MaskError(
            f"masks have shape {tuple(mask.shape)}, saliency maps {tuple(like.shape)}: bring maps "
            "to the image's size with resize(saliency, (H, W))"
        )
    empty = (~mask.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise MaskError(
            f"{len(empty)} masks hold no object (positions {', '.join(map(str, empty[:5]))}"
            f"{', …' if len(empty) > 5 else ''}): leave those images out and say how many"
        )
    return mask


def proxy_masks(
    saliency: Tensor, *, smallest: float = 0.02, largest: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Object masks from activation maps, float (B, H, W), at the image's size (paper 3.4.1).

    Returns:
        masks bool (B, H, W), empty where refused, and refused bool (B,), to be counted: of constant
        maps, and maps whose largest component covers a share under ``smallest`` or over
        ``largest``.

    Raises:
        NotSaliency: If the maps are not finite or not of the form above.
    """
    from skimage.filters import threshold_otsu
    from skimage.measure import label
    from skimage.morphology import closing, footprint_rectangle, opening

    maps = check_maps(saliency).detach().cpu().numpy()
    cross = footprint_rectangle((3, 3))
    cross[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    masks = np.zeros(maps.shape, dtype=bool)
    for position in (~degenerate(saliency)).nonzero().flatten().tolist():
        values = maps[position]
        cleaned = closing(opening(values > threshold_otsu(values), cross), cross)
        parts, number = label(cleaned, return_num=True, connectivity=1)
        if number:
            sizes = np.bincount(parts.ravel())[1:]
            masks[position] = parts == 1 + sizes.argmax()
    covered = masks.mean((1, 2))
    refused = (covered < smallest) | (covered > largest)
    masks[refused] = False
    device = saliency.device
    return torch.from_numpy(masks).to(device), torch.from_numpy(refused).to(device)


def refine(saliency: Tensor, x: Tensor, *, steps: int = 10) -> Tensor:
    """Fit maps (B, H, W) to the colors of their images (B, 3, H, W): in [0, 1], high on the object.

    As in GrabCut (Rother et al., 2004), colors of object and background are fitted in turns with
    the pixels' membership: here one Gaussian each, and soft memberships, smoothed over their
    neighbors. The evidence of the standardized map stays beside that of the colors. A constant map
    stays constant.

    Raises:
        NotSaliency: If the maps are not finite or not of the form above.
    """
    colors = x.flatten(2).transpose(1, 2)
    evidence = standardize(saliency)
    inside = evidence.sigmoid()
    for _ in range(steps):
        ratio = _fit(colors, inside.flatten(1)) - _fit(colors, 1 - inside.flatten(1))
        beside = avg_pool2d(2 * inside - 1, 3, 1, padding=1, count_include_pad=False)
        inside = (evidence + ratio.view_as(inside) + 2 * beside).sigmoid()
    return inside


def _fit(colors: Tensor, weights: Tensor) -> Tensor:
    """Log density (B, n) of colors (B, n, 3) under the Gaussian of those weighted (B, n)."""
    weights = (weights / weights.sum(1, keepdim=True).clamp(min=1)).unsqueeze(2)
    centered = colors - (weights * colors).sum(1, keepdim=True)
    # A plain area has no spread: 1e-3 is that of a standard deviation of 8/255.
    spread = centered.mT @ (weights * centered) + 1e-3 * torch.eye(3, device=colors.device)
    root = torch.linalg.cholesky(spread)
    away = torch.linalg.solve_triangular(root, centered.mT, upper=False).square().sum(1)
    return -away / 2 - root.diagonal(dim1=1, dim2=2).log().sum(1, keepdim=True)


def coverage(masks: Tensor) -> dict[str, float]:
    """Share of the image that masks, bool (B, H, W) or a MaskError, cover, over non-empty ones.

    It has n, empty (how many), mean, std, q25, q50, q75; the shares are NaN where all are empty.
    """
    if masks.dtype != torch.bool or masks.ndim != 3:
        raise MaskError(f"masks are {masks.dtype} {tuple(masks.shape)}; bool (B, H, W) is needed")
    share = masks.flatten(1).double().mean(1)
    some = share[share > 0].cpu().numpy()
    found = {"n": float(len(masks)), "empty": float((share == 0).sum())}
    if not len(some):
        return found | dict.fromkeys(("mean", "std", "q25", "q50", "q75"), float("nan"))
    found |= {"mean": float(some.mean()), "std": float(some.std())}
    return found | {f"q{k}": float(np.quantile(some, k / 100)) for k in (25, 50, 75)}


def read_masks(source: str | Path, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Masks of one's own, 32 x 32, for all or some of the images.

    Args:
        source: A folder of PNG files named by the image's number, ``17.png``, in gray of 1, 8 or 16
            bits; or a ``.npy`` file, bool or unsigned (N, 32, 32), whose row i belongs to image i,
            all zeros where there is none. In both the object is what is True, or 1 in a mask of 0
            and 1, or lies above half of the type's range.
        ids: The images wanted, by their position in the canonical order of their split.

    Returns:
        masks bool (B, 32, 32), empty where there is none, and known bool (B,).

    Raises:
        MaskError: If the source is missing, holds no mask of these images, or a mask has another
            size, is in color, has a palette, transparency or frames, cannot be read, or covers
            nothing or the whole image.
    """
    source = Path(source).expanduser()
    if source.is_dir():
        files = {i: source / f"{i}.png" for i in ids}
        found = {i: _read_png(path) for i, path in files.items() if path.is_file()}
    elif source.suffix == ".npy" and source.is_file():
        try:
            rows = open_array(source)
        except ArrayError as error:
            raise MaskError(f"{error}: save it again with numpy.save") from None
        if rows.shape[1:] != _SIZE or rows.dtype.kind not in "bu":
            raise MaskError(
                f"{source} holds {rows.dtype} {rows.shape}; bool or uint8 (N, 32, 32) is needed"
            )
        found = {i: _object(rows[i]) for i in ids if i < len(rows) and rows[i].any()}
    else:
        raise MaskError(
            f"{source}: expected a folder of PNG files named 0.png, 1.png, … or a .npy file"
        )
    if not found:
        raise MaskError(
            f"{source} holds no mask of any of the {len(ids):,} images asked for, such as image "
            f"{ids[0]}: name files, or order rows, by the images' places in their split"
        )
    for image, mask in found.items():
        if mask.all() or not mask.any():
            what = "the whole image" if mask.all() else "nothing"
            raise MaskError(
                f"{source}: the mask of image {image} covers {what}: save the object as 1 or "
                "255 on 0, or leave that image's mask out"
            )
    masks = np.stack([found.get(image, np.zeros(_SIZE, bool)) for image in ids])
    return torch.from_numpy(masks), torch.tensor([image in found for image in ids])


def _object(values: np.ndarray) -> np.ndarray:
    """Where the object is, bool, in a mask that is bool or unsigned (:func:`read_masks`)."""
    if values.dtype == bool or (values.min() == 0 and values.max() == 1):
        return np.array(values, dtype=bool)
    return np.array(values > np.iinfo(values.dtype).max // 2)


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        # Of other formats some are read by programs of their own, such as PostScript.
        with Image.open(path, formats=("PNG",)) as picture:
            mode, (width, height) = picture.mode, picture.size
            plain = "transparency" not in picture.info and picture.n_frames == 1
            # What claims another size is not decoded.
            values = np.asarray(picture) if (height, width) == _SIZE else None
    # Pillow reports damage by many kinds of error.
    except Exception as error:
        hint = "save it again as a PNG file"
        raise MaskError(f"{path} cannot be read as an image ({error}): {hint}") from None
    if values is None:
        raise MaskError(f"{path} is {height} x {width}; 32 x 32 is needed")
    if mode == "RGB" and (values == values[:, :, :1]).all():
        mode, values = "L", values[:, :, 0]
    if mode not in ("1", "L", "I;16", "I") or not plain:
        raise MaskError(
            f"{path} has colors, a palette, transparency or frames (mode {mode}): save it in gray, "
            "the object white on black"
        )
    return _object(values.astype(np.uint16) if mode == "I" else values)
